/** Every pair of HTTP/1.1 and HTTP/2, plain and over TLS, at the client and at the endpoint, keeps the same promises. */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { compileSource } from "../contract/plugin-harness.ts";
import { bounded, type Ports, type Program, startSluice, testInUsualMode, until } from "./program.ts";
import {
  ask,
  breakOff,
  type Client,
  digest,
  type Handler,
  makeCertificate,
  startClients,
  startUpstreams,
  UPSTREAMS,
} from "./protocol-pairs.ts";

const BIG = Buffer.alloc(2 << 20, "0123456789abcdef");
/** Larger than all buffers between an endpoint and a client together: those of the kernel can be 36 MiB at each hop. */
const HUGE = 128 << 20;
/** More headers than limits.headers. */
const MANY = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`x-${i}`, "1"]));

const authority = makeCertificate();

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
const events = new EventEmitter().setMaxListeners(0);
/** Bytes of a response without end, which ends at `limit`. */
let written = 0;
let limit = HUGE;

const handle: Handler = (incoming, outgoing) => {
  const url = incoming.url!.replace(/^(\/edited)?\/https?[12]/, "");
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
      for (let more = true; more && written < limit; written += BIG.length) more = outgoing.write(BIG);
      if (written >= limit) outgoing.end();
    };
    written = 0;
    limit = HUGE;
    outgoing.on("drain", write);
    return write();
  }
  if (url === "/many-headers") return void outgoing.writeHead(200, MANY).end();
  if (url === "/unread") {
    let size = 0;
    incoming.on("end", () => outgoing.end(`${size}`));
    return void once(events, "read").then(() => incoming.on("data", (chunk: Buffer) => (size += chunk.length)));
  }
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

/** `to`: the path prefix of the endpoint's protocol. `limited`: the same client of a listener with limits. */
type Pair = { readonly client: Client; readonly limited: Client; readonly to: string; readonly sluice: Program };
type Check = (pair: Pair) => Promise<void>;

const config =
  (clusters: string) =>
  ({ web, secure, limited, limitedSecure }: Ports) => {
    const tls = `tls: { certificates: [{ cert: ${authority.path("server.pem")}, key: ${authority.path("server.key")} }] }`;
    const routes = UPSTREAMS.flatMap((name) => [
      `{ match: { prefix: /${name}/ }, cluster: ${name}, retry: { attempts: 0 } }`,
      `{ match: { prefix: /edited/${name}/ }, cluster: ${name}, chain: [edit] }`,
    ]).join(", ");
    const listener = (port: number, more: string) => `{ address: "127.0.0.1:${port}", routes: [${routes}]${more} }`;
    return `
plugins: { edit: { wasm: edit.wasm } }
log: { access: { fields: [path, protocol, upstream_protocol] } }
listeners:
  web: ${listener(web, "")}
  secure: ${listener(secure!, `, ${tls}`)}
  limited: ${listener(limited!, ", limits: { body: 1MiB }")}
  limitedSecure: ${listener(limitedSecure!, `, limits: { body: 1MiB }, ${tls}`)}
clusters:
${clusters}
`;
  };

