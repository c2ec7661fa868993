/** X-Forwarded-*: who the client is, said by those who may say it. */
import assert from "node:assert/strict";
import { exchange, startUpstream } from "./peers.ts";
import { simpleConfig, startSluice, testInAllModes, testInUsualMode } from "./program.ts";

const forged =
  "GET / HTTP/1.1\r\nHost: shown.example\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: forged.example\r\nForwarded: for=1.2.3.4\r\nX_Forwarded_For: 9.9.9.9\r\n\r\n";

const SPELLINGS = [
  ...["X.Forwarded.For", "x~forwarded~proto", "X_Forwarded_Host", "X-Forwarded-Prefix", "X-Forwarded-Port"],
  ...["X-Forwarded-Server", "X-Forwarded-Ssl", "X_Forwarded_Scheme", "X-Forwarded-Client-Cert", "X-Real-IP"],
  ...["X_Real_IP", "x.real.ip", "FORWARDED", "Content_Length", "Transfer.Encoding"],
];

testInUsualMode("no spelling of what only a proxy says reaches the endpoint, in headers or trailers", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const fields = SPELLINGS.map((name) => `${name}: forged\r\n`).join("");
  const request = `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n${fields}\r\n1\r\nx\r\n0\r\n${fields}X-Sum: 1\r\n\r\n`;
  assert.equal((await exchange(t, sluice.port, request)).status, 200);
  const { rawHeaders, trailers } = upstream.requests[0]!;
  assert.doesNotMatch(rawHeaders.join(), /forged/);
  assert.deepEqual({ ...trailers }, { "x-sum": "1" });
});

testInAllModes("an untrusted peer's word is thrown away", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "log: { access: true }" }));
  assert.equal((await exchange(t, sluice.port, forged)).status, 200);
  const { headers, rawHeaders } = upstream.requests[0]!;
  assert.equal(headers["x-forwarded-for"], "127.0.0.1");
  assert.equal(headers["x-forwarded-proto"], "http");
  assert.equal(headers["x-forwarded-host"], "shown.example");
  assert.equal(headers.host, "shown.example");
  assert.equal(headers.forwarded, undefined);
  assert.doesNotMatch(rawHeaders.join(), /forged|1\.2\.3\.4|9\.9\.9\.9/);
  assert.match(headers.via!, /^1\.1 sluice$/);
  const line = await sluice.logged(({ status }) => status === 200, "the request");
  assert.ok(Object.values(line).includes("127.0.0.1"), JSON.stringify(line));
});

testInAllModes("a trusted peer's word is kept, and added to", async (t) => {
  const upstream = await startUpstream(t);
  const listener = "trustedProxies: [127.0.0.0/8, 5.6.7.0/24]";
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener, rest: "log: { access: true }" }), {});
  assert.equal((await exchange(t, sluice.port, forged)).status, 200);
  const { headers } = upstream.requests[0]!;
  assert.equal(headers["x-forwarded-for"], "1.2.3.4, 5.6.7.8, 127.0.0.1");
  assert.equal(headers["x-forwarded-proto"], "https");
  assert.equal(headers["x-forwarded-host"], "forged.example");
  const line = await sluice.logged(({ status }) => status === 200, "the request");
  assert.ok(Object.values(line).includes("1.2.3.4"), JSON.stringify(line));
});
