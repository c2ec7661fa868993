/** Responses that Sluice makes to gRPC calls are gRPC: headers only, with a status. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { ClientHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { compileSource } from "../contract/plugin-harness.ts";
import { type Http2Response, openSession, read, request } from "./http2.ts";
import { atEnd, bounded, type LiveTest, type Ports, startSluice, testInUsualMode } from "./program.ts";

const CALL = { ":method": "POST", "content-type": "application/grpc+proto", te: "trailers" };

const teapot = `
import { Request, Response } from "sluice/sdk";
export function onRequest(req: Request): void {
  if (req.pathIs("/own/Grpc")) {
    const res = req.respond(200);
    res.headers.set("content-type", "application/grpc");
    res.headers.set("grpc-status", "9");
  } else if (req.pathIs("/own/Status")) {
    req.respond(503, "later\\n").headers.set("grpc-status", "8");
  } else if (req.pathIs("/own/Text")) {
    req.respond(404, "no such thing: é\\n").headers.set("x-own", "1");
  }
}
export function onResponse(req: Request, res: Response): void {
  if (req.pathIs("/late/Text")) res.respond(401, "who?");
}
`;

/** An HTTP/1 endpoint that responds by the path. */
async function startEndpoint(t: LiveTest) {
  const seen: { url: string; headers: Record<string, unknown>; aborted: Promise<unknown> }[] = [];
  const server = createServer((incoming, response) => {
    incoming.resume();
    seen.push({ url: incoming.url!, headers: incoming.headers, aborted: once(response, "close") });
    const [, kind, value = ""] = incoming.url!.split("/");
    if (kind === "hang" || kind === "slow") return;
    const headers = { "content-type": "application/grpc", ...(kind === "only" && { "grpc-status": value }) };
    response.writeHead(kind === "plain" ? Number(value) : 200, kind === "plain" ? {} : headers);
    if (kind === "begin" || kind === "cut") {
      response.write("first");
      if (kind === "cut") setImmediate(() => response.socket!.destroy());
      return;
    }
    if (kind === "trailers") response.addTrailers({ "grpc-status": value });
    if (kind === "trailers") response.write("body");
    response.end();
  });
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return { port: (server.address() as AddressInfo).port, seen };
}

const config = (endpoint: number) => (ports: Ports) =>
  `
log: { access: { format: json, fields: [path, status, outcome, grpc_status, grpc_method] } }
plugins: { teapot: { wasm: ./teapot.wasm } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    limits: { body: 1MiB }
    routes:
      - { match: { prefix: /down/ }, name: down, cluster: down }
      - { match: { prefix: /empty/ }, cluster: empty }
      - { match: { prefix: /denied/ }, chain: [{ ip-filter: { deny: [127.0.0.0/8] } }], cluster: app }
      - { match: { prefix: /slow/ }, timeout: 200ms, cluster: hang }
      - { match: { prefix: /own/ }, chain: [teapot], cluster: app }
      - { match: { prefix: /local/ }, respond: { status: 503, body: "closed\\n" } }
      - { match: { prefix: /late/ }, chain: [teapot], cluster: app }
      - { match: { regex: "/(hang|only|plain|begin|cut|trailers)/.*" }, name: app, cluster: app }
clusters:
  app: { endpoints: [127.0.0.1:${endpoint}], timeouts: { idle: 2s } }
  hang: { endpoints: [127.0.0.1:${endpoint}] }
  down: ["127.0.0.1:${ports.closed}"]
  empty: []
`;

function statusOf({ status, headers, trailers, body }: Http2Response): (string | number | undefined)[] {
  return [status, headers["grpc-status"] as string, trailers["grpc-status"] as string, body.toString()];
}

