import { runExample } from "../run-example.ts";

await runExample({
  directory: import.meta.dirname,
  upstreams: { app: 9001 },
  commands: ["curl -s -H 'Authorization: Bearer secret' $URL/"],
});
