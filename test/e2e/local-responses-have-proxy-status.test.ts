/** Every local response has a Proxy-Status (RFC 9209), and reveals nothing about the endpoints. */
import assert from "node:assert/strict";
import { makePlugin, TRAP } from "./bad-plugins.ts";
import { findFreePort } from "./free-port.ts";
import { exchange, startRawUpstream } from "./peers.ts";
import { startSluice, testInUsualMode } from "./program.ts";

testInUsualMode("400, 403, 404, 413, 500, 502, 503, 504: each with its error type", async (t) => {
  const resetting = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.reset();
  });
  const lying = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx");
  });
  const silent = await startRawUpstream(t);
  const refusing = await findFreePort();
  const sluice = await startSluice(
    t,
    (ports) => `
plugins: { fails: { wasm: ./fails.wasm }, denies: { wasm: ./denies.wasm } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    limits: { body: 10 }
    routes:
      - { match: { path: /fails }, chain: [fails], cluster: silent }
      - { match: { path: /denies }, chain: [denies], cluster: silent }
      - { match: { path: /silent }, cluster: silent }
      - { match: { path: /refusing }, cluster: refusing }
      - { match: { path: /resetting }, cluster: resetting }
      - { match: { path: /lying }, cluster: lying }
      - { match: { path: /none }, cluster: none }
clusters:
  silent: { endpoints: ["127.0.0.1:${silent.port}"], timeouts: { response: 200ms } }
  refusing: ["127.0.0.1:${refusing}"]
  resetting: ["127.0.0.1:${resetting.port}"]
  lying: ["127.0.0.1:${lying.port}"]
  none: []
`,
    {
      files: {
        "fails.wasm": makePlugin("request_head", TRAP),
        "denies.wasm": makePlugin("request_head", "i32.const 2"),
      },
    },
  );
  const expected: [string, number, string][] = [
    ["GET / HTTP/1.1\r\n\r\n", 400, "http_request_error"],
    ["GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "destination_not_found"],
    ["POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413, "http_request_error"],
    ["GET /fails HTTP/1.1\r\nHost: a\r\n\r\n", 500, "proxy_internal_error"],
    ["GET /denies HTTP/1.1\r\nHost: a\r\n\r\n", 403, "http_request_denied"],
    ["GET /refusing HTTP/1.1\r\nHost: a\r\n\r\n", 502, "connection_refused"],
    ["GET /resetting HTTP/1.1\r\nHost: a\r\n\r\n", 502, "connection_terminated"],
    ["GET /lying HTTP/1.1\r\nHost: a\r\n\r\n", 502, "http_protocol_error"],
    ["GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 503, "destination_unavailable"],
    ["GET /silent HTTP/1.1\r\nHost: a\r\n\r\n", 504, "http_response_timeout"],
  ];
  for (const [request, status, type] of expected) {
    const response = await exchange(t, sluice.port, request);
    assert.deepEqual([response.status, response.headers["proxy-status"]], [status, `sluice; error=${type}`], request);
    assert.equal(Number(response.headers["content-length"]), response.body.length);
    assert.ok(response.headers.date, "a Date field");
    assert.doesNotMatch(`${response.head}${response.body}`, /127\.0\.0\.1|at \w+ \(|\.ts|wasm/);
  }
  const head = await exchangeHead(t, sluice.port);
  assert.equal(head, 404);
});

async function exchangeHead(t: Parameters<typeof exchange>[0], port: number): Promise<number> {
  const { connectTo } = await import("./peers.ts");
  const client = await connectTo(t, port);
  const response = await client.send("HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").readResponse(true);
  // No body follows the head: the next response starts at once.
  const next = await client.send("HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").readResponse(true);
  assert.match(next.head, /^HTTP\/1\.1 404/);
  return response.status;
}
