/** Tunnels continue through reloads, and end in order when what they use is removed or the proxy ends. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { WebSocket } from "ws";
import { DnsServer } from "../support/dns-server.ts";
import { connectTo, type Peer, startRawUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type Program,
  simpleConfig,
  startSluice,
  testInAllModes,
  testInUsualMode,
  times,
  until,
} from "./program.ts";
import { ask, closed, open, startEcho } from "./websockets.ts";

type EndpointStatus = { address: string; inFlight: number };

/** Requests in flight of each endpoint, by address. */
async function inFlight(sluice: Program): Promise<Record<string, number>> {
  const clusters = JSON.parse((await sluice.ask("/api/v1/clusters")).text) as { endpoints: EndpointStatus[] }[];
  return Object.fromEntries(clusters.flatMap(({ endpoints }) => endpoints.map((one) => [one.address, one.inFlight])));
}

/** Changes of a configuration that keep tunnels: the route, the cluster's settings, the listener's name. */
const variants = [
  "",
  "timeouts: { tunnel: 20m }",
  "strategy: random",
  "pool: { connections: 1000 }",
  "health: { passive: false }",
];

testInAllModes("tunnels-outlive-reloads: reloads while messages pass lose none of them", async (t) => {
  const echo = await startEcho(t);
  const workers = t.accept === "transfer" ? 2 : 1;
  const sluice = await startSluice(t, simpleConfig(echo.port, { rest: "log: { access: true }" }), { workers });
  const sockets = [await open(t, sluice.port, "/a"), await open(t, sluice.port, "/b")];
  const guests = await sluice.metric("sluice_plugin_guests");
  let asked = 0;
  const rounds = times(t, 40);
  const stop = new AbortController();
  const talk = async (socket: WebSocket) => {
    for (let count = 0; !stop.signal.aborted; count++, asked++)
      assert.equal(await ask(socket, `message ${count}`), `message ${count}`);
  };
  const talks = sockets.map((socket) => talk(socket).catch((error: unknown) => error));
  for (let turn = 1; turn <= rounds; turn++) {
    const name = turn % 3 === 0 ? "other" : "web";
    const config = simpleConfig(echo.port, {
      rest: "log: { access: true }",
      cluster: variants[turn % variants.length]!,
    });
    sluice.config(config(sluice.ports).replace("  web:", `  ${name}:`));
    const before = asked;
    assert.equal((await sluice.reload()).status, 200, sluice.output);
    await until(() => asked > before, "messages pass");
    await sluice.metricIs(2, "sluice_tunnels_active", { listener: name });
    await sluice.metricIs(2, "sluice_tunnels_active");
  }
  stop.abort();
  for (const talk of talks) assert.equal(await talk, undefined);
  assert.deepEqual(await inFlight(sluice), { [`127.0.0.1:${echo.port}`]: 2 });
  await sluice.metricIs(guests, "sluice_plugin_guests");
  for (const socket of sockets) {
    const end = closed(socket);
    socket.close(1000);
    await end;
  }
  await until(async () => (await inFlight(sluice))[`127.0.0.1:${echo.port}`] === 0, "none is in flight");
  await until(() => sluice.accessLines.length === 2, "both lines");
  for (const { version, status } of sluice.accessLines) assert.deepEqual([version, status], [1, 101]);
});

const ASK = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ";
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: ";
const GOING_AWAY = "\x88\x02\x03\xe9";

/** An endpoint that confirms every upgrade, and ends its direction with the client's unless it is `stubborn`. */
const startSwitching = (t: Parameters<typeof startRawUpstream>[0], stubborn = true) =>
  startRawUpstream(t, async (peer) => {
    peer.socket.allowHalfOpen = stubborn;
    const head = await peer.head();
    peer.send(`${SWITCH}${/upgrade: (.*)/i.exec(head)![1]}\r\n\r\n`);
  });

async function openRaw(t: Parameters<typeof connectTo>[0], port: number, protocol = "websocket") {
  const client = await connectTo(t, port);
  client.socket.allowHalfOpen = true;
  assert.match(await client.send(`${ASK}${protocol}\r\n\r\n`).head(), /^HTTP\/1\.1 101 /);
  return client;
}

