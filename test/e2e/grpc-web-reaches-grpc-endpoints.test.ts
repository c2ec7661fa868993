/** Clients of gRPC-Web, over HTTP/1 and HTTP/2, call gRPC endpoints: streams pass unbuffered, trailers in the body. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as request1 } from "node:http";
import type { AddressInfo } from "node:net";
import type { Readable } from "node:stream";
import { openSession } from "./http2.ts";
import { atEnd, bounded, type LiveTest, startSluice, testInUsualMode } from "./program.ts";

type Endpoint = {
  port: number;
  requests: { headers: Record<string, unknown>; body: Buffer }[];
  /** Lets the endpoint send its second message. */
  proceed: () => void;
};

/** Echoes the request's message, waits, sends another one, and ends with trailers. */
async function startEndpoint(t: LiveTest): Promise<Endpoint> {
  const endpoint: Endpoint = { port: 0, requests: [], proceed: () => {} };
  const server = createServer(async (incoming, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk);
    } catch {
      return; // the request was cancelled
    }
    const body = Buffer.concat(chunks);
    endpoint.requests.push({ headers: incoming.headers, body });
    const many = /^\/many\/(\d+)\/(\d+)$/.exec(incoming.url!);
    if (many !== null) {
      response.writeHead(200, { "content-type": "application/grpc", trailer: "grpc-status" }).write(body);
      const fields = Array.from({ length: Number(many[1]) }, (_, i) => [`x-${i}`, "v".repeat(Number(many[2]))]);
      response.addTrailers([["grpc-status", "0"], ...fields] as never);
      return response.end();
    }
    if (incoming.url === "/plain") return response.writeHead(503, { "content-type": "text/html" }).end("<p>");
    if (incoming.url === "/only")
      return response.writeHead(200, { "content-type": "application/grpc", "grpc-status": "5" }).end();
    response.writeHead(200, { "content-type": "application/grpc+proto", trailer: "grpc-status", etag: '"x"' });
    response.write(body);
    if (incoming.url === "/hang") return;
    endpoint.proceed = () => {
      response.write(frame("second"));
      response.addTrailers({ "Grpc-Status": "0", "grpc-message": "all%20well", "x-bin": "AAEC" });
      response.end();
    };
  });
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  endpoint.port = (server.address() as AddressInfo).port;
  return endpoint;
}

function frame(text: string, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(Buffer.byteLength(text), 1);
  return Buffer.concat([head, Buffer.from(text)]);
}

type Response = { status: number; headers: Record<string, unknown>; body: Readable; trailers: () => unknown };
type Client = (path: string, headers: Record<string, string>, body: string | Buffer) => Promise<Response>;

/** Concatenated base64 texts. */
function decode(text: string): Buffer {
  return Buffer.concat((text.match(/[^=]+=*/g) ?? []).map((part) => Buffer.from(part, "base64")));
}

/** Reads until the body has `size` bytes, decoded. */
async function take(chunks: AsyncIterator<Buffer>, isText: boolean, size: number): Promise<Buffer> {
  let received = "";
  for (;;) {
    const bytes = isText ? decode(received) : Buffer.from(received, "latin1");
    if (bytes.length >= size) return bytes;
    const { value, done } = await bounded(chunks.next(), `${size} bytes, after ${bytes.length}`);
    if (done) return bytes;
    received += value.toString("latin1");
  }
}

testInUsualMode("unary and streaming calls in binary and text form, errors and deadlines", async (t) => {
  const endpoint = await startEndpoint(t);
  const sluice = await startSluice(
    t,
    (ports) => `
log: { access: { format: json, fields: [path, grpc_status] } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [grpc-web]
    routes: [{ match: { path: /none }, cluster: none }, { match: { not: { path: /lost } }, cluster: app }]
clusters:
  app: [127.0.0.1:${endpoint.port}]
  none: []
`,
  );
  const session = await openSession(t, sluice.url);
  const http1: Client = (path, headers, body) =>
    new Promise((resolve, reject) => {
      const sent = request1(`${sluice.url}${path}`, { method: "POST", headers }, (body) =>
        resolve({ status: body.statusCode!, headers: body.headers, body, trailers: () => body.trailers }),
      );
      sent.on("error", reject).end(body);
    });
  const http2: Client = (path, headers, body) =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ":method": "POST", ":path": path, ...headers }, { endStream: false });
      let trailers = {};
      stream.on("trailers", (received) => void (trailers = received));
      stream.on("response", (headers) =>
        resolve({ status: headers[":status"]!, headers, body: stream, trailers: () => trailers }),
      );
      stream.on("error", reject).end(body);
    });
  for (const client of [http1, http2]) {
    await assertStreams(endpoint, client, "application/grpc-web+proto");
    await assertStreams(endpoint, client, "application/grpc-web-text");
    await assertErrors(client);
  }
  await sluice.metricIs(10, "sluice_grpc_requests_total", { grpc_status: "0" });
  assert.equal(await sluice.metric("sluice_plugin_failures_total"), 0);
  await sluice.metricIs(2, "sluice_grpc_requests_total", { grpc_status: "4" });
});

