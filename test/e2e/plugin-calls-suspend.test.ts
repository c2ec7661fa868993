/** plugin-calls-suspend: asynchronous host calls in blocking style, without delaying other requests. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { connectTo, exchange, startRawUpstream, startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type LiveTest,
  type Program,
  startSluice,
  testInEachMode,
  testInUsualMode,
  times,
  until,
} from "./program.ts";

const SOURCES = {
  "waits.wasm": `import { Body, Config, Fetch, kv, Request, Response, SingleFlight, sleep } from "sluice/sdk";
const origin = Config.string("origin", "");
let served = 0;
function load(key: string): string | null { return new Fetch("cluster:auth/" + key).send().text(); }
const once = new SingleFlight(kv("once"), load, 60000);
function upper(bytes: Uint8Array): Uint8Array {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] >= 97 && bytes[i] <= 122) bytes[i] -= 32;
  return bytes;
}
export function onRequest(req: Request): void {
  req.headers.set("x-before", req.path);
  if (req.pathStartsWith("/sleep/")) sleep(I32.parseInt(req.path.substr(7)));
  else if (req.pathStartsWith("/auth")) {
    const response = new Fetch("cluster:auth/check?path=" + req.path).method("POST")
      .header("x-user", req.headers.get("x-user") || "").text("who " + req.path).timeout(2000).limit(1000).send();
    if (response.timedOut) req.respond(504, "late");
    else if (!response.ok) req.respond(403, response.status.toString() + " " + response.text());
    else req.headers.set("x-granted", (response.header("x-role") || "") + ":" + response.text());
  } else if (req.pathStartsWith("/origin")) {
    const response = new Fetch(origin + "/keys?a=1").header("x-from", "sluice").send();
    req.respond(200, response.status.toString() + " " + (response.header("content-type") || "") + " " + response.text());
  } else if (req.pathStartsWith("/leave/")) new Fetch(req.pathIs("/leave/origin") ? origin : "cluster:auth").timeout(3600000).send();
  else if (req.pathStartsWith("/denied")) new Fetch("https://elsewhere.example/").send();
  else if (req.pathStartsWith("/hold")) req.bufferBody();
  else if (req.pathStartsWith("/once/")) req.respond(200, once.get(req.path.substr(6))!);
  served++;
  req.headers.set("x-served", served.toString());
}
export function onRequestBody(req: Request, body: Body): void {
  if (req.pathStartsWith("/early")) { body.appendText("+"); if (req.pathStartsWith("/early/sleep")) sleep(5); }
  if (req.pathStartsWith("/hold") || req.pathStartsWith("/stream")) { sleep(5); body.replace(upper(body.bytes())); }
}
export function onResponse(req: Request, res: Response): void {
  if (req.pathStartsWith("/response")) { sleep(5); res.headers.set("x-after", "1"); }
}
export function onResponseBody(req: Request, res: Response, body: Body): void {
  if (req.pathStartsWith("/early")) { if (body.last) body.appendText("!"); if (req.pathStartsWith("/early/sleep")) sleep(5); }
  if (req.pathStartsWith("/stream") || req.pathStartsWith("/response")) { sleep(2); body.replace(upper(body.bytes())); }
}
export function onLog(req: Request): void { if (req.pathStartsWith("/log")) sleep(5); }
`,
};
const files: Record<string, Uint8Array> = {};

before(async () => {
  for (const [name, source] of Object.entries(SOURCES)) files[name] = await compileSource(source);
});

type Setup = { port: number; auth?: number; origin?: string; limits?: string; workers?: number };

function start(
  t: LiveTest,
  { port, auth = port, origin = "https://a.example", limits = "", workers = 1 }: Setup,
): Promise<Program> {
  return startSluice(
    t,
    (ports) => `plugins:
  waits: { wasm: ./waits.wasm, config: { origin: "${origin}" }, limits: { ${limits} }, allow: { fetch: ["cluster:auth", "${origin}"], kv: [once] } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [waits]
    cluster: app
clusters:
  app: [127.0.0.1:${port}]
  auth: [127.0.0.1:${auth}]
`,
    { files, workers },
  );
}

const guests = (sluice: Program): Promise<number> => sluice.metric("sluice_plugin_guests");
const get = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${more}\r\n`;

testInUsualMode("a sleeping plugin delays only its own request", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, { port: upstream.port });
  const slow = await connectTo(t, sluice.port);
  slow.send(get("/sleep/4000"));
  await sluice.metricIs(1, "sluice_plugin_calls_total", { hook: "request_head" });
  for (let i = 0; i < 20; i++) assert.equal((await exchange(t, sluice.port, get("/quick"))).status, 200);
  assert.equal(upstream.requests.length, 20);
  // The request continues with the call's edits from before and after the suspension.
  const short = await exchange(t, sluice.port, get("/sleep/30"));
  assert.equal(short.status, 200);
  const { headers } = upstream.requests.at(-1)!;
  assert.equal(headers["x-before"], "/sleep/30");
  assert.ok(Number(headers["x-served"]) >= 1);
});

testInUsualMode("a subrequest goes to a cluster, and its response decides", async (t) => {
  const upstream = await startUpstream(t);
  const auth = await startUpstream(t, (request, response) => {
    if (request.headers["x-user"] !== "ann") return response.writeHead(401).end("nobody");
    response.writeHead(200, { "x-role": "admin" }).end(`${request.method} ${request.url} ${request.body}`);
  });
  const sluice = await start(t, { port: upstream.port, auth: auth.port });
  const granted = await exchange(t, sluice.port, get("/auth/x", "x-user: ann\r\n"));
  assert.equal(granted.status, 200);
  assert.equal(upstream.requests[0]!.headers["x-granted"], "admin:POST /check?path=/auth/x who /auth/x");
  const refused = await exchange(t, sluice.port, get("/auth/x", "x-user: bob\r\n"));
  assert.deepEqual([refused.status, refused.body.toString()], [403, "401 nobody"]);
  const [asked] = auth.requests;
  assert.deepEqual(
    ["host", "content-length", "via", "x-forwarded-for"].map((name) => asked!.headers[name]),
    ["auth", "11", "1.1 sluice", undefined],
  );
  // Its connections are kept, like those of traffic; the request is counted for the endpoint, and for no listener.
  assert.equal(auth.connections, 1);
  await sluice.metricIs(2, "sluice_requests_total");
  await sluice.metricIs(2, "sluice_upstream_duration_seconds_count", { cluster: "auth" });
});

testInUsualMode("concurrent cache misses cause one subrequest over all workers", async (t) => {
  const upstream = await startUpstream(t);
  let respond = (): void => undefined;
  const auth = await startUpstream(t, (request, response) => {
    respond = () => void response.end(`${request.url} loaded`);
  });
  const sluice = await start(t, { port: upstream.port, auth: auth.port, workers: 2 });
  const misses = Array.from({ length: 12 }, () => exchange(t, sluice.port, get("/once/key")));
  await sluice.metricIs(12, "sluice_plugin_calls_total", { hook: "request_head" });
  respond();
  for (const { status, body } of await Promise.all(misses))
    assert.deepEqual([status, body.toString()], [200, "/key loaded"]);
  assert.equal((await exchange(t, sluice.port, get("/once/key"))).body.toString(), "/key loaded");
  assert.equal(auth.requests.length, 1);
});

testInUsualMode("the plugin gets the error of a subrequest that is refused, too slow or too large", async (t) => {
  const upstream = await startUpstream(t);
  const silent = await startRawUpstream(t);
  let sluice = await start(t, { port: upstream.port, auth: silent.port });
  const late = await exchange(t, sluice.port, get("/auth"));
  assert.deepEqual([late.status, late.body.toString()], [504, "late"]);
  await (await silent.connection(0)).closed;
  const large = await startUpstream(t, (_, response) => response.end("x".repeat(2000)));
  sluice = await start(t, { port: upstream.port, auth: large.port });
  assert.deepEqual((await exchange(t, sluice.port, get("/auth"))).body.toString(), "0 ");
  const broken = await startRawUpstream(t, (peer) => void peer.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"));
  sluice = await start(t, { port: upstream.port, auth: broken.port });
  assert.deepEqual((await exchange(t, sluice.port, get("/auth"))).body.toString(), "0 ");
  sluice = await start(t, { port: upstream.port, auth: 1 });
  assert.deepEqual((await exchange(t, sluice.port, get("/auth"))).body.toString(), "0 ");
  assert.equal((await exchange(t, sluice.port, get("/denied"))).status, 500);
  await sluice.logged((line) => String(line.msg).includes("does not allow"), "the denial");
});

testInUsualMode("an allowed origin is requested through Node's own client", async (t) => {
  const upstream = await startUpstream(t);
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers["x-from"]}`);
    response.writeHead(200, { "content-type": "text/x" }).end("keys");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  atEnd(t, () => {
    server.close();
    server.closeAllConnections();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const sluice = await start(t, { port: upstream.port, origin });
  const response = await exchange(t, sluice.port, get("/origin"));
  assert.equal(response.body.toString(), "200 text/x keys");
  assert.deepEqual(asked, [`GET /keys?a=1 ${origin.slice(7)} sluice`]);
});

testInUsualMode("calls suspend up to a limit, further ones are queued, then 503", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, { port: upstream.port, limits: "guests: 2" });
  const clients = await Promise.all(Array.from({ length: 19 }, () => connectTo(t, sluice.port)));
  for (const client of clients) client.send(get("/sleep/300"));
  const responses = await Promise.all(clients.map((client) => client.readResponse()));
  const statuses = responses.map(({ status }) => status);
  assert.equal(statuses.filter((status) => status === 503).length, 1, statuses.join());
  assert.equal(statuses.filter((status) => status === 200).length, 18);
  assert.equal(
    responses.find(({ status }) => status === 503)!.headers["proxy-status"],
    "sluice; error=proxy_internal_error",
  );
});

testInUsualMode("a call suspended for too long fails, and its guest is replaced", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, { port: upstream.port, limits: "time: 100ms, guests: 1" });
  assert.equal((await exchange(t, sluice.port, get("/sleep/60000"))).status, 500);
  assert.equal((await exchange(t, sluice.port, get("/quick"))).status, 200);
  assert.equal(upstream.requests[0]!.headers["x-served"], "1");
  await sluice.metricIs(1, "sluice_plugin_failures_total", { reason: "timeout" });
});

testInUsualMode("the route's timeout cancels a suspended call, and leaves no guest behind", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    (ports) => `plugins:
  waits: { wasm: ./waits.wasm, limits: { time: 1h }, allow: { fetch: ["cluster:app"], kv: [once] } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes: [{ chain: [waits], cluster: app, timeout: 300ms }]
clusters:
  app: [127.0.0.1:${upstream.port}]
`,
    { files },
  );
  await until(async () => (await guests(sluice)) === 2, "the number of guests is reported");
  const late = await exchange(t, sluice.port, get("/sleep/3600000"));
  assert.deepEqual([late.status, late.headers["proxy-status"]], [504, "sluice; error=http_response_timeout"]);
  await until(async () => (await guests(sluice)) === 2, "the guest that slept is gone");
  assert.equal((await exchange(t, sluice.port, get("/sleep/10"))).status, 200);
  assert.equal(upstream.requests.length, 1);
  await sluice.metricIs(0, "sluice_plugin_failures_total");
});

testInEachMode("a client that disconnects cancels its suspended call: no guest remains", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, { port: upstream.port, limits: "guests: 50, time: 1h" });
  const before = 3; // the plugin's, and one for the strategy of each cluster
  await until(async () => (await guests(sluice)) === before, "the number of guests is reported");
  const count = times(t, 2000);
  for (let done = 0; done < count; done += 50) {
    const clients = await Promise.all(Array.from({ length: 50 }, () => connectTo(t, sluice.port)));
    for (const client of clients) client.send(get("/sleep/3600000"));
    await until(
      async () => (await sluice.metric("sluice_plugin_calls_total", { hook: "request_head" })) === done + 50,
      "all of them sleep",
    );
    for (const client of clients) client.socket.destroy();
    await sluice.metricIs(0, "sluice_requests_in_flight");
  }
  await until(async () => (await guests(sluice)) === before, "no guest is left");
  assert.equal((await exchange(t, sluice.port, get("/quick"))).status, 200);
  await sluice.metricIs(0, "sluice_plugin_failures_total");
});

testInUsualMode("a client that disconnects cancels its plugin's subrequests", async (t) => {
  const [upstream, silent] = [await startUpstream(t), await startRawUpstream(t)];
  const origin = `http://127.0.0.1:${silent.port}`;
  const sluice = await start(t, { port: upstream.port, auth: silent.port, origin, limits: "time: 1h" });
  for (const [at, path] of ["/leave/cluster", "/leave/origin"].entries()) {
    const client = await connectTo(t, sluice.port);
    client.send(get(path));
    const peer = await silent.connection(at);
    await peer.head();
    client.socket.destroy();
    // Sooner than the response timeout.
    await bounded(peer.closed, "its end", 10_000);
  }
  await until(async () => (await guests(sluice)) === 3, "no guest is left");
  await sluice.metricIs(0, "sluice_plugin_failures_total");
});

testInEachMode("a body filter suspends, and the body arrives complete", async (t) => {
  const upstream = await startUpstream(t, (request, response) => response.end(request.body));
  const sluice = await start(t, { port: upstream.port });
  const text = "the quick brown fox ".repeat(4000);
  const post = (path: string) => `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
  for (const path of ["/hold", "/stream"]) {
    const response = await exchange(t, sluice.port, post(path));
    assert.equal(response.status, 200, sluice.output);
    assert.ok(response.body.equals(Buffer.from(text.toUpperCase())), path);
    assert.ok(upstream.requests.at(-1)!.body.equals(Buffer.from(text.toUpperCase())), path);
  }
  // Edits of a chunk before the suspension, or in a call that did not suspend, count as well.
  for (const path of ["/early/sleep", "/early"]) {
    const response = await exchange(t, sluice.port, `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx`);
    assert.equal(response.body.toString(), "x+!", path);
  }
  const short = await exchange(t, sluice.port, get("/response"));
  assert.equal(short.headers["x-after"], "1");
  const client = await connectTo(t, sluice.port);
  for (let i = 0; i < 3; i++) {
    await client.sendChunks([
      "POST /stream HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
      "1\r\na\r\n",
      "2\r\nbc\r\n",
    ]);
    await client.sendChunks(["1\r\nd\r\n", "0\r\n\r\n"]);
    const response = await client.readResponse();
    assert.deepEqual([response.status, response.body.toString()], [200, "ABCD"]);
  }
});

testInUsualMode("an asynchronous host call in a hook that cannot suspend fails with a message", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, { port: upstream.port });
  assert.equal((await exchange(t, sluice.port, get("/log"))).status, 200);
  await sluice.logged((line) => String(line.msg).includes("not in this hook"), "that it may not wait there");
});

testInUsualMode("a reload does not disturb suspended calls", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, { port: upstream.port });
  const before = 3; // the plugin's, and one for the strategy of each cluster
  await until(async () => (await guests(sluice)) === before, "the number of guests is reported");
  const client = await connectTo(t, sluice.port);
  client.send(get("/sleep/500"));
  await sluice.metricIs(1, "sluice_plugin_calls_total", { hook: "request_head" });
  sluice.config(sluice.configText.replace("chain: [waits]", "chain: []"));
  assert.equal((await sluice.reload()).status, 200);
  assert.equal((await exchange(t, sluice.port, get("/plain"))).status, 200);
  assert.equal(upstream.requests[0]!.headers["x-before"], undefined);
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(upstream.requests[1]!.headers["x-before"], "/sleep/500");
  await until(async () => (await guests(sluice)) === before - 1, "the plugin is gone");
});