testInUsualMode("errors, responses of plugins and deadlines have a status of gRPC", async (t) => {
  const { port, seen } = await startEndpoint(t);
  const files = { "teapot.wasm": await compileSource(teapot) };
  const sluice = await startSluice(t, config(port), { files, ports: ["closed"] });
  const session = await openSession(t, sluice.url);
  const call = (path: string, more = {}, body: string | Buffer = "") =>
    request(session, { ...CALL, ":path": path, ...more }, body);

  const cases: [path: string, status: string, message: string | undefined, proxyStatus: boolean][] = [
    ["/none/M", "12", "Not Found", true],
    ["/down/M", "14", "Bad Gateway", true],
    ["/empty/M", "14", "Service Unavailable", true],
    ["/denied/M", "7", undefined, false],
    ["/slow/M", "4", "Gateway Timeout", true],
    ["/own/Grpc", "9", undefined, false],
    ["/own/Status", "8", "later", false],
    ["/own/Text", "12", "no such thing: %C3%A9", false],
    ["/late/Text", "16", "who?", false],
    ["/local/M", "14", "closed", false],
    ["/only/14", "14", undefined, false],
  ];
  for (const [path, status, message, proxyStatus] of cases) {
    const got = await call(path);
    assert.deepEqual(statusOf(got), [200, status, undefined, ""], path);
    if (message !== undefined) assert.equal(got.headers["grpc-message"], message, path);
    assert.equal(got.headers["content-type"], "application/grpc", path);
    assert.equal(got.headers["content-length"], undefined, path);
    assert.equal("proxy-status" in got.headers, proxyStatus, path);
  }
  assert.equal((await call("/own/Text")).headers["x-own"], "1");
  assert.deepEqual(statusOf(await call("/hang/large", {}, Buffer.alloc(2 << 20))), [200, "8", undefined, ""]);
  assert.deepEqual(statusOf(await call("/trailers/5")), [200, undefined, "5", "body"]);

  // A response of the endpoint that is not gRPC passes as it is; requests that are not gRPC get the errors of HTTP.
  assert.equal((await call("/plain/503")).status, 503);
  for (const type of ["application/grpc-web", "application/json"])
    assert.equal((await call("/none/M", { "content-type": type })).status, 404);
  const http1 = await fetch(`${sluice.url}/none/M`, {
    method: "POST",
    headers: { "content-type": CALL["content-type"] },
  });
  assert.equal(http1.status, 404);

  await assertDeadlines(session, seen);

  const count = (status: number, route: string) =>
    sluice.metricIs(1, "sluice_grpc_requests_total", { grpc_status: String(status), route });
  await Promise.all([
    count(5, "app"),
    count(14, "down"),
    sluice.metricIs(2, "sluice_grpc_requests_total", { grpc_status: "8", route: "app" }),
  ]);
  await sluice.logged((line) => line.path === "/trailers/5" && line.grpc_status === 5, "a line with a status");
  const line = await sluice.logged((line) => line.path === "/down/M", "a line");
  assert.deepEqual(line, {
    path: "/down/M",
    status: 200,
    outcome: "connect_refused",
    grpc_status: 14,
    grpc_method: "down/M",
  });
});

async function assertDeadlines(session: ClientHttp2Session, seen: Awaited<ReturnType<typeof startEndpoint>>["seen"]) {
  const call = (path: string, timeout: string) =>
    request(session, { ...CALL, ":path": path, "grpc-timeout": timeout }, "");
  const late = await call("/hang/M", "100m");
  assert.deepEqual(statusOf(late), [200, "4", undefined, ""]);
  const hung = seen.findLast(({ url }) => url === "/hang/M")!;
  await bounded(hung.aborted, "the endpoint's request to be cancelled");
  const passed = /^(\d+)([um])$/.exec(hung.headers["grpc-timeout"] as string)!;
  const micros = Number(passed[1]) * (passed[2] === "m" ? 1000 : 1);
  assert.ok(micros > 0 && micros < 100_000, passed[0]);

  // After the headers, the deadline ends the response by trailers.
  const begun = await call("/begin/M", "300m");
  assert.deepEqual(statusOf(begun), [200, undefined, "4", "first"]);
  await bounded(seen.findLast(({ url }) => url === "/begin/M")!.aborted, "the response to be cancelled");
  // So does a request that is too large only then: a fault of the client's, not of the endpoint.
  const over = session.request({ ...CALL, ":path": "/begin/over" }, { endStream: false });
  await bounded(once(over, "response"), "the headers");
  const whole = read(over);
  over.end(Buffer.alloc(2 << 20));
  assert.deepEqual((await whole).trailers["grpc-status"], "8");
  // So does a failure of the endpoint.
  assert.deepEqual(statusOf(await call("/cut/M", "1H")), [200, undefined, "14", "first"]);

  const before = seen.length;
  for (const timeout of ["1", "1s", "123456789m", "-1S", "S"])
    assert.deepEqual(statusOf(await call("/only/0", timeout)), [200, "13", undefined, ""], timeout);
  assert.deepEqual(statusOf(await call("/only/0", "0S")), [200, "4", undefined, ""]);
  assert.equal(seen.length, before);
  assert.deepEqual(statusOf(await call("/only/0", "10S")), [200, "0", undefined, ""]);

  // A client that goes away cancels the request.
  const stream = session.request({ ...CALL, ":path": "/hang/gone" }, { endStream: true });
  stream.on("error", () => {});
  while (!seen.some(({ url }) => url === "/hang/gone")) await new Promise((resolve) => setTimeout(resolve, 10));
  stream.close(8);
  await bounded(seen.findLast(({ url }) => url === "/hang/gone")!.aborted, "the request to be cancelled");
}
