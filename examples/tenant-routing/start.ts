import { runExample } from "../run-example.ts";

await runExample({
  directory: import.meta.dirname,
  upstreams: { shared: 9001, acme: 9002 },
  commands: [
    "curl -s -H 'Host: acme.example.com' $URL/",
    "curl -s -H 'Host: small.example.com' $URL/",
    "curl -i -H 'Host: example.com' $URL/",
  ],
});
