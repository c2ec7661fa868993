/** The access log: a line of JSON for each request, for any bytes of the client. */
import assert from "node:assert/strict";
import { connectTo, exchange, startUpstream } from "./peers.ts";
import { simpleConfig, startSluice, testInUsualMode } from "./program.ts";

const hostile = [
  '"',
  "\\",
  "\t",
  "\x80",
  "\xff",
  "\x1b[31m",
  "\u2028",
  "</script>",
  '","status":200,"x":"',
  "%0a",
  "\x7f",
];

testInUsualMode("access-log-lines-are-complete: each hostile byte escaped, each line JSON", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "log: { access: true }" }), {
    workers: 2,
  });
  let requests = 0;
  for (const text of hostile) {
    for (const field of ["User-Agent", "Referer", "X-Forwarded-For", "Cookie"]) {
      await exchange(t, sluice.port, `GET /field HTTP/1.1\r\nHost: a\r\n${field}: ${text}x\r\n\r\n`);
      requests++;
    }
    await exchange(t, sluice.port, `GET /${text} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await exchange(t, sluice.port, `GET /?${text} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await exchange(t, sluice.port, `GET / HTTP/1.1\r\nHost: ${text}\r\n\r\n`);
    requests += 3;
  }
  const client = await connectTo(t, sluice.port);
  client.send(Array.from({ length: 500 }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
  for (let i = 0; i < 500; i++) await client.readResponse();
  requests += 500;
  await sluice.logged(() => sluice.accessLines.length >= requests, `${requests} lines`);
  await sluice.stop();
  const { output } = sluice;
  assert.ok(output.endsWith("\n"));
  for (const line of output.trimEnd().split("\n")) assert.equal(typeof JSON.parse(line), "object");
  assert.doesNotMatch(output, /[^\x20-\x7e\n]/);
  assert.equal(sluice.accessLines.length, requests);
});
