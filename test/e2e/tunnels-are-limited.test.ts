/** Limits and timeouts of tunnels: idle time, connections of the listener, requests in flight of an endpoint. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { WebSocket } from "ws";
import { connectTo, exchange, startRawUpstream } from "./peers.ts";
import { bounded, simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";
import { ask, closed, open, startEcho } from "./websockets.ts";

const request = (path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n`;

testInUsualMode(
  "tunnels-are-limited: the time to the 101 is limited like any response, a tunnel by its idle time",
  async (t) => {
    const echo = await startEcho(t);
    const silent = await startRawUpstream(t);
    const config = ({ web }: Record<string, number>) => `
log: { access: true }
listeners:
  web:
    address: 127.0.0.1:${web}
    routes:
      - { match: { path: /silent }, timeout: 1m, cluster: silent }
      - { match: { path: /late }, timeout: 300ms, cluster: silent2 }
      - { timeout: 2s, cluster: app }
clusters:
  app: { endpoints: ["127.0.0.1:${echo.port}"], timeouts: { response: 1s, idle: 100ms, tunnel: 3s } }
  silent: { endpoints: ["127.0.0.1:${silent.port}"], timeouts: { response: 200ms } }
  silent2: { endpoints: ["127.0.0.1:${silent.port}"] }
`;
    const sluice = await startSluice(t, config);
    for (const path of ["/silent", "/late"])
      assert.equal((await exchange(t, sluice.port, request(path))).status, 504, path);

    const socket = await open(t, sluice.port);
    assert.equal(await ask(socket, "hello"), "hello");
    const begun = performance.now();
    const end = closed(socket);
    assert.deepEqual(await end, [1001, ""], "it has outlived the timeouts of response, idle and route");
    assert.ok(performance.now() - begun >= 2900, "never early");
    await until(() => echo.closes.length === 1, "the server's end");
    assert.deepEqual(echo.closes, [[1001, ""]]);
    const line = await sluice.logged(({ event }) => event === "tunnel_ended", "the cut tunnel");
    assert.deepEqual([line.reason, line.endpoint], ["idle_timeout", `127.0.0.1:${echo.port}`]);
    await sluice.metricIs(1, "sluice_tunnels_ended_total", { reason: "idle_timeout" });
  },
);

testInUsualMode(
  "tunnels-are-limited: a side that takes nothing keeps no more than buffers, and is cut when idle",
  async (t) => {
    const peers = startRawUpstream(t, async (peer) => {
      await peer.head();
      peer.socket.pause();
      peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    });
    const sluice = await startSluice(t, simpleConfig((await peers).port, { cluster: "timeouts: { tunnel: 1s }" }));
    const client = await connectTo(t, sluice.port);
    await client.send(request("/")).head();
    const message = Buffer.alloc(32 * 1024 * 1024);
    client.send(message);
    assert.equal(await bounded(client.closed, "the client's end"), "reset");
    const forwarded = await sluice.metric("sluice_tunnel_bytes_received_total");
    assert.ok(forwarded < message.length, `${forwarded} bytes`);
    await sluice.metricIs(1, "sluice_tunnels_ended_total", { reason: "idle_timeout" });
  },
);

testInUsualMode("tunnels-are-limited: they count as connections, and in flight of their endpoint", async (t) => {
  const echo = await startEcho(t);
  const sluice = await startSluice(
    t,
    simpleConfig(echo.port, { listener: "limits: { connections: 3 }", cluster: "pool: { connections: 2 }" }),
  );
  const sockets = [await open(t, sluice.port), await open(t, sluice.port)];
  const third = new WebSocket(`ws://127.0.0.1:${sluice.port}`);
  const [error] = (await bounded(once(third, "error"), "its refusal")) as [Error];
  assert.match(error.message, /503/);
  const end = closed(sockets[0]!);
  sockets[0]!.close();
  await end;
  await sluice.metricIs(1, "sluice_tunnels_active");
  sockets[0] = await open(t, sluice.port);
  await sluice.metricIs(2, "sluice_connections_active");
  await connectTo(t, sluice.port);
  await sluice.metricIs(3, "sluice_connections_active");
  const fourth = await connectTo(t, sluice.port);
  await bounded(fourth.closed, "the refused connection's end");
  await sluice.metricIs(1, "sluice_connections_refused_total");
  for (const socket of sockets) assert.equal(await ask(socket, "still here"), "still here");
});

testInUsualMode("tunnels-are-limited: an attempt that fails before the 101 is retried", async (t) => {
  const echo = await startEcho(t);
  const broken = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.reset();
  });
  const sluice = await startSluice(
    t,
    simpleConfig([echo.port, broken.port], { cluster: "health: { passive: false }" }),
  );
  for (let count = 0; count < 4; count++) assert.equal(await ask(await open(t, sluice.port), "hello"), "hello");
  assert.ok(broken.peers.length > 0);
  await sluice.metricIs(broken.peers.length, "sluice_retries_total");
  await sluice.metricIs(4, "sluice_tunnels_active");
});