testInUsualMode(
  "tunnels-outlive-reloads: tunnels of a removed endpoint are closed, and its slot is not reused",
  async (t) => {
    const [old, next] = [await startSwitching(t), await startSwitching(t, false)];
    const sluice = await startSluice(t, simpleConfig([old.port, next.port], { cluster: "strategy: random" }));
    let client = await openRaw(t, sluice.port);
    // The endpoint is picked at random: one tunnel must be to the raw one.
    for (; old.peers.length === 0; client = await openRaw(t, sluice.port)) client.socket.destroy();
    const [endpoint] = old.peers;
    client.send("\x82\x80mask");
    await endpoint!.take("mask");
    // Within a frame the Close frame is sent after it.
    endpoint!.send("\x82\x0bfirst ");
    await client.take("first ");
    const others = [1, 2, 3, 4].map((last) => `"127.0.0.${last + 1}:1"`).join(", ");
    sluice.config(simpleConfig(next.port)(sluice.ports).replace("endpoints: [", `endpoints: [${others}, `));
    assert.equal((await sluice.reload()).status, 200, sluice.output);
    endpoint!.send("part.\x82\x04lost");
    await client.take(`part.${GOING_AWAY}`);
    for (const others of ["127.0.0.6:1", "127.0.0.7:1", "127.0.0.8:1"]) {
      sluice.config(simpleConfig(next.port)(sluice.ports).replace("endpoints: [", `endpoints: ["${others}", `));
      assert.equal((await sluice.reload()).status, 200, sluice.output);
    }
    await sluice.metricIs(1, "sluice_tunnels_active");
    client.send("\x88\x82mask__");
    await endpoint!.take("\x88\x82mask__");
    endpoint!.end("\x88\x00");
    await client.waits(() => client.ended, "the end");
    assert.equal(client.text, "", "nothing follows a Close");
    client.end();
    await sluice.metricIs(0, "sluice_tunnels_active");
    await sluice.metricIs(1, "sluice_tunnels_ended_total", { reason: "drained" });
    const counts = await inFlight(sluice);
    assert.deepEqual(Object.values(counts), [0, 0], JSON.stringify(counts));
  },
);

testInUsualMode("tunnels-outlive-reloads: a tunnel to an address that DNS has dropped continues", async (t) => {
  const [dns, echo] = [await new DnsServer().start(), await startEcho(t)];
  atEnd(t, () => dns.close());
  dns.zone.addresses.set("app.test", ["127.0.0.1"]);
  const config = ({ web }: Record<string, number>, more = "") => `
resolver: { servers: ["${dns.address}"], timeout: 200ms, minTtl: 100ms }
listeners: { web: { address: "127.0.0.1:${web}", cluster: app } }
clusters: { app: { endpoints: ["app.test:${echo.port}"]${more} } }
`;
  const sluice = await startSluice(t, config);
  const socket = await open(t, sluice.port);
  dns.zone.addresses.set("app.test", ["127.0.0.2"]);
  await until(async () => `127.0.0.2:${echo.port}` in (await inFlight(sluice)), "the new address");
  sluice.config(config(sluice.ports, ", strategy: random"));
  assert.equal((await sluice.reload()).status, 200, sluice.output);
  assert.equal(await ask(socket, "still here"), "still here");
  dns.zone.addresses.set("app.test", ["127.0.0.3", "127.0.0.4"]);
  await until(async () => `127.0.0.3:${echo.port}` in (await inFlight(sluice)), "other addresses");
  const end = closed(socket);
  socket.close(1000);
  await end;
  await sluice.metricIs(0, "sluice_tunnels_active");
  assert.deepEqual(Object.values(await inFlight(sluice)), [0, 0]);
});

testInUsualMode("tunnels-outlive-reloads: a removed listener's WebSockets get a Close with 1001", async (t) => {
  const echo = await startEcho(t);
  const two = (ports: Record<string, number>) => `
listeners:
  web: { address: 127.0.0.1:${ports.web}, cluster: app }
  gone: { address: 127.0.0.1:${ports.gone}, cluster: app }
clusters: { app: ["127.0.0.1:${echo.port}"] }
`;
  const sluice = await startSluice(t, two, { ports: ["gone"] });
  const [kept, gone] = [await open(t, sluice.port), await open(t, sluice.ports.gone!)];
  const end = closed(gone);
  sluice.config(two(sluice.ports).replace(/^ {2}gone.*\n/m, ""));
  assert.equal((await sluice.reload()).status, 200, sluice.output);
  assert.deepEqual(await end, [1001, ""]);
  assert.equal(await ask(kept, "hello"), "hello");
  await until(() => echo.closes.length === 1, "the server's end");
  assert.deepEqual(echo.closes, [[1001, ""]]);
});

testInAllModes(
  "tunnels-outlive-reloads: on SIGTERM WebSockets get a Close with 1001, and the program ends with them",
  async (t) => {
    const echo = await startEcho(t);
    const rest = "shutdown: { grace: 1h }\nlog: { access: true }";
    const sluice = await startSluice(t, simpleConfig(echo.port, { rest }));
    const sockets = [await open(t, sluice.port), await open(t, sluice.port)];
    const ends = sockets.map(closed);
    sluice.kill("SIGTERM");
    assert.deepEqual(await Promise.all(ends), [
      [1001, ""],
      [1001, ""],
    ]);
    assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
    assert.deepEqual(echo.closes, [
      [1001, ""],
      [1001, ""],
    ]);
    assert.deepEqual(
      sluice.accessLines.map(({ status, outcome }) => [status, outcome]),
      [
        [101, "drained"],
        [101, "drained"],
      ],
    );
  },
);

