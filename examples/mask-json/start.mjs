import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: ["curl -s -H 'Authorization: Bearer secret' $URL/"],
});
