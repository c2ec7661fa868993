import { runExample } from "../run-example.ts";

await runExample({
  directory: import.meta.dirname,
  upstreams: { app: 9001 },
  commands: [
    "curl -i -H 'X-Forwarded-For: 198.51.100.7' $URL/admin/     # from the office",
    "curl -i -H 'X-Forwarded-For: 192.0.2.9' $URL/admin/        # 403",
    "curl -i -H 'X-Forwarded-For: 203.0.113.5' $URL/            # 403",
  ],
});
