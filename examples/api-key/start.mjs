import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: [
    "curl -i $URL/                                             # 401",
    "curl -s -H 'x-api-key: alices-key-0123456789' $URL/     # x-consumer: alice",
    "curl -s -H 'x-api-key: builder-key-0123456789' $URL/    # x-consumer: build",
  ],
});
