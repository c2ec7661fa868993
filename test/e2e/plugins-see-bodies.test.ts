/** plugins-see-bodies: body filters run chunk by chunk, or once on a buffered body. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { compileSource } from "../contract/plugin-harness.ts";
import { connectTo, exchange, type Recorded, startRawUpstream, startUpstream } from "./peers.ts";
import { type LiveTest, type Program, startSluice, testInEachMode, testInUsualMode, until } from "./program.ts";

/** The path selects what it does; `mark` in its configuration distinguishes two of them. */
const SOURCE = `import { Body, Config, Headers, Request, Response, cluster } from "sluice/sdk";
const mark = Config.string("mark", "");
const other = cluster("other");
export function onRequest(req: Request): void {
  if (req.pathStartsWith("/hold")) req.bufferBody();
  if (req.pathStartsWith("/local")) req.respond(203, "own").headers.set("x-own", "1");
}
export function onRequestBody(req: Request, body: Body): void {
  if (req.pathStartsWith("/upper")) {
    const bytes = body.bytes();
    for (let i = 0; i < bytes.length; i++) if (bytes[i] >= 97 && bytes[i] <= 122) bytes[i] -= 32;
    body.replace(bytes);
  } else if (req.pathStartsWith("/mark")) { if (body.last) body.appendText(mark); }
  else if (req.pathStartsWith("/drop")) body.drop();
  else if (req.pathStartsWith("/hold/head")) {
    req.headers.set("x-body", body.size.toString());
    req.path = "/" + body.text();
  } else if (req.pathStartsWith("/hold/other")) { if (body.text() == "other") req.choose(other); }
  else if (req.pathStartsWith("/hold/respond") || req.pathStartsWith("/respond")) { if (body.last) req.respond(422, "not " + body.size.toString()); }
  else if (req.pathStartsWith("/hold/empty")) body.appendText("filled");
  else if (req.pathStartsWith("/reject")) req.reject();
  else if (req.pathStartsWith("/fail/request")) throw new Error("no");
  else if (req.pathStartsWith("/trailers") && body.last) body.appendText("+");
}
export function onRequestTrailers(req: Request, trailers: Headers): void {
  trailers.set("x-seen", trailers.get("x-sum") || "none");
}
export function onResponse(req: Request, res: Response): void {
  if (req.pathStartsWith("/response/hold")) res.bufferBody();
}
export function onResponseBody(req: Request, res: Response, body: Body): void {
  if (req.pathStartsWith("/response/hold")) {
    res.headers.set("x-size", body.size.toString());
    if (body.text() == "bad") res.status = 503;
    if (body.text() == "replace") res.respond(410, "gone");
    else body.appendText("!");
  } else if (req.pathStartsWith("/mark") || req.pathStartsWith("/local")) { if (body.last) body.appendText(mark); }
  else if (req.pathStartsWith("/response/cut")) body.drop();
  else if (req.pathStartsWith("/fail/response")) throw new Error("no");
  else if (req.pathStartsWith("/trailers") && body.last) body.appendText("+");
}
export function onResponseTrailers(req: Request, res: Response, trailers: Headers): void {
  trailers.set("x-seen", trailers.get("x-sum") || "none");
}
`;
const wasm = await compileSource(SOURCE);

type Setup = { port: number; other?: number; more?: string; retry?: string };

function start(t: LiveTest, { port, other = port, more = "", retry = "" }: Setup): Promise<Program> {
  return startSluice(
    t,
    (ports) => `plugins:
  first: { wasm: ./bodies.wasm, config: { mark: "1" }, allow: { clusters: [app, other] }${more} }
  second: { wasm: ./bodies.wasm, config: { mark: "2" }, allow: { clusters: [app, other] }${more} }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [first]
    routes: [{ chain: [second], cluster: app${retry} }]
clusters:
  app: [127.0.0.1:${port}]
  other: [127.0.0.1:${other}]
`,
    { files: { "bodies.wasm": wasm } },
  );
}

const post = (path: string, body: string, more = ""): string =>
  `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n${more}\r\n${body}`;

testInEachMode("a body of any size is changed chunk by chunk", async (t) => {
  const upstream = await startUpstream(t, (request, response) => response.end(request.body));
  const sluice = await start(t, { port: upstream.port });
  const text = "The quick brown fox. ".repeat(100_000);
  const response = await exchange(t, sluice.port, post("/upper", text));
  assert.equal(response.status, 200);
  assert.ok(response.body.equals(Buffer.from(text.toUpperCase())));
  assert.equal(upstream.requests[0]!.headers["transfer-encoding"], "chunked");
  assert.equal(upstream.requests[0]!.headers["content-length"], undefined);
  const short = await exchange(t, sluice.port, post("/upper", "short"));
  assert.equal(short.body.toString(), "SHORT");
  assert.equal(upstream.requests[1]!.headers["content-length"], "5");
});

