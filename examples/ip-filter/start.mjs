import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: [
    "curl -i -H 'X-Forwarded-For: 198.51.100.7' $URL/admin/     # from the office",
    "curl -i -H 'X-Forwarded-For: 192.0.2.9' $URL/admin/        # 403",
    "curl -i -H 'X-Forwarded-For: 203.0.113.5' $URL/            # 403",
  ],
});
