/**
 * connection-filters-suspend: a plugin may ask a service whether to admit a client. Until it has decided, no
 * request of the connection is parsed, and a client that disconnects cancels the call.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { connectTo, type Peer, startUpstream, type Upstream } from "./peers.ts";
import {
  bounded,
  type LiveTest,
  type Program,
  startSluice,
  testInAllModes,
  testInEachMode,
  testInUsualMode,
  times,
  until,
} from "./program.ts";

const SOURCE = `import { cluster, Connection, Fetch } from "sluice/sdk";
const canary = cluster("canary");
export function onConnection(connection: Connection): void {
  const response = new Fetch("cluster:gate/" + connection.clientAddress).timeout(3600000).send();
  if (response.status == 403) connection.deny();
  else if (!response.ok) throw new Error("the gate is broken");
  else if (response.text() == "canary") connection.choose(canary);
}`;
let wasm: Uint8Array;

before(async () => {
  wasm = await compileSource(SOURCE);
});

/** A subrequest to the authorization service; the test sends the response. */
type Asked = { readonly address: string; say(status: number, text?: string): void; readonly gone: Promise<unknown> };
type Gate = { readonly port: number; readonly asked: Asked[]; next(): Promise<Asked> };

async function startGate(t: LiveTest): Promise<Gate> {
  const asked: Asked[] = [];
  const { port } = await startUpstream(t, ({ url }, response) => {
    const say = (status: number, text = "") => void response.writeHead(status).end(text);
    asked.push({ address: url.slice(1), say, gone: once(response, "close") });
  });
  let taken = 0;
  const next = async (): Promise<Asked> => {
    await until(() => asked.length > taken, "the gate is asked");
    return asked[taken++]!;
  };
  return { port, asked, next };
}

type Setup = { app: Upstream; canary?: Upstream; gate: Gate; limits?: string; listener?: string; more?: string };

function configOf({ app, canary = app, gate, limits = "time: 1h", listener = "", more = "" }: Setup) {
  return (ports: Program["ports"]) => `${more}
plugins: { asks: { wasm: ./asks.wasm, limits: { ${limits} }, allow: { fetch: ["cluster:gate"], clusters: [canary] } } }
listeners:
  web: { address: "127.0.0.1:${ports.web}", chain: [asks], cluster: app, ${listener} }
clusters:
  app: [127.0.0.1:${app.port}]
  canary: [127.0.0.1:${canary.port}]
  gate: [127.0.0.1:${gate.port}]
`;
}

function start(t: LiveTest, setup: Setup): Promise<Program> {
  return startSluice(t, configOf(setup), { files: { "asks.wasm": wasm } });
}

const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const denied = (sluice: Program): Promise<number> => sluice.metric("sluice_connections_denied_total");
const active = (sluice: Program): Promise<number> => sluice.metric("sluice_connections_active");
const guests = (sluice: Program): Promise<number> => sluice.metric("sluice_plugin_guests");
const received = (sluice: Program): Promise<number> => sluice.metric("sluice_bytes_received_total");

testInAllModes(
  "a suspended filter admits, denies or selects a cluster on its response; other connections are not delayed",
  async (t) => {
    const [app, canary] = [await startUpstream(t), await startUpstream(t)];
    const gate = await startGate(t);
    const sluice = await start(t, { app, canary, gate });
    const entered = await Promise.all(
      ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map((at) => connectTo(t, sluice.port, { localAddress: at })),
    );
    for (const client of entered) client.send(GET + GET);
    await until(() => gate.asked.length === 3, "all three are asked about");
    assert.deepEqual(app.requests.length + canary.requests.length, 0);
    for (const { address, say } of gate.asked)
      say(address === "127.0.0.3" ? 403 : 200, address === "127.0.0.4" ? "canary" : "");
    const [first, second, third] = entered as [Peer, Peer, Peer];
    for (const client of [first, third])
      for (let i = 0; i < 2; i++) assert.equal((await client.readResponse()).status, 200);
    assert.equal(await bounded(second.closed, "its end"), "reset");
    assert.equal(second.text, "");
    assert.deepEqual([app.requests.length, canary.requests.length, await denied(sluice)], [2, 2, 1]);
    await sluice.metricIs(0, "sluice_plugin_failures_total");
  },
);