testInUsualMode("each plugin sees the output of the one before it; responses pass the chain in reverse", async (t) => {
  const upstream = await startUpstream(t, (_request, response) => response.end("response"));
  const sluice = await start(t, { port: upstream.port });
  const response = await exchange(t, sluice.port, post("/mark", "x"));
  assert.equal(upstream.requests[0]!.body.toString(), "x12");
  assert.equal(upstream.requests[0]!.headers["content-length"], "3");
  assert.equal(response.body.toString(), "response21");
  assert.equal(response.headers["content-length"], "10");
  assert.equal((await exchange(t, sluice.port, post("/drop", "x"))).body.toString(), "response");
  assert.equal(upstream.requests[1]!.body.length, 0);
  const own = await exchange(t, sluice.port, "GET /local HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.deepEqual([own.status, own.body.toString(), own.headers["content-length"]], [203, "own", "3"]);
});

testInUsualMode("a buffered request is sent when its body is complete, with the plugin's headers", async (t) => {
  const upstream = await startUpstream(t);
  const other = await startUpstream(t, (_request, response) => response.end("other"));
  const sluice = await start(t, { port: upstream.port, other: other.port });
  const client = await connectTo(t, sluice.port);
  client.send("POST /hold/head HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n");
  assert.equal((await client.readResponse()).status, 100);
  client.send("3\r\nabc\r\n");
  await sluice.ask("/health");
  assert.equal(upstream.requests.length, 0);
  client.send("2\r\nde\r\n0\r\n\r\n");
  assert.equal((await client.readResponse()).status, 200);
  const [request] = upstream.requests;
  assert.deepEqual([request!.url, request!.body.toString()], ["/abcde", "abcde"]);
  assert.deepEqual(
    ["x-body", "content-length", "transfer-encoding", "expect"].map((name) => request!.headers[name]),
    ["5", "5", undefined, undefined],
  );
  // The connection can be reused.
  client.send(post("/hold/other", "other"));
  assert.equal((await client.readResponse()).body.toString(), "other");
  client.send("GET /hold/empty HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(upstream.requests[1]!.body.toString(), "filled".repeat(2));
  client.send(post("/hold/respond", "abc"));
  const refused = await client.readResponse();
  assert.deepEqual([refused.status, refused.body.toString()], [422, "not 3"]);
  client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.equal((await client.readResponse()).status, 200);
});

testInUsualMode("a buffered body over the limit is rejected, or passes without the plugin", async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    response.end(request.url.startsWith("/response") ? "x".repeat(5000) : `${request.body.length}`);
  });
  const reject = await start(t, { port: upstream.port, more: ", limits: { body: 1KiB }" });
  const large = "y".repeat(200_000);
  assert.equal((await exchange(t, reject.port, post("/hold/head", large))).status, 413);
  const late = await exchange(t, reject.port, "GET /response/hold HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.deepEqual([late.status, late.headers["proxy-status"]], [502, "sluice; error=http_response_body_size"]);
  // It is not a failure: `onFailure` does not apply.
  const lenient = await start(t, { port: upstream.port, more: ", onFailure: skip, limits: { body: 1KiB }" });
  assert.equal((await exchange(t, lenient.port, post("/hold/head", large))).status, 413);
  assert.equal((await exchange(t, lenient.port, "GET /response/hold HTTP/1.1\r\nhost: a\r\n\r\n")).status, 502);
  const skip = await start(t, { port: upstream.port, more: ", limits: { body: 1KiB, tooLarge: skip }" });
  const passed = await exchange(t, skip.port, post("/hold/head", large));
  assert.deepEqual([passed.status, passed.body.toString()], [200, "200000"]);
  assert.equal(upstream.requests.at(-1)!.url, "/hold/head");
  const whole = await exchange(t, skip.port, "GET /response/hold HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.deepEqual([whole.status, whole.body.toString(), whole.headers["x-size"]], [200, "x".repeat(5000), undefined]);
  assert.equal((await exchange(t, skip.port, post("/hold/head", "small"))).status, 200);
  assert.equal(upstream.requests.at(-1)!.headers["x-body"], "5");
});

testInUsualMode("a buffered response can be replaced after its body was read", async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    if (request.url.endsWith("/empty")) return response.writeHead(204).end();
    response.write(request.url.split("/")[3]!.slice(0, 2));
    setImmediate(() => response.end(request.url.split("/")[3]!.slice(2)));
  });
  const sluice = await start(t, { port: upstream.port });
  const ask = (path: string, method = "GET") =>
    exchange(t, sluice.port, `${method} /response/hold/${path} HTTP/1.1\r\nhost: a\r\n\r\n`);
  const good = await ask("good");
  assert.deepEqual([good.status, good.body.toString()], [200, "good!!"]);
  assert.deepEqual([good.headers["x-size"], good.headers["content-length"]], ["5", "6"]);
  assert.equal(good.headers["transfer-encoding"], undefined);
  assert.equal((await ask("bad")).status, 503);
  const gone = await ask("replace");
  assert.deepEqual([gone.status, gone.body.toString()], [410, "gone"]);
  const empty = await ask("empty");
  assert.deepEqual([empty.status, empty.headers["content-length"], empty.headers["x-size"]], [204, undefined, "1"]);
});