const carriesMessages: Check = async ({ client, to }) => {
  const all = Array.from({ length: 120 }, (_, i) =>
    ask(client, { path: `${to}/n`, method: "POST", headers: { "x-n": `${i}` }, body: Buffer.from(`b${i}`) }),
  );
  for (const [i, { status, body, headers }] of (await Promise.all(all)).entries()) {
    const got = JSON.parse(body.toString());
    assert.deepEqual([status, got.headers["x-n"], got.digest], [200, `${i}`, digest(Buffer.from(`b${i}`))]);
    assert.equal(headers["x-up"], "1");
    assert.equal(got.headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(got.headers.via, client.name.startsWith("HTTP/1") ? "1.1 sluice" : "2 sluice");
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
};

const respondsEarly: Check = async ({ client, to }) => {
  const call = client.open({ path: `${to}/early`, method: "POST" });
  call.request.on("error", () => undefined);
  call.request.write("begin");
  const { status, body } = await bounded(call.response, "a response");
  assert.equal(status, 403);
  assert.equal(Buffer.concat(await bounded(body.toArray(), "its body")).toString(), "no");
  call.abort();
  const sent = await ask(client, { path: `${to}/early`, method: "POST", body: BIG.subarray(0, 1 << 19) });
  assert.deepEqual([sent.status, sent.body.toString()], [403, "no"]);
  assert.equal((await ask(client, { path: `${to}/n` })).status, 200);
};

const endsWithClient: Check = async ({ client, to }) => {
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
  await leaves("/half", "POST", (call) => call.response);
  await leaves("/huge", "GET", (call) => call.response);
  assert.equal((await ask(client, { path: `${to}/n` })).status, 200);
};

const endsWithEndpoint: Check = async ({ client, to, sluice }) => {
  assert.equal((await ask(client, { path: `${to}/dies` })).status, 502);
  const upload = client.open({ path: `${to}/dies`, method: "POST" });
  upload.request.on("error", () => undefined);
  upload.request.write("begin");
  assert.equal((await bounded(upload.response, "a response")).status, 502);
  upload.abort();
  // Once the request is complete, and while it is being sent.
  for (const method of ["GET", "POST"]) {
    const call = client.open({ path: `${to}/half`, method });
    call.request.on("error", () => undefined);
    if (method === "GET") call.request.end();
    else call.request.write("begin");
    const { status, body } = await bounded(call.response, "a response");
    const whole = body.toArray();
    events.emit("break");
    assert.equal(status, 200);
    await assert.rejects(bounded(whole, "the end of a broken response"));
    call.abort();
  }
  assert.equal((await ask(client, { path: `${to}/many-headers` })).status, 502);
  const cluster = to.slice(1);
  const failures = await sluice.metric("sluice_upstream_failures_total", { cluster, reason: "upstream_malformed" });
  assert.ok(failures > 0);
  assert.equal((await ask(client, { path: `${to}/n` })).status, 200);
};

const limits: Check = async ({ limited, to }) => {
  assert.equal((await ask(limited, { path: `${to}/echo`, method: "POST", body: BIG })).status, 413);
  const headers = { "content-length": `${BIG.length}` };
  const announced = limited.open({ path: `${to}/echo`, method: "POST", headers });
  announced.request.on("error", () => undefined);
  announced.request.write("begin");
  assert.equal((await bounded(announced.response, "a response")).status, 413);
  announced.abort();
  assert.equal((await ask(limited, { path: `${to}/n`, headers: MANY })).status, 431);
  assert.equal((await ask(limited, { path: `${to}/n` })).status, 200);
};

const holdsBack: Check = async ({ client, to }) => {
  const call = client.open({ path: `${to}/huge` });
  call.request.end();
  call.request.on("error", () => undefined);
  const { body } = await bounded(call.response, "a response");
  body.pause();
  let before = -1;
  for (; written !== before; await setTimeout(300)) before = written;
  assert.ok(written < HUGE, "an end to what the endpoint can write");
  const others = await Promise.all([0, 1, 2, 3].map(() => ask(client, { path: `${to}/big` })));
  for (const { status, body: other } of others) assert.deepEqual([status, other.equals(BIG)], [200, true]);
  limit = written + BIG.length;
  let size = 0;
  for await (const chunk of body) size += chunk.length;
  assert.deepEqual([size, written >= limit], [written, true]);
};

const holdsBackUpload: Check = async ({ client, to }) => {
  const begun = once(events, "begun");
  const call = client.open({ path: `${to}/unread`, method: "POST" });
  let sent = 0;
  let most = HUGE;
  const write = (): void => {
    for (let more = true; more && sent < most; sent += BIG.length) more = call.request.write(BIG);
    if (sent >= most) call.request.end();
  };
  call.request.on("error", () => undefined).on("drain", write);
  write();
  await bounded(begun, "the request");
  let before = -1;
  for (; sent !== before; await setTimeout(300)) before = sent;
  assert.ok(sent < HUGE, "an end to what the client can send");
  const others = await Promise.all([0, 1].map(() => ask(client, { path: `${to}/echo`, method: "POST", body: BIG })));
  for (const { status, body: other } of others) assert.deepEqual([status, other.equals(BIG)], [200, true]);
  most = sent + BIG.length;
  events.emit("read");
  const { body } = await bounded(call.response, "a response");
  assert.equal(Buffer.concat(await bounded(body.toArray(), "its body")).toString(), `${sent}`);
  assert.ok(sent >= most);
};

const mixesNoBytes: Check = async ({ client, to }) => {
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
};

const editsBodies: Check = async ({ client, to, sluice }) => {
  for (const path of ["/echo", "/echo-held"])
    for (const length of [5, 200_000]) {
      const body = Buffer.alloc(length, "abcdefg");
      const { status, body: got } = await ask(client, { path: `/edited${to}${path}`, method: "POST", body });
      assert.equal(status, 200);
      assert.equal(got.toString(), `${body.toString().toUpperCase()}!`, `${path} ${length}`);
    }
  const version = (isOne: boolean): string => (isOne ? "HTTP/1.1" : "HTTP/2.0");
  const versions = `"protocol":"${version(client.name.startsWith("HTTP/1"))}","upstream_protocol":"${version(to.endsWith("1"))}"`;
  const line = `"path":"/edited${to}/echo",${versions}`;
  await until(() => sluice.output.includes(line), line);
};

const PROMISES: Readonly<Record<string, Check>> = {
  "bodies, trailers, interim and bodiless responses pass both ways": carriesMessages,
  "a response before the end of the request reaches the client": respondsEarly,
  "a client that leaves ends its request at the endpoint, in every phase": endsWithClient,
  "an endpoint that leaves is a 502, and a broken response later": endsWithEndpoint,
  "limits of bodies and headers hold": limits,
  "a slow reader holds back its endpoint, and no other request": holdsBack,
  "a slow endpoint holds back its client, and no other request": holdsBackUpload,
  "no response gets bytes of another one": mixesNoBytes,
  "plugins edit bodies, chunk by chunk and as a whole, and the log names both protocols": editsBodies,
};

testInUsualMode("every pair of protocols", async (t) => {
  const clusters = await startUpstreams(t, handle, authority);
  const sluice = await startSluice(t, config(clusters), {
    ports: ["secure", "limited", "limitedSecure"],
    files: { "edit.wasm": await compileSource(EDIT) },
  });
  const { web, secure, limited, limitedSecure } = sluice.ports;
  const ca = authority.read("ca.pem");
  for (const [promise, check] of Object.entries(PROMISES))
    await t.test(promise, async (t) => {
      const clients = await startClients(t, web, secure!, ca);
      const limitedClients = check === limits ? await startClients(t, limited!, limitedSecure!, ca) : clients;
      for (const [i, client] of clients.entries())
        for (const name of UPSTREAMS)
          await t.test(`${client.name} to ${name}`, () =>
            check({ client, limited: limitedClients[i]!, to: `/${name}`, sluice }),
          );
      await sluice.metricIs(0, "sluice_requests_in_flight");
      await sluice.metricIs(0, "sluice_internal_errors_total");
    });
});
