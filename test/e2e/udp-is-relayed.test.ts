/** `protocol: udp`: datagrams reach endpoints and their responses the client; sessions are balanced, limited, and end. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { compileSource } from "../contract/plugin-harness.ts";
import { DnsServer } from "../support/dns-server.ts";
import { findFreePort } from "./free-port.ts";
import { connectTo, startRawUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type LiveTest,
  runSluice,
  startSluice,
  testInAllModes,
  testInUsualMode,
  until,
} from "./program.ts";

type Datagram = { readonly text: string; readonly from: RemoteInfo };

/** A socket with its received datagrams. */
class Peer {
  readonly socket: Socket;
  readonly port: number;
  readonly received: Datagram[] = [];
  #waiting: (() => void) | null = null;

  constructor(socket: Socket, onDatagram: (datagram: Datagram) => void = () => {}) {
    this.socket = socket;
    this.port = socket.address().port;
    socket.on("message", (bytes, from) => {
      const datagram = { text: bytes.toString("latin1"), from };
      this.received.push(datagram);
      onDatagram(datagram);
      this.#waiting?.();
    });
  }

  send(text: string, to: number): void {
    this.socket.send(Buffer.from(text, "latin1"), to, "127.0.0.1");
  }

  /** The text of the datagram with that index. */
  async get(index: number): Promise<string> {
    const arrived = new Promise<void>((resolve) => {
      this.#waiting = () => this.received.length > index && resolve();
      this.#waiting();
    });
    await bounded(arrived, `datagram ${index}`);
    return this.received[index]!.text;
  }
}

async function openPeer(t: LiveTest, onDatagram?: (peer: Peer, datagram: Datagram) => void): Promise<Peer> {
  const socket = createSocket("udp4");
  atEnd(t, () => socket.close());
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const peer = new Peer(socket, (datagram) => onDatagram?.(peer, datagram));
  return peer;
}

const DENIES = `import { Connection } from "sluice/sdk";
export function onConnection(connection: Connection): void { connection.deny(); }`;

/** Whether no socket is bound to the port. */
async function isFree(port: number): Promise<boolean> {
  const socket = createSocket("udp4");
  const bound = once(socket, "listening").then(
    () => true,
    () => false,
  );
  socket.bind(port, "127.0.0.1");
  const result = await bound;
  socket.close();
  return result;
}

/** A server that sends back its name and what it got. */
function startEcho(t: LiveTest, name: string): Promise<Peer> {
  return openPeer(t, (peer, { text, from }) => peer.send(`${name} ${text}`, from.port));
}

