/** `protocol: tcp`: every byte and every end passes, connections are distributed, retried, limited, counted and logged. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { findFreePort } from "./free-port.ts";
import { connectTo, Peer, startRawUpstream, startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type LiveTest,
  runSluice,
  startSluice,
  testInAllModes,
  testInEachMode,
  testInUsualMode,
} from "./program.ts";

/** A server that greets with its name, and sends back what it gets; it ends its direction after the client. */
async function startEcho(t: LiveTest, name: string): Promise<{ port: number; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.write(`${name}\n`);
    socket.pipe(socket);
  });
  atEnd(t, () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return { port: (server.address() as AddressInfo).port, sockets };
}

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Sends all bytes, ends, and reads to the end. */
async function roundTrip(t: LiveTest, port: number, bytes: Buffer): Promise<Buffer> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  atEnd(t, () => socket.destroy());
  socket.end(bytes);
  return bounded(
    socket.toArray().then((chunks) => Buffer.concat(chunks as Buffer[])),
    "all bytes",
  );
}

testInEachMode(
  "tcp-is-relayed: bytes and half-closes pass both ways, over several endpoints and with weights",
  async (t) => {
    const one = await startEcho(t, "one");
    const two = await startEcho(t, "two");
    const sluice = await startSluice(
      t,
      ({ web, split }) => `
log: { access: true }
listeners:
  db: { address: "127.0.0.1:${web}", protocol: tcp, cluster: both }
  parts:
    address: 127.0.0.1:${split}
    protocol: tcp
    routes:
      - { match: { client: 10.0.0.0/8 }, cluster: none, name: inside }
      - { split: { first: 1, second: 0 }, name: weighted }
clusters:
  both: ["127.0.0.1:${one.port}", "127.0.0.1:${two.port}"]
  first: ["127.0.0.1:${one.port}"]
  second: ["127.0.0.1:${two.port}"]
  none: ["127.0.0.1:1"]
`,
      { ports: ["split"] },
    );
    const payload = randomBytes(3_000_000);
    const names: string[] = [];
    for (let i = 0; i < 4; i++) {
      const echoed = await roundTrip(t, sluice.port, payload);
      names.push(echoed.toString("latin1", 0, 4));
      assert.equal(digest(echoed.subarray(4)), digest(payload));
    }
    assert.deepEqual(names.toSorted(), ["one\n", "one\n", "two\n", "two\n"], "round robin");
    const weighted = await roundTrip(t, sluice.ports.split!, Buffer.from("hi"));
    assert.equal(weighted.toString(), "one\nhi");

    const labels = { listener: "db", route: "0", cluster: "both", result: "connected" };
    await sluice.metricIs(4, "sluice_relay_connections_total", labels);
    await sluice.metricIs(1, "sluice_relay_connections_total", {
      listener: "parts",
      route: "weighted",
      cluster: "first",
    });
    await sluice.metricIs(5, "sluice_tunnels_ended_total", { reason: "client_closed" });
    await sluice.metricIs(0, "sluice_tunnels_active");
    const line = await sluice.logged((line) => line.route === "weighted", "the access log line");
    const { listener, cluster, endpoint, attempts, outcome, bytes_received, bytes_sent, status } = line;
    assert.deepEqual(
      { listener, cluster, endpoint, attempts, outcome, bytes_received, bytes_sent, status },
      {
        listener: "parts",
        cluster: "first",
        endpoint: `127.0.0.1:${one.port}`,
        attempts: 1,
        outcome: "client_closed",
        bytes_received: 2,
        bytes_sent: 6,
        status: 0,
      },
    );
  },
);