testInEachMode("bytes sent meanwhile are buffered up to a limit, and parsed after admission", async (t) => {
  const app = await startUpstream(t, (request, response) => response.end(request.body));
  const gate = await startGate(t);
  const sluice = await start(t, { app, gate, listener: "timeouts: { head: 300ms }" });
  const body = "0123456789abcdef".repeat(256 * 1024);
  const large = await connectTo(t, sluice.port);
  large.send(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  const largeAsked = await gate.next();
  await until(async () => (await received(sluice)) >= 64 * 1024, "as much as may is kept");
  const bad = await connectTo(t, sluice.port);
  bad.send("what?\r\n\r\n");
  const badAsked = await gate.next();
  const slow = await connectTo(t, sluice.port);
  const slowAsked = await gate.next();
  // The head timeout passes long before a connection is admitted.
  const began = performance.now();
  await until(() => performance.now() - began > 1000, "time has passed");
  assert.ok((await received(sluice)) <= 128 * 1024 + 9, "no more than that is read");
  assert.deepEqual([bad.text, large.text, app.requests.length], ["", "", 0]);
  largeAsked.say(200);
  assert.equal((await large.readResponse()).body.toString(), body);
  badAsked.say(200);
  assert.equal((await bad.readResponse()).status, 400);
  slowAsked.say(200);
  assert.equal((await slow.send(GET).readResponse()).status, 200);
  assert.equal((await slow.send("GET / HT").readResponse()).status, 408);
});

testInAllModes("a client that disconnects cancels the call: neither a guest nor a subrequest remains", async (t) => {
  const app = await startUpstream(t);
  const gate = await startGate(t);
  const sluice = await start(t, { app, gate, limits: "time: 1h, guests: 50" });
  // On each worker one for the plugin and one for each cluster's strategy. The sum is valid after both have reported.
  const before = t.accept === "transfer" ? 8 : 4;
  await until(async () => (await guests(sluice)) === before, "each worker has reported its guest");
  const count = times(t, 1000);
  for (let done = 0; done < count; done += 50) {
    const clients = await Promise.all(Array.from({ length: 50 }, () => connectTo(t, sluice.port)));
    await until(() => gate.asked.length === done + 50, "all of them are asked about");
    for (const [i, client] of clients.entries()) {
      if (i % 3 === 0) client.end();
      else if (i % 3 === 1) client.send(GET).reset();
      else client.send(GET).end();
    }
    for (const { gone } of gate.asked.slice(done)) await bounded(gone, "the question's end");
    await until(async () => (await active(sluice)) === 0, "they are gone");
  }
  await until(async () => (await guests(sluice)) === before, "no guest is left");
  assert.deepEqual([await denied(sluice), await sluice.metric("sluice_plugin_failures_total")], [0, 0]);
  const client = await connectTo(t, sluice.port);
  client.send(GET);
  await until(() => gate.asked.length === count + 50 - (count % 50 || 50) + 1, "the gate is asked");
  gate.asked.at(-1)!.say(200);
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(app.requests.length, 1);
});

testInEachMode("a half-closed client gets its response where the listener has halfClose", async (t) => {
  const app = await startUpstream(t);
  const gate = await startGate(t);
  const sluice = await start(t, { app, gate, listener: "halfClose: true" });
  const whole = await connectTo(t, sluice.port);
  whole.send(GET).end();
  const asked = await gate.next();
  const partial = await connectTo(t, sluice.port);
  partial.send("GET / HT").end();
  const askedPartial = await gate.next();
  const empty = await connectTo(t, sluice.port);
  const askedEmpty = await gate.next();
  empty.end();
  await bounded(askedEmpty.gone, "the question's end");
  asked.say(200);
  assert.equal((await whole.readResponse()).status, 200);
  await bounded(whole.closed, "the end of the connection");
  askedPartial.say(200);
  await bounded(partial.closed, "the end of the connection");
  assert.deepEqual([partial.text, app.requests.length], ["", 1]);
});

testInUsualMode("a timeout, a failing authorization service and a full queue close the connection", async (t) => {
  const app = await startUpstream(t);
  const gate = await startGate(t);
  let sluice = await start(t, { app, gate, limits: "time: 200ms" });
  const late = await connectTo(t, sluice.port);
  assert.equal(await bounded(late.send(GET).closed, "its end"), "reset");
  await sluice.metricIs(1, "sluice_plugin_failures_total", { reason: "timeout" });
  await bounded((await gate.next()).gone, "the question's end");
  const broken = await connectTo(t, sluice.port);
  (await gate.next()).say(500);
  assert.equal(await bounded(broken.closed, "its end"), "reset");
  assert.deepEqual([await denied(sluice), app.requests.length], [2, 0]);

  sluice = await start(t, { app, gate, limits: "time: 1h, guests: 1" });
  const clients = await Promise.all(Array.from({ length: 10 }, () => connectTo(t, sluice.port)));
  await until(async () => (await denied(sluice)) === 1, "one finds the line full");
  await until(() => clients.some((client) => client.ended), "it is closed");
  for (let i = 0; i < 9; i++) (await gate.next()).say(200);
  const responses = clients.map((client) => (client.ended ? null : client.send(GET).readResponse()));
  for (const response of responses) if (response !== null) assert.equal((await response).status, 200);
  assert.equal(responses.filter((response) => response !== null).length, 9);
  assert.equal(await denied(sluice), 1);
});

testInUsualMode(
  "a reload does not disturb suspended connections: the pending decision counts, and the new version serves",
  async (t) => {
    const [app, canary] = [await startUpstream(t), await startUpstream(t)];
    const gate = await startGate(t);
    const sluice = await start(t, { app, canary, gate });
    const waits = await connectTo(t, sluice.port);
    waits.send(GET);
    const asked = await gate.next();
    sluice.config(configOf({ app, canary: app, gate, limits: "time: 59m" })(sluice.ports));
    assert.equal((await sluice.reload()).status, 200);
    const next = await connectTo(t, sluice.port);
    (await gate.next()).say(403);
    assert.equal(await bounded(next.closed, "its end"), "reset");
    await until(async () => (await active(sluice)) === 1, "its connection is counted no more");
    const both = 7; // the plugin's two of each version, and one for the strategy of each cluster
    await until(async () => (await guests(sluice)) === both, "both versions are in use");
    asked.say(200, "canary");
    assert.equal((await waits.readResponse()).status, 200);
    assert.deepEqual([app.requests.length, canary.requests.length], [1, 0], "by name, in the version that serves");
    await sluice.metricIs(1, "sluice_requests_total", { cluster: "canary" });
    await until(async () => (await guests(sluice)) === both - 2, "the old version's guests are gone");
    await sluice.metricIs(0, "sluice_plugin_failures_total");
  },
);

testInUsualMode(
  "connections suspended when the listener is removed or the program ends get one response within the grace",
  async (t) => {
    const app = await startUpstream(t);
    const gate = await startGate(t);
    const sluice = await start(t, { app, gate, more: "shutdown: { grace: 2s }" });
    const first = await connectTo(t, sluice.port);
    first.send(GET);
    const firstAsked = await gate.next();
    const silent = await connectTo(t, sluice.port);
    const silentAsked = await gate.next();
    const before = sluice.configText;
    sluice.config(before.replace("web:", "other:").replace(`:${sluice.port}`, ":0"));
    assert.equal((await sluice.reload()).status, 200);
    firstAsked.say(200);
    const response = await first.readResponse();
    assert.deepEqual([response.status, response.headers.connection], [200, "close"]);
    silentAsked.say(200);
    assert.equal(await bounded(silent.closed, "its end"), "end");

    sluice.config(before);
    assert.equal((await sluice.reload()).status, 200);
    const last = await connectTo(t, sluice.port);
    last.send(GET);
    const lastAsked = await gate.next();
    const stuck = await connectTo(t, sluice.port);
    const stuckAsked = await gate.next();
    sluice.kill("SIGTERM");
    await until(async () => (await sluice.ask("/ready")).status === 503, "it drains");
    lastAsked.say(200);
    assert.equal((await last.readResponse()).headers.connection, "close");
    await bounded(stuckAsked.gone, "the question's end");
    assert.equal(await bounded(stuck.closed, "its end"), "reset");
    assert.deepEqual(await bounded(sluice.exited, "the end of the program"), { code: 0, signal: null });
    assert.doesNotMatch(sluice.output, /"level":"(warn|error)"|an exception/);
  },
);
