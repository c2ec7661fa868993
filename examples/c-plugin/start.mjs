import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { runExample } from "../run-example.mjs";

const built = spawnSync(fileURLToPath(new URL("build.sh", import.meta.url)), { stdio: "inherit" });
if (built.status === 0)
  await runExample({
    from: import.meta.url,
    upstreams: { app: 9001 },
    commands: ["curl -s $URL/", "curl -s -H 'x-wants: beta' $URL/", "curl -i $URL/edition"],
  });
else process.exitCode = 1;
