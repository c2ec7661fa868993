import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: [
    "curl -i $URL/                                             # 401: the browser asks for the password",
    "curl -s -u 'alice:open sesame and close it' $URL/       # x-user: alice",
    "curl -s -u 'bob:correct horse battery staple' $URL/     # x-user: bob",
    "curl -i $URL/health                                       # without a password",
  ],
});
