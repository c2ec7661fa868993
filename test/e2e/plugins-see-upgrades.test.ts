/** Plugins see the request of an upgrade and the headers of its 101, may change or reject both, and never delay a tunnel. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { connectTo, type Peer, startRawUpstream, startUpstream } from "./peers.ts";
import { type LiveTest, startSluice, testInUsualMode, until } from "./program.ts";

/** The path selects what it does. */
const SOURCE = `import { Body, Fetch, Headers, Request, Response, sleep } from "sluice/sdk";
export function onRequest(req: Request): void {
  req.headers.set("x-asked", req.upgrade || "none");
  if (req.pathStartsWith("/hold")) req.bufferBody();
  if (req.pathStartsWith("/deny")) req.respond(403, "no upgrade");
  if (req.pathStartsWith("/post")) req.method = "POST";
  if (req.pathStartsWith("/wait")) sleep(1);
}
export function onRequestBody(req: Request, body: Body): void {
  if (req.pathStartsWith("/hold/fill")) body.appendText("a body");
}
export function onResponse(req: Request, res: Response): void {
  res.headers.set("x-status", res.status.toString());
  if (req.pathStartsWith("/hold")) res.bufferBody();
  if (req.pathStartsWith("/refuse/status")) res.status = 403;
  if (req.pathStartsWith("/refuse/response")) res.respond(410, "gone");
  if (req.pathStartsWith("/wait")) sleep(1);
  if (req.pathStartsWith("/fail")) throw new Error("no");
  if (req.pathStartsWith("/gate")) new Fetch("cluster:gate" + req.path).timeout(60000).send();
}
export function onResponseBody(req: Request, res: Response, body: Body): void {
  body.appendText("!");
}
export function onResponseTrailers(req: Request, res: Response, trailers: Headers): void {}
export function onLog(req: Request, res: Response): void {
  req.log.set("seen", res.status.toString());
}
`;
let wasm: Uint8Array;

before(async () => {
  wasm = await compileSource(SOURCE);
});

