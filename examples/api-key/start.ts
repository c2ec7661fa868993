import { runExample } from "../run-example.ts";

await runExample({
  directory: import.meta.dirname,
  upstreams: { app: 9001 },
  commands: [
    "curl -i $URL/                                             # 401",
    "curl -s -H 'x-api-key: alices-key-0123456789' $URL/     # x-consumer: alice",
    "curl -s -H 'x-api-key: builder-key-0123456789' $URL/    # x-consumer: build",
  ],
});
