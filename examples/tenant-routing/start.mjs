import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { shared: 9001, acme: 9002 },
  commands: [
    "curl -s -H 'Host: acme.example.com' $URL/",
    "curl -s -H 'Host: small.example.com' $URL/",
    "curl -i -H 'Host: example.com' $URL/",
  ],
});
