/** Every pair of HTTP/1.1 and HTTP/2, at the client and at the endpoint, keeps the same promises. */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { compileSource } from "../contract/plugin-harness.ts";
import { bounded, type LiveTest, type Program, startSluice, testInUsualMode, until } from "./program.ts";
import {
  ask,
  breakOff,
  type Client,
  digest,
  type Handler,
  http1Client,
  http2Client,
  startEndpoint,
} from "./protocol-pairs.ts";

const BIG = Buffer.alloc(2 << 20, "0123456789abcdef");
/** Larger than all buffers between an endpoint and a client together. */
const HUGE = 64 << 20;
/** More headers than limits.headers. */
const MANY = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`x-${i}`, "1"]));

type Setup = { readonly rest?: string; readonly listener?: string; readonly files?: Record<string, Uint8Array> };

const config =
  (http1: number, http2: number, { rest = "", listener = "" }: Setup) =>
  (ports: { web: number }) =>
    `
${rest}
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    ${listener}
    routes:
      - { match: { prefix: /http1/ }, cluster: http1, retry: { attempts: 0 } }
      - { match: { prefix: /http2/ }, cluster: http2, retry: { attempts: 0 } }
clusters:
  http1: { endpoints: ["127.0.0.1:${http1}"] }
  http2: { protocol: http2, endpoints: ["127.0.0.1:${http2}"] }
`;

/** Upper case to the endpoint, and a mark behind each response; `held` in the path: of whole bodies. */
const EDIT = `import { Body, Request, Response } from "sluice/sdk";
export function onRequest(req: Request): void {
  if (req.path.includes("held")) req.bufferBody();
}
export function onRequestBody(req: Request, body: Body): void {
  const bytes = body.bytes();
  for (let i = 0; i < bytes.length; i++) if (bytes[i] >= 97 && bytes[i] <= 122) bytes[i] -= 32;
  body.replace(bytes);
}
export function onResponse(req: Request, res: Response): void {
  if (req.path.includes("held")) res.bufferBody();
}
export function onResponseBody(req: Request, res: Response, body: Body): void {
  if (body.last) body.appendText("!");
}
`;

/** What endpoints report: `aborted`, the path of a request whose client has left. */
const events = new EventEmitter();
let written = 0;

const handle: Handler = (incoming, outgoing) => {
  const url = incoming.url!.replace(/^\/http[12]/, "");
  const chunks: Buffer[] = [];
  outgoing.on("close", () => {
    if (!outgoing.writableEnded) events.emit("aborted", incoming.url);
  });
  outgoing.on("error", () => undefined);
  incoming.on("error", () => undefined);
  events.emit("begun", incoming.url);
  if (url === "/big") return void outgoing.writeHead(200, { "content-length": BIG.length }).end(BIG);
  if (url === "/streamed") return void outgoing.writeHead(200).end(BIG);
  if (url === "/empty") return void outgoing.writeHead(204).end();
  if (url === "/never") return;
  if (url === "/early") return void outgoing.writeHead(403).end("no");
  if (url === "/half") {
    outgoing.writeHead(200, { "content-length": 100 });
    outgoing.write("half");
    return void once(events, "break").then(() => breakOff(outgoing));
  }
  if (url === "/dies") return breakOff(outgoing);
  if (url === "/huge") {
    const write = (): void => {
      for (let more = true; more && written < HUGE; written += BIG.length) more = outgoing.write(BIG);
      if (written >= HUGE) outgoing.end();
    };
    written = 0;
    outgoing.on("drain", write);
    return write();
  }
  if (url === "/many-headers") return void outgoing.writeHead(200, MANY).end();
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => {
    const body = Buffer.concat(chunks);
    const { method, headers, trailers } = incoming;
    if (url.startsWith("/echo")) return void outgoing.end(body);
    if (url === "/trailers") {
      outgoing.writeHead(200, { trailer: "x-sum, content-length" });
      outgoing.write("body");
      outgoing.addTrailers({ "x-sum": "7" });
      return void outgoing.end();
    }
    if (url === "/hints") outgoing.writeEarlyHints({ link: "</a.css>; rel=preload" });
    outgoing.setHeader("x-up", "1");
    outgoing.end(JSON.stringify({ method, headers, trailers, size: body.length, digest: digest(body) }));
  });
};

