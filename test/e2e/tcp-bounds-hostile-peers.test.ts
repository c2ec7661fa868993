/** TCP peers that stay silent, flood, never read or reset cost bounded memory and time, and each is counted and logged. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { compileSource } from "../contract/plugin-harness.ts";
import { connectTo, Peer, startRawUpstream } from "./peers.ts";
import { atEnd, bounded, startSluice, testInEachMode, testInUsualMode } from "./program.ts";

testInEachMode(
  "tcp-bounds-hostile-peers: while connecting, the client is buffered up to a limit, and both can leave",
  async (t) => {
    // It accepts, and never responds to a handshake.
    const hole = await startRawUpstream(t);
    const sluice = await startSluice(
      t,
      ({ web, brief }) => `
log: { access: true }
listeners:
  db: { address: "127.0.0.1:${web}", protocol: tcp, cluster: hole }
  brief: { address: "127.0.0.1:${brief}", protocol: tcp, cluster: brief }
clusters:
  hole: { endpoints: ["127.0.0.1:${hole.port}"], tls: { verify: false }, timeouts: { connect: 1m } }
  brief: { endpoints: ["127.0.0.1:${hole.port}"], tls: { verify: false }, timeouts: { connect: 200ms } }
`,
      { ports: ["brief"] },
    );
    const leaving = await connectTo(t, sluice.port);
    leaving.send("hello");
    const first = await hole.connection(0);
    await first.waits(() => first.received > 0, "the endpoint's ClientHello");
    leaving.reset();
    await bounded(first.closed, "the endpoint's connection ends with its client");
    await sluice.metricIs(1, "sluice_relay_connections_total", { listener: "db", result: "client_gone" });
    const gone = await sluice.logged((line) => line.outcome === "client_gone", "its line");
    assert.deepEqual([gone.listener, gone.bytes_sent], ["db", 0]);

    const late = new Peer(connect(sluice.ports.brief!, "127.0.0.1"));
    atEnd(t, () => late.socket.destroy());
    late.send(Buffer.alloc(32 * 1024 * 1024));
    assert.equal(await bounded(late.closed, "the time limit"), "reset");
    await sluice.metricIs(1, "sluice_relay_connections_total", { listener: "brief", result: "connect_timeout" });
    assert.ok((await sluice.metric("sluice_bytes_received_total", { listener: "brief" })) < 1024 * 1024);
    await sluice.metricIs(0, "sluice_connections_active", { listener: "db" });
  },
);

testInUsualMode(
  "tcp-bounds-hostile-peers: who never reads, on either side, keeps buffers only, and is cut when idle",
  async (t) => {
    const payload = Buffer.alloc(32 * 1024 * 1024, 7);
    const sink = await startRawUpstream(t, (peer) => void peer.socket.pause());
    const source = await startRawUpstream(t, (peer) => void peer.send(payload));
    const sluice = await startSluice(
      t,
      ({ web, down }) => `
listeners:
  up: { address: "127.0.0.1:${web}", protocol: tcp, timeouts: { idle: 500ms }, cluster: sink }
  down: { address: "127.0.0.1:${down}", protocol: tcp, timeouts: { idle: 500ms }, cluster: source }
clusters:
  sink: ["127.0.0.1:${sink.port}"]
  source: ["127.0.0.1:${source.port}"]
`,
      { ports: ["down"] },
    );
    const writer = await connectTo(t, sluice.port);
    writer.send(payload);
    assert.equal(await bounded(writer.closed, "the writer's end"), "reset");
    const deaf = await connectTo(t, sluice.ports.down!, { pauseOnConnect: true });
    const sent = await source.connection(0);
    assert.equal(await bounded(sent.closed, "the source's end"), "reset");
    deaf.socket.destroy();
    for (const [listener, bytes] of [
      ["up", "sluice_tunnel_bytes_received_total"],
      ["down", "sluice_tunnel_bytes_sent_total"],
    ] as const) {
      await sluice.metricIs(1, "sluice_tunnels_ended_total", { listener, reason: "idle_timeout" });
      assert.ok((await sluice.metric(bytes, { listener })) < payload.length);
    }
  },
);

const PLUGIN = `import { Connection, cluster } from "sluice/sdk";
const other = cluster("other");
export function onConnection(connection: Connection): void {
  if (connection.clientAddress == "127.0.0.2") connection.deny();
  if (connection.clientAddress == "127.0.0.3") connection.choose(other);
}`;

testInUsualMode("tcp-bounds-hostile-peers: a plugin denies a connection or chooses its cluster", async (t) => {
  const app = await startRawUpstream(t, (peer) => void peer.send("app."));
  const other = await startRawUpstream(t, (peer) => void peer.send("other."));
  const sluice = await startSluice(
    t,
    ({ web }) => `
log: { access: true }
plugins: { gate: { wasm: gate.wasm } }
listeners: { db: { address: "127.0.0.1:${web}", protocol: tcp, chain: [gate], cluster: app } }
clusters: { app: ["127.0.0.1:${app.port}"], other: ["127.0.0.1:${other.port}"] }
`,
    { files: { "gate.wasm": await compileSource(PLUGIN) } },
  );
  const from = (localAddress: string) => {
    const peer = new Peer(connect({ port: sluice.port, host: "127.0.0.1", localAddress }));
    atEnd(t, () => peer.socket.destroy());
    return peer;
  };
  assert.equal(await from("127.0.0.1").take("."), "app.");
  assert.equal(await from("127.0.0.3").take("."), "other.");
  assert.equal(await bounded(from("127.0.0.2").closed, "the denial"), "reset");
  const denied = await sluice.logged((line) => line.outcome === "denied", "its line");
  assert.deepEqual([denied.client, denied.listener, denied.status], ["127.0.0.2", "db", 0]);
  await sluice.metricIs(1, "sluice_connections_denied_total", { listener: "db" });
  await sluice.metricIs(1, "sluice_relay_connections_total", { cluster: "other", result: "connected" });
});
