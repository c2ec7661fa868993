import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { runExample } from "../run-example.ts";

const built = spawnSync(join(import.meta.dirname, "build.sh"), { stdio: "inherit" });
if (built.status === 0)
  await runExample({
    directory: import.meta.dirname,
    upstreams: { app: 9001 },
    commands: ["curl -s $URL/", "curl -s -H 'x-wants: beta' $URL/", "curl -i $URL/edition"],
  });
else process.exitCode = 1;
