/** Requests of HTTP/2 clients, over TLS and with prior knowledge, reach HTTP/1 endpoints. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { constants } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { Authority } from "../support/certificates.ts";
import { openSession, read, request } from "./http2.ts";
import { startRawUpstream, startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type LiveTest,
  simpleConfig,
  startSluice,
  testInAllModes,
  testInUsualMode,
} from "./program.ts";
import { run } from "./tls.ts";

const authority = new Authority();
authority.issue("server", { names: "DNS:localhost,IP:127.0.0.1" });
test.after(() => authority.remove());

const BIG = Buffer.alloc(3 << 20, "0123456789abcdef");
const digest = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** An endpoint that responds by the path; `listener`: more of its configuration. */
async function start(t: LiveTest, listener = "") {
  const upstream = await startUpstream(t, ({ method, url, headers, body, trailers }, response) => {
    if (url === "/big") return response.setHeader("Content-Length", BIG.length).end(BIG);
    if (url === "/empty") return response.writeHead(204).end();
    if (url === "/slow") return;
    if (url === "/trailers") {
      response.writeHead(200, { Trailer: "X-Sum" }).write("body");
      response.addTrailers({ "X-Sum": "7" });
      return response.end();
    }
    response.writeEarlyHints({ link: "</a.css>; rel=preload" });
    response.setHeader("X-Mixed-Case", "Value");
    response.setHeader("Set-Cookie", ["a=1", "b=2"]);
    response.end(JSON.stringify({ method, url, headers, trailers, size: body.length, digest: digest(body) }));
  });
  const rest = "log: { access: { format: combined } }";
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener, rest }));
  return { sluice, upstream };
}

