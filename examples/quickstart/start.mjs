import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { "app-1": 9001, "app-2": 9002, beta: 9003 },
  commands: ["curl -i $URL/", "curl -i -H 'x-beta: 1' $URL/", "curl -i $URL/private/keys"],
});
