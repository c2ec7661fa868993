/** Builds the contents of the package: `dist/` from `src/`, and the `.wasm` of the built-in plugins. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { root, runNode } from "./run-node.ts";

rmSync(join(root, "dist"), { recursive: true, force: true });
runNode(["node_modules/typescript/bin/tsc", "--project", "tsconfig.build.json"]);
runNode(["scripts/build-plugins.ts"]);
