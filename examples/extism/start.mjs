import { runExample } from "../run-example.mjs";
import { build } from "./build.mjs";

build();
await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: ["curl -s -H 'host: acme.example.com' $URL/", "curl -i -H 'host: www.example.com' $URL/"],
});