testInUsualMode(
  "tunnels-outlive-reloads: tunnels that are still open at the end of the grace period are closed",
  async (t) => {
    const upstream = await startSwitching(t);
    const rest = "shutdown: { grace: 1s }\nlog: { access: true }";
    const sluice = await startSluice(t, simpleConfig(upstream.port, { rest, route: "upgrade: [websocket, raw]" }));
    const silent = await openRaw(t, sluice.port);
    const raw = await openRaw(t, sluice.port, "raw");
    const [silentEndpoint, rawEndpoint] = upstream.peers;
    sluice.kill("SIGTERM");
    await silent.take(GOING_AWAY);
    raw.send("goes on");
    await rawEndpoint!.take("goes on");
    assert.equal(await bounded(raw.closed, "the raw client's end"), "reset");
    assert.equal(await bounded(rawEndpoint!.closed, "the raw endpoint's end"), "reset");
    await silent.waits(() => silent.ended, "the silent client's end");
    await silentEndpoint!.waits(() => silentEndpoint!.ended, "the silent endpoint's end");
    assert.match(silentEndpoint!.text, /^\x88\x82.{6}$/s, "the endpoint has a Close too");
    assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
    assert.deepEqual(
      sluice.accessLines.map(({ outcome }) => outcome),
      ["drained", "drained"],
    );
  },
);

testInUsualMode("tunnels-outlive-reloads: the configuration of docs/upgrades.md behaves as documented", async (t) => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/upgrades.md"), "utf8");
  const [, yaml] = /^```yaml\n(.*?)^```$/ms.exec(page)!;
  const [live, app] = [await startSwitching(t, false), await startEcho(t)];
  const ports: Record<string, number> = { 9001: live.port, 9003: app.port };
  const config = yaml!
    .replace(", 127.0.0.1:9002", "")
    .replace(/127\.0\.0\.1:(900\d)/g, (_, port) => `127.0.0.1:${ports[port]}`);
  const sluice = await startSluice(t, ({ web }) => config.replace("127.0.0.1:8080", `127.0.0.1:${web}`));
  const connect = async (path: string, protocol: string) => {
    const client = await connectTo(t, sluice.port);
    const head = await client.send(`${ASK.replace("/ws", path)}${protocol}\r\n\r\n`).head();
    return [head.slice(9, 12), /upgrade: (.*)\r/i.exec(head)?.[1]];
  };
  assert.deepEqual(await connect("/live/1", "websocket"), ["101", "websocket"]);
  assert.deepEqual(await connect("/feed/1", "X-Feed/1"), ["101", "x-feed/1"]);
  assert.equal((await connect("/", "websocket"))[0], "426", "ws refuses a request without Upgrade");
});

testInUsualMode("tunnels-outlive-reloads: ends of every kind in any order leave nothing behind", async (t) => {
  const upstream = await startRawUpstream(t, async (peer, index) => {
    peer.socket.allowHalfOpen = index % 2 === 0;
    await peer.head();
    // Some send with the 101, some never read, some end at once.
    peer.send(`${SWITCH}websocket\r\n\r\n${"\x82\x05hello".repeat(index % 5)}`);
    if (index % 7 === 0) peer.socket.pause();
    if (index % 11 === 0) peer.end("\x88\x00");
    if (index % 13 === 0) peer.reset();
  });
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "log: { access: true }" }));
  const bytes = Buffer.alloc(300_000, 7);
  const clients: Peer[] = [];
  for (let index = 0; index < 90; index++) {
    const client = await connectTo(t, sluice.port);
    clients.push(client);
    client.socket.allowHalfOpen = index % 3 === 0;
    client.send(`${ASK}websocket\r\n\r\n${index % 4 === 0 ? "early" : ""}`);
    await upstream.connection(index);
    if (index % 17 === 0) client.reset();
    if (index % 6 === 0) client.send(bytes);
    if (index % 8 === 0) client.end("last");
    if (index % 9 === 0) upstream.peers[index - 4]?.reset();
    if (index % 10 === 0) upstream.peers[index]!.send(bytes).end();
    if (index % 12 === 0) clients[index - 5]?.reset();
    if (index % 30 === 29) {
      sluice.config(simpleConfig(upstream.port, { cluster: `timeouts: { tunnel: ${index}s }` })(sluice.ports));
      assert.equal((await sluice.reload()).status, 200, sluice.output);
    }
  }
  for (const [index, client] of clients.entries()) {
    if (index % 2 === 0) client.reset();
    else client.socket.destroy();
  }
  for (const peer of upstream.peers) peer.socket.destroy();
  await sluice.metricIs(0, "sluice_connections_active");
  await sluice.metricIs(0, "sluice_tunnels_active");
  assert.deepEqual(Object.values(await inFlight(sluice)), [0]);
  await sluice.metricIs(0, "sluice_internal_errors_total");
  const opened = await sluice.metric("sluice_requests_total", { status: "101" });
  await sluice.metricIs(opened, "sluice_tunnels_ended_total");
  await sluice.metricIs(0, "sluice_requests_in_flight");
});
