import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { stable: 9001, canary: 9002 },
  commands: ["curl -i $URL/", "curl -i -H 'Cookie: release=0' $URL/", "curl -i -H 'Cookie: release=9999' $URL/"],
});
