import { runExample } from "../run-example.ts";

await runExample({
  directory: import.meta.dirname,
  upstreams: { app: 9001 },
  commands: ["curl -i $URL/", "curl -i -H 'Cookie: variant=b' $URL/"],
});
