import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: [
    "for i in 1 2 3 4; do curl -s -o /dev/null -w '%{http_code} %{time_total}\\n' -H 'x-chaos: on' $URL/; done",
    "curl -i $URL/                                              # never affected",
  ],
});