testInAllModes("requests, bodies, trailers and interim responses pass both ways", async (t) => {
  const { sluice, upstream } = await start(t);
  const session = await openSession(t, sluice.url);
  const all = Array.from({ length: 200 }, (_, i) => request(session, { ":path": `/n?${i}`, "x-n": String(i) }));
  for (const [i, { status, body, interim }] of (await Promise.all(all)).entries()) {
    const got = JSON.parse(body.toString());
    assert.deepEqual([status, got.url, got.headers["x-n"], interim.length], [200, `/n?${i}`, String(i), 1]);
  }

  const cookies = { ":path": "/c", cookie: ["a=1", "b=2", "c=3"] };
  const got = await request(session, cookies);
  const { headers } = JSON.parse(got.body.toString());
  assert.equal(headers.cookie, "a=1; b=2; c=3");
  assert.equal(headers.host, `127.0.0.1:${sluice.port}`);
  assert.deepEqual([headers.via, headers["x-forwarded-for"]], ["2 sluice", "127.0.0.1"]);
  assert.deepEqual([got.headers["x-mixed-case"], got.headers["set-cookie"]], ["Value", ["a=1", "b=2"]]);
  assert.equal(Number(got.headers["content-length"]), got.body.length);

  const sent = await Promise.all(
    [0, 1, 2, 3].map((i) => request(session, { ":method": "POST", ":path": `/${i}` }, BIG, { "x-end": `${i}` })),
  );
  for (const [i, { body }] of sent.entries()) {
    const { size, digest: sum, trailers } = JSON.parse(body.toString());
    assert.deepEqual([size, sum, trailers], [BIG.length, digest(BIG), { "x-end": `${i}` }]);
  }
  const received = await Promise.all([0, 1, 2, 3].map(() => request(session, { ":path": "/big" })));
  for (const { body } of received) assert.ok(body.equals(BIG));

  const noBody = session.request({ ":method": "POST", ":path": "/0", "content-length": 0 }, { endStream: true });
  const noBodyGot = JSON.parse((await read(noBody)).body.toString());
  assert.deepEqual([noBodyGot.headers["content-length"], noBodyGot.headers["transfer-encoding"]], ["0", undefined]);
  const head = await request(session, { ":method": "HEAD", ":path": "/big" });
  assert.deepEqual([head.headers["content-length"], head.body.length], [String(BIG.length), 0]);
  const empty = await request(session, { ":path": "/empty" });
  assert.deepEqual([empty.status, empty.headers["content-length"], empty.body.length], [204, undefined, 0]);
  const trailers = await request(session, { ":path": "/trailers" });
  assert.deepEqual([trailers.body.toString(), trailers.trailers["x-sum"]], ["body", "7"]);
  assert.equal(upstream.requests.length, 200 + 1 + 4 + 4 + 4);
  await sluice.metricIs(213, "sluice_requests_total");
  assert.match(sluice.output, /"GET \/c HTTP\/2\.0" 200/);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInAllModes("over TLS, ALPN selects HTTP/2, and clients without ALPN use HTTP/1", async (t) => {
  const tls = `tls: { certificates: [{ cert: ${authority.path("server.pem")}, key: ${authority.path("server.key")} }] }`;
  const { sluice } = await start(t, tls);
  const url = `https://localhost:${sluice.port}`;
  const ca = authority.path("ca.pem");
  const version = ["-sS", "-m", "10", "--cacert", ca, "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
  assert.equal((await run("curl", [...version, "--http2", `${url}/a`])).out, "2 200");
  assert.equal((await run("curl", [...version, "--http1.1", `${url}/a`])).out, "1.1 200");
  const session = await openSession(t, url, { ca: authority.read("ca.pem") });
  const sums = await Promise.all([0, 1, 2].map(async () => digest((await request(session, { ":path": "/big" })).body)));
  assert.deepEqual(new Set(sums), new Set([digest(BIG)]));
  const { body } = await request(session, { ":method": "POST", ":path": "/p" }, BIG);
  const got = JSON.parse(body.toString());
  assert.deepEqual([got.digest, got.headers["x-forwarded-proto"]], [digest(BIG), "https"]);
});

testInUsualMode("a slow reader, a reset and a broken response affect only their stream", async (t) => {
  const endpoint = createServer((incoming, response) => {
    if (incoming.url === "/endless") {
      const write = (): void => {
        while (response.write(BIG.subarray(0, 65_536)));
      };
      response.on("drain", write).on("close", () => endpoint.emit("left"));
      write();
    } else if (incoming.url === "/broken") {
      response.writeHead(200, { "content-length": 100 }).write("half");
      setImmediate(() => response.destroy());
    } else if (incoming.url === "/wait") incoming.socket.on("close", () => endpoint.emit("canceled"));
    else response.end("ok");
  });
  atEnd(t, () => endpoint.close().closeAllConnections());
  await once(endpoint.listen(0, "127.0.0.1"), "listening");
  const sluice = await startSluice(t, simpleConfig((endpoint.address() as AddressInfo).port));
  const session = await openSession(t, sluice.url);
  const ok = async () => assert.equal((await request(session, { ":path": "/" })).body.toString(), "ok");

  // It reads nothing: its window is soon empty, and neither the connection's nor the memory fills.
  const slow = session.request({ ":path": "/endless" });
  await bounded(once(slow, "response"), "the response");
  for (let i = 0; i < 20; i++) await ok();
  const left = once(endpoint, "left");
  slow.close(constants.NGHTTP2_CANCEL);
  await bounded(left, "the endpoint to see that the client has left");

  const canceled = once(endpoint, "canceled");
  const waiting = session.request({ ":path": "/wait" });
  waiting.on("error", () => {});
  await ok();
  waiting.close(constants.NGHTTP2_CANCEL);
  await bounded(canceled, "the canceled request to reach the endpoint");

  await assert.rejects(read(session.request({ ":path": "/broken" })), { code: "ERR_HTTP2_STREAM_ERROR" });
  await ok();
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

const FILTER = `import { Body, Request, Response } from "sluice/sdk";
export function onRequest(req: Request): void {
  if (req.pathStartsWith("/buffered")) req.bufferBody();
  req.headers.set("x-protocol", req.protocol);
}
export function onRequestBody(req: Request, body: Body): void {
  if (req.pathStartsWith("/respond")) { if (body.last) req.respond(422, "no"); }
  else if (body.last) body.appendText("+request");
}
export function onResponse(req: Request, res: Response): void {
  res.headers.set("X-Filtered", "1");
}
export function onResponseBody(req: Request, res: Response, body: Body): void {
  if (body.last) body.appendText("+response");
}`;

testInUsualMode("filters change the bodies of streams, streamed and buffered", async (t) => {
  const upstream = await startUpstream(t, ({ body }, response) => response.end(body));
  const wasm = await compileSource(FILTER);
  const listener = "chain: [filter]";
  const rest = "plugins: { filter: { wasm: filter.wasm, limits: { body: 8MiB, memory: 64MiB } } }";
  const config = simpleConfig(upstream.port, { listener, rest });
  const sluice = await startSluice(t, config, { files: { "filter.wasm": wasm } });
  const session = await openSession(t, sluice.url);
  const post = (path: string, body: string | Buffer) => request(session, { ":method": "POST", ":path": path }, body);
  for (const path of ["/streamed", "/buffered"])
    for (const body of ["", "some", BIG]) {
      const response = await post(path, body);
      assert.equal(response.headers["x-filtered"], "1");
      assert.ok(response.body.equals(Buffer.concat([Buffer.from(body), Buffer.from("+request+response")])), path);
    }
  assert.ok(upstream.requests.every(({ headers }) => headers["x-protocol"] === "2"));
  const refused = await Promise.all([0, 1, 2].map(() => post("/respond", BIG)));
  for (const { status, body } of refused) assert.deepEqual([status, body.toString()], [422, "no+response"]);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("limits and timeouts apply to each stream", async (t) => {
  const upstream = await startRawUpstream(t);
  const listener = "limits: { body: 1KiB, head: 2KiB, headers: 20 }\n    timeouts: { body: 300ms, write: 300ms }";
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener, route: "timeout: 1s" }));
  const session = await openSession(t, sluice.url);
  const status = async (...args: Parameters<typeof request> extends [unknown, ...infer R] ? R : never) =>
    (await request(session, ...args)).status;
  const post = { ":method": "POST", ":path": "/" };
  assert.equal(await status({ ...post, "content-length": 2000 }, "x".repeat(2000)), 413);
  assert.equal(await status(post, "x".repeat(2000)), 413);
  assert.equal(await status({ ":path": "/", "x-long": "x".repeat(3000) }), 431);
  assert.equal(await status(Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`x-${i}`, "y"]))), 431);
  const late = session.request(post, { endStream: false });
  late.write("first");
  assert.equal((await read(late)).status, 408);
  assert.equal(await status({ ":path": "/" }), 504);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("a drained connection gets GOAWAY, and its requests are finished", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const session = await openSession(t, sluice.url);
  const pending = read(session.request({ ":path": "/" }));
  const endpoint = await upstream.connection(0);
  await endpoint.waits(() => endpoint.text.endsWith("\r\n\r\n"), "the request");
  const goAway = once(session, "goaway");
  const stopped = sluice.stop();
  await bounded(goAway, "GOAWAY");
  endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
  assert.equal((await pending).body.toString(), "done");
  await stopped;
});
