import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: [
    "curl -i -X OPTIONS -H 'Origin: https://app.example.com' -H 'Access-Control-Request-Method: PUT' $URL/   # 204",
    "curl -i -H 'Origin: https://app.example.com' $URL/     # allowed origin",
    "curl -i -H 'Origin: https://evil.example' $URL/        # not allowed",
  ],
});