async function assertStreams(endpoint: Endpoint, client: Client, type: string): Promise<void> {
  const isText = type.includes("text");
  const first = frame("first\0\xff");
  const body = isText ? first.subarray(0, 5).toString("base64") + first.subarray(5).toString("base64") : first;
  const response = await client("/s/M", { "content-type": type, "grpc-timeout": "1M", "x-grpc-web": "1" }, body);
  const { status, headers } = response;
  assert.deepEqual([status, headers["content-type"]], [200, isText ? "application/grpc-web-text+proto" : type]);
  const got = endpoint.requests.at(-1)!;
  assert.match(String(got.headers["content-type"]), /^application\/grpc(\+proto)?$/);
  assert.deepEqual([got.headers.te, got.body], ["trailers", first]);

  // The first message arrives before the endpoint sends the second.
  const chunks = response.body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  assert.deepEqual(await take(chunks, isText, first.length), first);
  endpoint.proceed();
  const trailers = frame("grpc-status:0\r\ngrpc-message:all%20well\r\nx-bin:AAEC\r\n", 0x80);
  const rest = Buffer.concat([frame("second"), trailers]);
  assert.deepEqual((await take(chunks, isText, rest.length)).toString("latin1"), rest.toString("latin1"));
  assert.equal((await bounded(chunks.next(), "the end")).done, true);
  assert.deepEqual({ ...(response.trailers() as object) }, {});
}

async function assertErrors(client: Client): Promise<void> {
  const type = { "content-type": "application/grpc-web+proto" };
  for (const [path, status] of [
    ["/none", "14"],
    ["/lost", "12"],
    ["/only", "5"],
  ] as const) {
    const { headers, body, ...response } = await client(path, type, frame("x"));
    assert.equal(response.status, 200, path);
    assert.deepEqual([headers["grpc-status"], headers["content-type"]], [status, "application/grpc-web+proto"], path);
    assert.deepEqual(Buffer.concat(await body.toArray()), Buffer.alloc(0), path);
  }
  const plain = await client("/plain", type, frame("x"));
  assert.deepEqual([plain.status, plain.headers["content-type"]], [503, "text/html"]);
  assert.equal(Buffer.concat(await plain.body.toArray()).toString(), "<p>");
  const bad = await client("/s/M", { "content-type": "application/grpc-web-text" }, "not base64!");
  assert.deepEqual([bad.status, bad.headers["grpc-status"]], [200, "3"]);

  // Neither many trailers nor large ones make the filter fail.
  for (const [count, size] of [
    [1, 15_000],
    [98, 0],
    [60, 100],
  ] as const) {
    const response = await client(
      `/many/${count}/${size}`,
      { "content-type": "application/grpc-web-text" },
      "AAAAAAA=",
    );
    const text = decode(Buffer.concat(await response.body.toArray()).toString("latin1")).toString("latin1");
    assert.ok(
      text.includes("grpc-status:0\r\n") && text.endsWith(`x-${count - 1}:${"v".repeat(size)}\r\n`),
      `${count}: ${text.slice(-40)}`,
    );
  }

  const late = await client("/hang", { ...type, "grpc-timeout": "200m" }, frame("x"));
  const body = Buffer.concat(await late.body.toArray()).toString("latin1");
  assert.equal(
    body,
    `${frame("x")}${frame("grpc-status:4\r\ngrpc-message:Gateway Timeout\r\n", 0x80).toString("latin1")}`,
  );
}