testInUsualMode(
  "tcp-is-relayed: a failed connect is retried elsewhere, a reset passes, and each end has its reason",
  async (t) => {
    const echo = await startEcho(t, "up");
    const endpoint = await startRawUpstream(t);
    const [dead, other] = [await findFreePort(), await findFreePort()];
    const sluice = await startSluice(
      t,
      ({ web, alone, raw, brief, quiet }) => `
log: { access: true }
listeners:
  db: { address: "127.0.0.1:${web}", protocol: tcp, cluster: mixed }
  alone: { address: "127.0.0.1:${alone}", protocol: tcp, routes: [{ cluster: down, retry: { attempts: 1 } }] }
  raw: { address: "127.0.0.1:${raw}", protocol: tcp, cluster: raw }
  brief: { address: "127.0.0.1:${brief}", protocol: tcp, timeouts: { lifetime: 200ms }, cluster: raw }
  quiet: { address: "127.0.0.1:${quiet}", protocol: tcp, timeouts: { idle: 200ms }, cluster: raw }
clusters:
  mixed:
    health: { passive: { enabled: false } }
    endpoints: ["127.0.0.1:${dead}", "127.0.0.1:${echo.port}"]
  down: { endpoints: ["127.0.0.1:${dead}", "127.0.0.1:${other}", "127.0.0.2:${dead}"], health: { passive: { enabled: false } } }
  raw: ["127.0.0.1:${endpoint.port}"]
`,
      { ports: ["alone", "raw", "brief", "quiet"] },
    );
    for (let i = 0; i < 4; i++) assert.equal((await roundTrip(t, sluice.port, Buffer.from("x"))).toString(), "up\nx");
    assert.ok((await sluice.metric("sluice_retries_total", { cluster: "mixed" })) >= 1);
    await sluice.metricIs(4, "sluice_relay_connections_total", { cluster: "mixed", result: "connected" });

    // It may be reset before the client has seen that it is connected.
    const refused = new Peer(connect(sluice.ports.alone!, "127.0.0.1"));
    assert.equal(await bounded(refused.closed, "the refusal"), "reset");
    await sluice.metricIs(1, "sluice_relay_connections_total", { cluster: "down", result: "connect_refused" });
    const failed = await sluice.logged((line) => line.listener === "alone" && "outcome" in line, "its line");
    assert.deepEqual([failed.outcome, failed.attempts, failed.bytes_sent], ["connect_refused", 2, 0]);

    const reset = await connectTo(t, sluice.ports.raw!);
    reset.send("hello");
    const first = await endpoint.connection(0);
    await first.take("hello");
    first.reset();
    assert.equal(await bounded(reset.closed, "the endpoint's reset"), "reset");
    await sluice.metricIs(1, "sluice_tunnels_ended_total", { listener: "raw", reason: "endpoint_reset" });
    const gone = await connectTo(t, sluice.ports.raw!);
    const second = await endpoint.connection(1);
    gone.reset();
    assert.equal(await bounded(second.closed, "the client's reset"), "reset");
    await sluice.metricIs(1, "sluice_tunnels_ended_total", { listener: "raw", reason: "client_reset" });

    for (const [name, reason] of [
      ["brief", "lifetime"],
      ["quiet", "idle_timeout"],
    ] as const) {
      const ended = await connectTo(t, sluice.ports[name]!);
      await bounded(ended.closed, reason);
      await sluice.metricIs(1, "sluice_tunnels_ended_total", { listener: name, reason });
      const line = await sluice.logged((line) => line.listener === name && "outcome" in line, "its line");
      assert.equal(line.outcome, reason);
      assert.ok(Number(line.duration_ms) >= 200);
    }
  },
);

testInUsualMode(
  "tcp-is-relayed: limits hold, the status lists the relays, they outlive reloads and drain",
  async (t) => {
    const echo = await startEcho(t, "up");
    const config = ({ web, few }: Record<string, number>, more = "") => `
shutdown: { grace: 1s }
listeners:
  db: { address: "127.0.0.1:${web}", protocol: tcp, cluster: app${more} }
  few: { address: "127.0.0.1:${few}", protocol: tcp, limits: { connections: 1 }, cluster: one }
clusters:
  app: ["127.0.0.1:${echo.port}"]
  one: { endpoints: ["127.0.0.1:${echo.port}"], pool: { connections: 2 } }
`;
    const sluice = await startSluice(t, config, { ports: ["few"] });
    const client = await connectTo(t, sluice.port);
    await client.take("up\n");
    const tunnels = JSON.parse((await sluice.ask("/api/v1/tunnels")).text).tunnels;
    assert.deepEqual(
      tunnels.map(({ listener, cluster, protocol }: Record<string, string>) => [listener, cluster, protocol]),
      [["db", "app", "tcp"]],
    );
    const held = await connectTo(t, sluice.ports.few!);
    await held.take("up\n");
    const second = await connectTo(t, sluice.ports.few!);
    await bounded(second.closed, "the second");
    await sluice.metricIs(1, "sluice_connections_refused_total", { listener: "few", limit: "connections" });
    const { stdout } = await runSluice("status", "--admin", `127.0.0.1:${sluice.ports.admin}`);
    const state =
      "1 of 1 connections, 1 of them tunnels .*, 1 connections relayed, 0 bytes received, 3 sent; refused: connections 1";
    assert.match(
      stdout,
      new RegExp(`\\nlistener few: \\S+, ${state}\\n {2}route 0: every request; to cluster one; 1 conn`),
    );
    assert.match(stdout, /\ncluster one: .*, 0 requests in all, 1 connections and sessions\n/);

    sluice.config(config(sluice.ports, ", timeouts: { lifetime: 24h }"));
    assert.equal((await sluice.reload()).status, 200);
    client.send("still\n");
    assert.equal(await client.take("still\n"), "still\n");

    sluice.kill("SIGTERM");
    await bounded(client.closed, "the end of the drain");
    assert.equal((await bounded(sluice.exited, "the exit")).code, 0);
  },
);

