import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: ["curl -i $URL/", "curl -i -H 'Cookie: variant=b' $URL/"],
});
