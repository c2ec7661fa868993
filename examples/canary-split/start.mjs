import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { stable: 9001, canary: 9002 },
  commands: [
    "for i in $(seq 20); do curl -s $URL/ | grep upstream; done | sort | uniq -c",
    "for i in 1 2 3; do curl -s -H 'x-user: alice' $URL/ | grep upstream; done",
    "curl -s -H 'x-canary: always' $URL/ | grep upstream",
  ],
});