testInUsualMode("tcp-is-relayed: keys without a meaning are refused by name", async (t) => {
  const sluice = await startSluice(
    t,
    ({ web }) => `
listeners: { db: { address: "127.0.0.1:${web}", protocol: tcp, cluster: app } }
clusters: { app: ["127.0.0.1:1"] }
`,
  );
  sluice.write(
    "wrong.yaml",
    `
listeners:
  db:
    address: :1
    protocol: tcp
    halfClose: true
    timeouts: { head: 1s, idle: 1s }
    limits: { body: 1MiB, connections: 3 }
    routes:
      - match: { host: a.example, sni: a.example, not: { method: GET } }
        timeout: 1s
        upgrade: []
        chain: [request-id]
        retry: { on: [502] }
        cluster: app
  web:
    address: ":2"
    routes:
      - { match: { sni: a.example }, passthrough: true, cluster: app }
      - { match: { alpn: h2 }, cluster: app }
      - { match: { path: / }, passthrough: true, cluster: app }
  other: { address: ":3", timeouts: { lifetime: 1h }, cluster: app }
clusters: { app: ["127.0.0.1:1"] }
`,
  );
  const { code, stderr, stdout } = await runSluice("check", "-c", `${sluice.directory}/wrong.yaml`);
  assert.equal(code, 1);
  const reported = Array.from(`${stdout}${stderr}`.matchAll(/"([\w.]+)" has no meaning/g), ([, key]) => key);
  assert.match(`${stdout}${stderr}`, /routes\.0: `passthrough` without `tls`/);
  assert.deepEqual(reported.toSorted(), [
    "chain",
    "halfClose",
    "limits.body",
    "match.alpn",
    "match.host",
    "match.not.method",
    "match.path",
    "retry.on",
    "timeout",
    "timeouts.head",
    "timeouts.lifetime",
    "upgrade",
  ]);
});

testInAllModes(
  "tcp-is-relayed: a reload that changes the protocol drains the connections of the former one",
  async (t) => {
    const web = await startUpstream(t);
    const echo = await startEcho(t, "up");
    const slow = await startRawUpstream(t);
    const config = (address: string, protocol: string, cluster: string) => `
shutdown: { grace: 1s }
listeners: { any: { address: "${address}", protocol: ${protocol}, cluster: ${cluster} } }
clusters: { web: ["127.0.0.1:${web.port}"], echo: ["127.0.0.1:${echo.port}"], slow: ["127.0.0.1:${slow.port}"] }
`;
    const sluice = await startSluice(t, (ports) => config(`127.0.0.1:${ports.web}`, "http", "slow"));
    const address = `127.0.0.1:${sluice.port}`;
    const request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const busy = await connectTo(t, sluice.port);
    busy.send(request);
    const endpoint = await slow.connection(0);
    await endpoint.head();
    const idle = await connectTo(t, sluice.port);

    sluice.config(config(address, "tcp", "echo"));
    assert.equal((await sluice.reload()).status, 200);
    const relayed = await connectTo(t, sluice.port);
    await relayed.take("up\n");
    endpoint.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    const { status, headers } = await busy.readResponse();
    assert.deepEqual([status, headers.connection], [200, "close"]);
    await bounded(Promise.all([busy.closed, idle.closed]), "the end of the former connections");
    await sluice.metricIs(1, "sluice_connections_active", { listener: "any" });

    sluice.config(config(address, "http", "web"));
    assert.equal((await sluice.reload()).status, 200);
    const last = await connectTo(t, sluice.port);
    assert.equal((await last.send(request).readResponse()).status, 200);
    await bounded(relayed.closed, "the end of the relay");
    await sluice.metricIs(1, "sluice_tunnels_ended_total", { reason: "drained" });
    await sluice.metricIs(1, "sluice_connections_active", { listener: "any" });
  },
);