type Pair = { readonly client: Client; readonly to: string; readonly sluice: Program };

/** Runs `check` for every pair, in one program. */
function testPairs(name: string, check: (pair: Pair, t: LiveTest) => Promise<void>, setup: Setup = {}): void {
  testInUsualMode(name, async (t) => {
    const [http1, http2] = [await startEndpoint(t, "http1", handle), await startEndpoint(t, "http2", handle)];
    const sluice = await startSluice(t, config(http1.port, http2.port, setup), { files: setup.files ?? {} });
    for (const client of [http1Client(t, sluice.port), await http2Client(t, sluice.port)])
      for (const to of ["http1", "http2"])
        await t.test(`${client.name} to ${to}`, () => check({ client, to: `/${to}`, sluice }, t));
    await sluice.metricIs(0, "sluice_requests_in_flight");
    await sluice.metricIs(0, "sluice_internal_errors_total");
  });
}

testPairs("bodies, trailers, interim and bodiless responses pass both ways", async ({ client, to }) => {
  const all = Array.from({ length: 120 }, (_, i) =>
    ask(client, { path: `${to}/n`, method: "POST", headers: { "x-n": `${i}` }, body: Buffer.from(`b${i}`) }),
  );
  for (const [i, { status, body, headers }] of (await Promise.all(all)).entries()) {
    const got = JSON.parse(body.toString());
    assert.deepEqual([status, got.headers["x-n"], got.digest], [200, `${i}`, digest(Buffer.from(`b${i}`))]);
    assert.equal(headers["x-up"], "1");
    assert.equal(got.headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(got.headers.via, client.name === "HTTP/1" ? "1.1 sluice" : "2 sluice");
  }
  for (const length of [0, 1, 16_384, 65_535, 65_536, BIG.length]) {
    const body = BIG.subarray(0, length);
    const echoed = await ask(client, { path: `${to}/echo`, method: "POST", body });
    assert.ok(echoed.body.equals(body), `${length} bytes`);
  }
  for (const path of ["/big", "/streamed"]) {
    const { headers, body } = await ask(client, { path: `${to}${path}` });
    assert.ok(body.equals(BIG));
    assert.equal(headers["content-length"], path === "/big" ? `${BIG.length}` : undefined);
  }
  const head = await ask(client, { path: `${to}/big`, method: "HEAD" });
  assert.deepEqual([head.headers["content-length"], head.body.length], [`${BIG.length}`, 0]);
  const empty = await ask(client, { path: `${to}/empty` });
  assert.deepEqual([empty.status, empty.body.length], [204, 0]);
  const trailers = await ask(client, { path: `${to}/trailers` });
  assert.deepEqual([trailers.body.toString(), trailers.trailers["x-sum"]], ["body", "7"]);
  assert.equal(trailers.headers.trailer, "x-sum");
  const sent = await ask(client, { path: `${to}/n`, method: "POST", body: BIG, trailers: { "x-end": "1" } });
  const got = JSON.parse(sent.body.toString());
  assert.deepEqual([got.size, got.digest, got.trailers], [BIG.length, digest(BIG), { "x-end": "1" }]);
  assert.deepEqual((await ask(client, { path: `${to}/hints` })).interim, [103]);
});

testPairs("a response before the end of the request reaches the client", async ({ client, to }) => {
  const call = client.open({ path: `${to}/early`, method: "POST" });
  call.request.on("error", () => undefined);
  call.request.write("begin");
  const { status, body } = await bounded(call.response, "a response");
  assert.equal(status, 403);
  assert.equal(Buffer.concat(await bounded(body.toArray(), "its body")).toString(), "no");
  call.abort();
  assert.equal((await ask(client, { path: `${to}/n` })).status, 200);
});

testPairs("a client that leaves ends its request at the endpoint, in every phase", async ({ client, to }) => {
  const leaves = async (
    path: string,
    method: string,
    phase: (call: ReturnType<Client["open"]>) => Promise<unknown>,
  ) => {
    const begun = once(events, "begun");
    const call = client.open({ path: `${to}${path}`, method });
    call.request.on("error", () => undefined);
    if (method === "GET") call.request.end();
    else call.request.write("begin");
    await bounded(begun, "the request");
    const aborted = once(events, "aborted");
    await phase(call);
    call.abort();
    assert.deepEqual(await bounded(aborted, `${path} to be aborted`), [`${to}${path}`]);
  };
  await leaves("/never", "GET", async () => undefined);
  await leaves("/echo", "POST", async () => undefined);
  await leaves("/half", "GET", (call) => call.response);
  await leaves("/huge", "GET", (call) => call.response);
  assert.equal((await ask(client, { path: `${to}/n` })).status, 200);
});

testPairs(
  "an endpoint that leaves is a 502, and a broken response later; limits hold",
  async ({ client, to, sluice }) => {
    assert.equal((await ask(client, { path: `${to}/dies` })).status, 502);
    const upload = client.open({ path: `${to}/dies`, method: "POST" });
    upload.request.on("error", () => undefined);
    upload.request.write("begin");
    assert.equal((await bounded(upload.response, "a response")).status, 502);
    upload.abort();
    assert.equal((await ask(client, { path: `${to}/echo`, method: "POST", body: BIG })).status, 413);
    const call = client.open({ path: `${to}/half` });
    call.request.on("error", () => undefined);
    call.request.end();
    const { status, body } = await bounded(call.response, "a response");
    const whole = body.toArray();
    events.emit("break");
    assert.equal(status, 200);
    await assert.rejects(bounded(whole, "the end of a broken response"));
    assert.equal((await ask(client, { path: `${to}/many-headers` })).status, 502);
    const cluster = to.slice(1);
    const failures = await sluice.metric("sluice_upstream_failures_total", { cluster, reason: "upstream_malformed" });
    assert.ok(failures > 0);
    assert.equal((await ask(client, { path: `${to}/n` })).status, 200);
  },
  { listener: "limits: { body: 1MiB }" },
);

testPairs("a slow reader holds back its endpoint, and no other request", async ({ client, to }) => {
  const call = client.open({ path: `${to}/huge` });
  call.request.end();
  call.request.on("error", () => undefined);
  const { body } = await bounded(call.response, "a response");
  body.pause();
  let before = -1;
  for (; written !== before; await setTimeout(300)) before = written;
  assert.ok(written < HUGE / 2, `${written} bytes were written`);
  const others = await Promise.all([0, 1, 2, 3].map(() => ask(client, { path: `${to}/big` })));
  for (const { body: other } of others) assert.ok(other.equals(BIG));
  let size = 0;
  for await (const chunk of body) size += chunk.length;
  assert.equal(size, HUGE);
});

testPairs("no response gets bytes of another one", async ({ client, to }) => {
  const patterns = Array.from({ length: 24 }, (_, i) => Buffer.alloc(100_000 + 7919 * i, `<${i}>`));
  const all = patterns.map(async (body, i) => {
    const call = client.open({ path: `${to}/echo`, method: "POST" });
    call.request.end(body);
    const { body: stream } = await bounded(call.response, "a response");
    const chunks: Buffer[] = [];
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (i % 3 === 0) await setTimeout(1);
    }
    assert.ok(Buffer.concat(chunks).equals(body), `pattern ${i}`);
  });
  await Promise.all(all);
});

testPairs(
  "plugins edit bodies, chunk by chunk and as a whole, and the log names both protocols",
  async ({ client, to, sluice }) => {
    for (const path of ["/echo", "/echo-held"])
      for (const length of [5, 200_000]) {
        const body = Buffer.alloc(length, "abcdefg");
        const { status, body: got } = await ask(client, { path: `${to}${path}`, method: "POST", body });
        assert.equal(status, 200);
        assert.equal(got.toString(), `${body.toString().toUpperCase()}!`, `${path} ${length}`);
      }
    const versions = [client.name === "HTTP/1" ? "HTTP/1.1" : "HTTP/2.0", to === "/http1" ? "HTTP/1.1" : "HTTP/2.0"];
    const line = `"path":"${to}/echo","protocol":"${versions[0]}","upstream_protocol":"${versions[1]}"`;
    await until(() => sluice.output.includes(line), line);
  },
  {
    rest: "plugins: { edit: { wasm: edit.wasm } }\nlog: { access: { fields: [path, protocol, upstream_protocol] } }",
    listener: "chain: [edit]",
    files: { "edit.wasm": await compileSource(EDIT) },
  },
);