testInUsualMode("a plugin can respond or reject while a body streams", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await start(t, { port: upstream.port });
  const client = await connectTo(t, sluice.port);
  client.send("POST /respond HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
  const peer = await upstream.connection(0);
  await peer.take("abc\r\n");
  client.send("1\r\nd\r\n0\r\n\r\n");
  const response = await client.readResponse();
  assert.deepEqual([response.status, response.body.toString()], [422, "not 1"]);
  await peer.closed;
  assert.ok(!peer.text.includes("0\r\n\r\n"));
  assert.equal((await exchange(t, sluice.port, post("/reject", "x"))).status, 403);
});

testInUsualMode("a failing body hook aborts the message, or is skipped", async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    response.write("some ");
    setTimeout(() => response.end(request.body), 50);
  });
  const reject = await start(t, { port: upstream.port });
  assert.equal((await exchange(t, reject.port, post("/fail/request", "x"))).status, 500);
  assert.equal(upstream.requests.length, 0);
  // The first chunk was received after the head was sent, or with it: truncated, or 500.
  const response = await exchange(t, reject.port, post("/fail/response", "x"));
  assert.ok(response.status === 500 || !response.whole, `${response.status}`);
  const skip = await start(t, { port: upstream.port, more: ", onFailure: skip" });
  const passed = await exchange(t, skip.port, post("/fail/request", "x"));
  assert.deepEqual([passed.status, passed.body.toString()], [200, "some x"]);
  assert.equal((await exchange(t, skip.port, post("/fail/response", "y"))).body.toString(), "some y");
  await until(
    async () => (await skip.metric("sluice_plugin_failures_total", { hook: "response_body" })) >= 2,
    "it counts",
  );
});

testInUsualMode("a failure after the response headers truncates the response visibly", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await start(t, { port: upstream.port });
  const client = await connectTo(t, sluice.port);
  client.send("GET /fail/response HTTP/1.1\r\nhost: a\r\n\r\n");
  const peer = await upstream.connection(0);
  await peer.head();
  peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n");
  assert.match(await client.head(), /^HTTP\/1.1 200 /);
  peer.send("abc");
  assert.equal((await client.rest()).toString(), "");
  assert.equal(await client.closed, "reset");
  await peer.closed;
});

testInUsualMode("trailers are read, changed, and added", async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    response.writeHead(200, { trailer: "x-sum" });
    response.write(request.body);
    response.addTrailers({ "x-sum": "response" });
    response.end();
  });
  const sluice = await start(t, { port: upstream.port });
  const response = await exchange(
    t,
    sluice.port,
    "POST /trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: request\r\n\r\n",
  );
  assert.equal(upstream.requests[0]!.body.toString(), "a++");
  assert.deepEqual(upstream.requests[0]!.trailers, { "x-sum": "request", "x-seen": "request" });
  assert.equal(response.body.toString(), "a++++");
  assert.match(response.trailers, /x-sum: response\r\nx-seen: response\r\n/i);
});

testInUsualMode("a retry sends the body as changed by plugins, which run once", async (t) => {
  let asked = 0;
  const serve = (request: Recorded, response: ServerResponse) => {
    if (++asked === 1) response.writeHead(503).end();
    else response.end(request.body);
  };
  const [one, two] = [await startUpstream(t, serve), await startUpstream(t, serve)];
  const sluice = await startSluice(
    t,
    (ports) => `plugins: { first: { wasm: ./bodies.wasm, config: { mark: "1" } } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [first]
    routes: [{ cluster: app, retry: { attempts: 2, on: [connect, 503] } }]
clusters:
  app: [127.0.0.1:${one.port}, 127.0.0.1:${two.port}]
  other: [127.0.0.1:${one.port}]
`,
    { files: { "bodies.wasm": wasm } },
  );
  const response = await exchange(t, sluice.port, "PUT /mark HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
  assert.deepEqual([response.status, response.body.toString()], [200, "x11"]);
});

testInUsualMode(
  "an endpoint that aborts a buffered response causes 502; a client that disconnects frees the endpoint",
  async (t) => {
    const upstream = await startRawUpstream(t);
    const sluice = await start(t, { port: upstream.port });
    const client = await connectTo(t, sluice.port);
    client.send("GET /response/hold HTTP/1.1\r\nhost: a\r\n\r\n");
    let peer = await upstream.connection(0);
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").end();
    assert.equal((await client.readResponse()).status, 502);
    client.send("GET /response/hold HTTP/1.1\r\nhost: a\r\n\r\n");
    peer = await upstream.connection(1);
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    client.socket.destroy();
    await peer.closed;
    await sluice.metricIs(0, "sluice_requests_in_flight");
  },
);