const ask = (path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n`;
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nETag: x\r\n\r\n";

testInUsualMode("plugins-see-upgrades: request and 101 go through the chains, frames do not", async (t) => {
  const heads: string[] = [];
  const peers: Peer[] = [];
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      const head = await peer.head();
      heads.push(head);
      if (!/^upgrade:/im.test(head)) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      else {
        peers.push(peer.send(`${SWITCH}at once `));
        return;
      }
    }
  });
  const config = ({ web }: Record<string, number>) => `
log: { access: true }
plugins: { sees: { wasm: ./sees.wasm, allow: { fetch: ["cluster:gate"] } } }
listeners:
  web:
    address: 127.0.0.1:${web}
    routes: [{ chain: [sees, headers: { response: { set: { x-route: "yes" } } }], cluster: app }]
clusters: { app: ["127.0.0.1:${upstream.port}"], gate: [] }
`;
  const sluice = await startSluice(t, config, { files: { "sees.wasm": wasm } });

  for (const path of ["/plain", "/hold", "/wait"]) {
    const client = await connectTo(t, sluice.port);
    const head = await client.send(`${ask(path)}early `).head();
    assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/, path);
    assert.match(head, /^x-status: 101\r$/im, path);
    assert.match(head, /^x-route: yes\r$/im, path);
    assert.match(head, /^etag: x\r$/im, path);
    assert.match(heads.at(-1)!, /^x-asked: websocket\r$/im, path);
    await client.take("at once ");
    peers.at(-1)!.send("later");
    await client.take("later");
    await peers.at(-1)!.take("early ");
    client.end("bye");
    await peers.at(-1)!.take("bye");
    await client.waits(() => client.ended, "the end");
    assert.equal(client.text, "", "no body hook has seen it");
  }

  const responseTo = async (path: string) => {
    const client = await connectTo(t, sluice.port);
    const { status, body, headers } = await client.send(ask(path)).readResponse();
    // The connection can be used further.
    assert.equal((await client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").readResponse()).status, 200, path);
    client.socket.destroy();
    return [status, body.toString(), headers["x-status"]];
  };
  assert.deepEqual(await responseTo("/deny"), [403, "no upgrade", undefined]);
  assert.deepEqual(await responseTo("/refuse/status"), [403, "", "101"]);
  assert.deepEqual(await responseTo("/refuse/response"), [410, "gone!", undefined]);
  assert.deepEqual(await responseTo("/fail"), [500, "500 Internal Server Error\n!", undefined]);
  // A request that a plugin has changed is forwarded without its upgrade.
  for (const path of ["/hold/fill", "/post"]) {
    assert.deepEqual(await responseTo(path), [200, "ok!", "200"], path);
    const head = heads.find((one) => one.includes(` ${path} `))!;
    assert.doesNotMatch(head, /^upgrade:/im, path);
  }
  for (const peer of peers) await until(() => peer.ended, "the endpoint sees the end");
  const tunnels = () => sluice.accessLines.filter(({ status }) => status === 101);
  await until(() => tunnels().length === 3, "the lines of the tunnels");
  for (const line of tunnels()) assert.equal(line.seen, "101");
});

/** Responds when `open` is called; a request for each suspended plugin. */
async function startGate(t: LiveTest) {
  const waiting = new Map<string, () => void>();
  const { port } = await startUpstream(t, ({ url }, response) => {
    waiting.set(url!, () => response.end("go"));
    response.on("close", () => waiting.delete(url!));
  });
  const isWaiting = (path: string) => waiting.has(path);
  const open = async (path: string): Promise<void> => {
    await until(() => isWaiting(path), `${path} is suspended`);
    waiting.get(path)!();
  };
  return { port, isWaiting, open };
}

testInUsualMode("plugins-see-upgrades: while a 101 waits for a plugin, each side may send and end", async (t) => {
  const peers = new Map<string, Peer>();
  const upstream = await startRawUpstream(t, async (peer) => {
    const path = (await peer.head()).split(" ")[1]!;
    peers.set(path, peer.send(SWITCH));
  });
  const gate = await startGate(t);
  const config =
    (endpoint: string) =>
    ({ web }: Record<string, number>) =>
      `
log: { access: true }
shutdown: { grace: 3s }
plugins: { sees: { wasm: ./sees.wasm, allow: { fetch: ["cluster:gate"] } } }
listeners:
  web:
    address: 127.0.0.1:${web}
    routes:
      - { match: { path: /gate/late }, chain: [sees], timeout: 300ms, cluster: app }
      - { chain: [sees], cluster: app }
clusters: { app: ["${endpoint}"], gate: ["127.0.0.1:${gate.port}"] }
`;
  const address = `127.0.0.1:${upstream.port}`;
  const sluice = await startSluice(t, config(address), { files: { "sees.wasm": wasm } });
  const begin = async (path: string): Promise<{ client: Peer; endpoint: Peer }> => {
    const client = (await connectTo(t, sluice.port)).send(ask(path));
    await until(() => gate.isWaiting(path) || path === "/gate/late", `${path} is suspended`);
    return { client, endpoint: peers.get(path)! };
  };
  const line = (path: string) => sluice.logged((one) => one.path === path, `the line of ${path}`);
  const big = Buffer.alloc(512 * 1024, "abcdefgh");

  // Without `halfClose` the end of a client ends what is not a tunnel yet.
  const ended = await begin("/gate/end");
  ended.endpoint.send(big).end();
  ended.client.send("early").end();
  assert.equal((await line("/gate/end")).status, 499);
  await until(() => !gate.isWaiting("/gate/end"), "the plugin's call is cancelled");

  const both = await begin("/gate/both");
  both.client.send(big);
  both.endpoint.send(big).end();
  await gate.open("/gate/both");
  assert.match(await both.client.head(), /^HTTP\/1\.1 101 /);
  await both.client.waits(() => both.client.bytes.length === big.length && both.client.ended, "the bytes, and the end");
  assert.ok(both.client.bytes.equals(big));
  await both.endpoint.waits(() => both.endpoint.bytes.length === big.length, "the bytes of the client");
  both.client.end();
  await both.endpoint.waits(() => both.endpoint.ended, "the end");

  const reset = await begin("/gate/reset");
  reset.endpoint.reset();
  await gate.open("/gate/reset");
  const head = await reset.client.head();
  // Reading pauses, so the reset may be seen before or behind the 101.
  assert.match(head, /^HTTP\/1\.1 (101|502) /);
  await reset.client.waits(() => reset.client.ended || head.includes(" 502 "), "the end");

  const gone = await begin("/gate/gone");
  gone.client.reset();
  await gone.endpoint.waits(() => gone.endpoint.ended, "the endpoint sees the end");
  await until(() => !gate.isWaiting("/gate/gone"), "the plugin's call is cancelled");
  assert.equal((await line("/gate/gone")).status, 499);

  const late = await begin("/gate/late");
  assert.equal((await late.client.readResponse()).status, 504);
  await until(() => peers.get("/gate/late")!.ended, "the endpoint sees the end");
  assert.equal((await line("/gate/late")).status, 504);

  // Its endpoint is removed: the tunnel is opened, and drained as those that are open.
  const removed = await begin("/gate/removed");
  sluice.config(config("127.0.0.1:1")(sluice.ports));
  assert.equal((await sluice.reload()).status, 200);
  await gate.open("/gate/removed");
  await removed.client.take("HTTP/1.1 101");
  await removed.client.take("\x88\x02\x03\xe9");
  sluice.config(config(address)(sluice.ports));
  assert.equal((await sluice.reload()).status, 200);

  const last = await begin("/gate/last");
  sluice.kill("SIGTERM");
  await until(async () => (await sluice.ask("/ready")).status === 503, "the drain");
  await gate.open("/gate/last");
  await last.client.take("HTTP/1.1 101");
  await last.client.take("\x88\x02\x03\xe9");
  assert.deepEqual(await sluice.exited, { code: 0, signal: null });
});
