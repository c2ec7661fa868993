import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: [
    "for i in 1 2 3 4; do curl -si $URL/ | grep -iE '^(HTTP|ratelimit|retry)'; done     # three at once, then 429",
    "curl -i -H 'x-api-key: a' $URL/api/                                             # counted by its key",
    "curl -i $URL/reports/                                                            # only logged",
  ],
});