testInAllModes("udp-is-relayed: a resolver uses a DNS server by UDP and TCP at one port", async (t) => {
  const server = await new DnsServer().start();
  atEnd(t, () => server.close());
  const many = Array.from({ length: 60 }, (_, i) => `192.0.2.${i + 1}`);
  server.zone.addresses.set("short.test", ["192.0.2.1"]).set("long.test", many);
  const unused = await findFreePort();
  const sluice = await startSluice(
    t,
    ({ web }) => `
log: { access: { fields: [default, protocol] } }
listeners:
  dns: { address: "127.0.0.1:${web}", protocol: udp, cluster: dns, udp: { responses: 1 } }
  long: { address: "127.0.0.1:${web}", protocol: tcp, cluster: dns }
clusters:
  dns: ["127.0.0.1:${unused}", "${server.address}"]
`,
  );
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${sluice.port}`]);
  // Half of the sessions begin with the endpoint where nothing listens, and continue with the other one.
  for (let i = 0; i < 4; i++) assert.deepEqual(await resolver.resolve4("short.test"), ["192.0.2.1"]);
  await sluice.metricIs(4, "sluice_tunnels_ended_total", { listener: "dns", reason: "complete" });
  assert.ok((await sluice.metric("sluice_upstream_failures_total", { reason: "connect_refused" })) >= 1);
  // Truncated by UDP, and asked again by TCP.
  assert.deepEqual((await resolver.resolve4("long.test")).toSorted(), many.toSorted());
  const line = await sluice.logged(({ listener, outcome }) => listener === "dns" && outcome !== undefined, "a session");
  assert.deepEqual([line.status, line.outcome, line.client], [0, "complete", "127.0.0.1"]);
  assert.equal(line.protocol, "UDP");
  assert.equal(
    (await sluice.logged(({ listener, outcome }) => listener === "long" && !!outcome, "TCP")).protocol,
    "TCP",
  );
  assert.ok(Number(line.bytes_received) > 20 && Number(line.bytes_sent) > 20);
});

testInUsualMode("udp-is-relayed: sessions keep their endpoint, survive a reload, and end by time", async (t) => {
  const endpoints = [await startEcho(t, "one"), await startEcho(t, "two")];
  const config =
    (last: string, udp = "") =>
    ({ web }: { readonly web: number }): string =>
      `
listeners:
  game:
    address: 127.0.0.1:${web}
    protocol: udp
    ${udp}
    timeouts: { idle: 3s }
    routes:
      - { match: { client: 10.0.0.0/8 }, cluster: none }
      - { cluster: game, name: ${last} }
clusters:
  game: [${endpoints.map(({ port }) => `"127.0.0.1:${port}"`).join(", ")}]
  none: ["127.0.0.1:1"]
`;
  const sluice = await startSluice(t, config("before"));
  const clients = [await openPeer(t), await openPeer(t)];
  for (const client of clients) client.send("a", sluice.port);
  const names = await Promise.all(clients.map(async (client) => (await client.get(0)).split(" ")[0]));
  assert.deepEqual(names.toSorted(), ["one", "two"]);
  sluice.config(config("after")(sluice.ports));
  assert.equal((await sluice.reload()).status, 200);
  for (const [i, client] of clients.entries()) {
    client.send("b", sluice.port);
    assert.equal(await client.get(1), `${names[i]} b`);
  }
  // Recognised by connection ID, the address has another socket: no datagram is lost, and the sessions continue.
  let sent = 0;
  const send = (): void => {
    for (const client of clients) client.send(`c${sent}`, sluice.port);
    sent++;
  };
  const timer = setInterval(send, 2);
  atEnd(t, () => clearInterval(timer));
  sluice.config(config("after", "udp: { quic: true }")(sluice.ports));
  assert.equal((await sluice.reload()).status, 200);
  await until(() => sent > 100, "datagrams were sent");
  clearInterval(timer);
  for (const [i, client] of clients.entries())
    for (let n = 0; n < sent; n++) assert.equal(await client.get(2 + n), `${names[i]} c${n}`);
  assert.deepEqual(
    endpoints.map(({ received }) => new Set(received.map(({ from }) => from.port)).size),
    [1, 1],
  );
  const { text } = await sluice.ask("/api/v1/tunnels");
  assert.match(text, /"protocol": ?"udp"/);
  assert.equal(await sluice.metric("sluice_connections_active", { listener: "game" }), 2);
  await sluice.metricIs(2, "sluice_tunnels_ended_total", { reason: "idle_timeout" });
  await sluice.metricIs(0, "sluice_connections_active", { listener: "game" });
});

testInUsualMode("udp-is-relayed: limits, lists of addresses, plugins and routes refuse sessions", async (t) => {
  const echo = await startEcho(t, "echo");
  const wasm = await compileSource(DENIES);
  const sluice = await startSluice(
    t,
    ({ web, denied, filtered, unrouted }) => `
plugins: { denies: { wasm: ./denies.wasm } }
listeners:
  few: { address: "127.0.0.1:${web}", protocol: udp, cluster: app, limits: { connections: 1 } }
  denied: { address: "127.0.0.1:${denied}", protocol: udp, cluster: app, deny: [127.0.0.0/8] }
  filtered:
    address: 127.0.0.1:${filtered}
    protocol: udp
    cluster: app
    chain: [denies]
  unrouted:
    address: 127.0.0.1:${unrouted}
    protocol: udp
    routes: [{ match: { client: 10.0.0.0/8 }, cluster: app }]
clusters:
  app: ["127.0.0.1:${echo.port}"]
`,
    { ports: ["denied", "filtered", "unrouted"], files: { "denies.wasm": wasm } },
  );
  const client = await openPeer(t);
  client.send("x", sluice.port);
  assert.equal(await client.get(0), "echo x");
  const other = await openPeer(t);
  const { denied, filtered, unrouted } = sluice.ports;
  for (const port of [sluice.port, denied!, filtered!, unrouted!]) other.send("y", port);
  await sluice.metricIs(1, "sluice_connections_refused_total", { listener: "few", limit: "connections" });
  await sluice.metricIs(1, "sluice_connections_refused_total", { listener: "denied", limit: "deny" });
  await sluice.metricIs(1, "sluice_connections_denied_total", { listener: "filtered" });
  await sluice.metricIs(1, "sluice_udp_datagrams_dropped_total", { listener: "few", reason: "limit" });
  await sluice.metricIs(1, "sluice_relay_connections_total", { listener: "unrouted", result: "no_route" });
  await until(() => /"listener":"unrouted".*no route for /.test(sluice.output), "the log");
  client.send("z", sluice.port);
  assert.equal(await client.get(1), "echo z");
  assert.deepEqual([echo.received.length, other.received.length], [2, 0]);
});

testInUsualMode("udp-is-relayed: an endpoint without response to a check gets no sessions", async (t) => {
  const endpoints = [await startEcho(t, "pong"), await startEcho(t, "other")];
  const sluice = await startSluice(
    t,
    ({ web }) => `
listeners:
  app: { address: "127.0.0.1:${web}", protocol: udp, cluster: app, udp: { responses: 1 } }
clusters:
  app:
    endpoints: [${endpoints.map(({ port }) => `"127.0.0.1:${port}"`).join(", ")}]
    health: { active: { udp: { send: "0x70696e67", expect: "pong ping" }, interval: 1s } }
`,
  );
  await sluice.metricIs(0, "sluice_endpoint_healthy", { endpoint: `127.0.0.1:${endpoints[1]!.port}` });
  for (let i = 0; i < 4; i++) {
    const client = await openPeer(t);
    client.send(String(i), sluice.port);
    assert.equal(await client.get(0), `pong ${i}`);
  }
});

testInUsualMode("udp-is-relayed: a QUIC connection continues when the client's address changes", async (t) => {
  // The endpoint's packets have a long header with the ID it has chosen; the client's later ones a short header.
  const id = "12345678";
  const hello = `\xc0\0\0\0\x01\x04dest\x05srcid hello`;
  const endpoint = await openPeer(t, (peer, { from }) =>
    peer.send(`\xc0\0\0\0\x01\x05srcid\x08${id} reply`, from.port),
  );
  const sluice = await startSluice(
    t,
    ({ web }) => `
listeners:
  quic: { address: "127.0.0.1:${web}", protocol: udp, cluster: app, udp: { quic: true } }
clusters:
  app: ["127.0.0.1:${endpoint.port}"]
`,
    { workers: 2 },
  );
  const before = await openPeer(t);
  before.send(hello, sluice.port);
  await before.get(0);
  const after = await openPeer(t);
  // A copy by someone who has seen a packet does not take the connection over while its client sends.
  after.send(`\x40${id} copied`, sluice.port);
  await sluice.metricIs(2, "sluice_tunnels_active", { listener: "quic" });
  const moved = await openPeer(t);
  // The client has been silent for a second: the worker's clock decides.
  await sluice.metricIs(2, "sluice_tunnels_active", { listener: "quic" });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  moved.send(`\x40${id} moved`, sluice.port);
  await moved.get(0);
  const [first, , last] = endpoint.received;
  assert.equal(last!.from.port, first!.from.port);
  await sluice.metricIs(2, "sluice_tunnels_active", { listener: "quic" });

  // While its listener drains, copies are for the one that has the address now.
  sluice.config(sluice.configText.replace("{ quic: true }", "{}"));
  assert.equal((await sluice.reload()).status, 200);
  const others = await Promise.all(Array.from({ length: 8 }, () => openPeer(t)));
  moved.send(`\x40${id} again`, sluice.port);
  await moved.get(1);
  for (const other of others) other.send(`\x40${id} copied`, sluice.port);
  for (const other of others) await other.get(0);
  await sluice.metricIs(0, "sluice_worker_restarts_total");
});

testInUsualMode("udp-is-relayed: a removed listener is drained, and its port is free", async (t) => {
  const echo = await startEcho(t, "echo");
  const app = await startRawUpstream(t, (peer) => void peer.send("tcp."));
  const config =
    (rest: string) =>
    ({ web }: { readonly web: number }): string =>
      `
listeners:
  tcp: { address: "127.0.0.1:${web}", protocol: tcp, cluster: tcp }
${rest}
clusters:
  tcp: ["127.0.0.1:${app.port}"]
  udp: ["127.0.0.1:${echo.port}"]
`;
  const port = await findFreePort();
  const listener = `  udp: { address: "127.0.0.1:${port}", protocol: udp, cluster: udp, timeouts: { idle: 1s } }`;
  const sluice = await startSluice(t, config(listener));
  const client = await openPeer(t);
  client.send("a", port);
  assert.equal(await client.get(0), "echo a");
  sluice.config(config("")(sluice.ports));
  assert.equal((await sluice.reload()).status, 200);
  client.send("b", port);
  assert.equal(await client.get(1), "echo b");
  await until(() => isFree(port), "the port is free");
  assert.equal(await (await connectTo(t, sluice.port)).take("."), "tcp.");
});

testInUsualMode("udp-is-relayed: a port in use and keys without meaning are reported", async (t) => {
  const taken = await openPeer(t);
  const echo = await startEcho(t, "echo");
  const config =
    (rest: string) =>
    ({ web }: { readonly web: number }): string =>
      `
listeners:
  web: { address: "127.0.0.1:${web}", protocol: udp, cluster: app }
${rest}
clusters:
  app: ["127.0.0.1:${echo.port}"]
`;
  const sluice = await startSluice(t, config(""));
  sluice.config(config(`  two: { address: "127.0.0.1:${taken.port}", protocol: udp, cluster: app }`)(sluice.ports));
  const { text } = await sluice.reload();
  assert.match(text, /listener two: cannot listen at udp:127\.0\.0\.1:\d+: address already in use/);
  sluice.config(config("  two: { address: ':0', protocol: udp, halfClose: true, cluster: app }")(sluice.ports));
  const { stdout, stderr } = await runSluice("check", "-c", `${sluice.directory}/sluice.yaml`);
  assert.match(stdout + stderr, /"halfClose" has no meaning in a listener with protocol: udp/);
  sluice.config(config("")(sluice.ports));
});

testInUsualMode("udp-is-relayed: sessions leave descriptors for TCP, whatever their clients' addresses", async (t) => {
  const echo = await startEcho(t, "echo");
  const app = await startRawUpstream(t, (peer) => void peer.send("tcp."));
  const sluice = await startSluice(
    t,
    ({ web, tcp }) => `
listeners:
  udp: { address: "127.0.0.1:${web}", protocol: udp, cluster: udp }
  tcp: { address: "127.0.0.1:${tcp}", protocol: tcp, cluster: tcp }
clusters:
  udp: ["127.0.0.1:${echo.port}"]
  tcp: ["127.0.0.1:${app.port}"]
`,
    { ports: ["tcp"], onSpawn: (pid) => void spawnSync("prlimit", ["--nofile=300:300", `--pid=${pid}`]) },
  );
  // Of forged addresses nothing more comes, although the endpoint responds: their sessions make room.
  const forged = await Promise.all(Array.from({ length: 150 }, () => openPeer(t)));
  for (const client of forged) client.send("x", sluice.port);
  await until(() => echo.received.length === 150, "the forged datagrams");
  const clients = await Promise.all(Array.from({ length: 320 }, () => openPeer(t)));
  for (const [i, text] of ["x", "y"].entries()) {
    for (const client of clients.slice(0, 150)) client.send(text, sluice.port);
    for (const client of clients.slice(0, 150)) await client.get(i);
  }
  await sluice.metricIs(150, "sluice_tunnels_ended_total", { reason: "evicted" });
  for (const client of clients.slice(150)) client.send("x", sluice.port);
  await sluice.metricIs(170, "sluice_udp_datagrams_dropped_total", { listener: "udp", reason: "limit" });
  await sluice.metricIs(150, "sluice_connections_active", { listener: "udp" });
  assert.equal(await (await connectTo(t, sluice.ports.tcp!)).take("."), "tcp.");
  assert.equal(echo.received.length, 450);
});

testInUsualMode("udp-is-relayed: an address that is removed and added again serves new clients at once", async (t) => {
  const echo = await startEcho(t, "echo");
  const config =
    (rest: string) =>
    ({ web }: { readonly web: number }): string =>
      `
shutdown: { grace: 4s }
log: { access: true }
listeners:
  other: { address: "127.0.0.1:${web}", protocol: udp, cluster: udp }
${rest}
clusters:
  udp: ["127.0.0.1:${echo.port}"]
`;
  const port = await findFreePort();
  const listener = (udp: string) => `  udp: { address: "127.0.0.1:${port}", protocol: udp, cluster: udp, udp: ${udp} }`;
  const sluice = await startSluice(t, config(listener("{ quic: true }")), { workers: 2 });
  const serve = async (rest: string): Promise<void> => {
    sluice.config(config(rest)(sluice.ports));
    const { status, text } = await sluice.reload();
    assert.equal(status, 200, text);
  };
  // Clients that never pause: their sessions end at the end of `shutdown.grace` only.
  const busy = await Promise.all(Array.from({ length: 20 }, () => openPeer(t)));
  const timer = setInterval(() => {
    for (const client of busy) client.send("busy", port);
  }, 200);
  atEnd(t, () => clearInterval(timer));
  for (const client of busy) assert.equal(await client.get(0), "echo busy");
  await serve("");
  const areServed = async (): Promise<void> => {
    const clients = await Promise.all(Array.from({ length: 10 }, () => openPeer(t)));
    for (const client of clients) client.send("new", port);
    for (const client of clients) assert.equal(await client.get(0), "echo new");
  };
  // With `quic` only one worker serves the address, and the system assigns new clients to the other one's socket, too.
  for (const udp of ["{}", "{ quic: true }", "{}"]) {
    await serve(listener(udp));
    await areServed();
  }
  sluice.write("sluice.yaml", `admin: 127.0.0.1:${sluice.ports.admin}\nworkers: 1\n${sluice.configText}`);
  assert.equal((await sluice.reload()).status, 200);
  await areServed();
  await sluice.metricIs(0, "sluice_udp_datagrams_dropped_total", { listener: "udp", reason: "draining" });
  await serve("");
  await until(() => isFree(port), "the port is free");
});
