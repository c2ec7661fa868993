/** A worker that ends with an exception loses only its own connections, and a replacement serves. */
import assert from "node:assert/strict";
import { connectTo, type Peer, startUpstream } from "./peers.ts";
import { type Program, simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

const CLIENTS = 24;
const CRASHES = 3;

testInUsualMode("crashed-worker-is-replaced", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port), {
    workers: 2,
    preload: new URL("./failing-worker.ts", import.meta.url),
  });
  for (let crash = 1; crash <= CRASHES; crash++) {
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => connectTo(t, sluice.port)));
    let responses = 0;
    let stopped = false;
    const running = clients.map(async (client) => {
      while (!stopped && (await isServed(client))) responses++;
    });
    await until(() => responses > 2 * CLIENTS, "the load runs");
    sluice.kill("SIGUSR2");
    const labels = { worker: "0", reason: "crash" };
    await until(
      async () => (await sluice.metric("sluice_worker_restarts_total", labels)) === crash,
      `restart ${crash} is counted`,
    );
    await until(async () => (await serving(sluice)) === 2, "the successor serves");
    const before = responses;
    await until(() => responses > before + CLIENTS, "the other worker's clients are served on");
    stopped = true;
    await Promise.all(running);
    assert.ok(clients.some(({ ended }) => ended));
    assert.ok(clients.some(({ ended }) => !ended));
    for (const client of clients) client.socket.destroy();
    // Enough connections that each worker gets some.
    const fresh = await Promise.all(Array.from({ length: CLIENTS }, () => connectTo(t, sluice.port)));
    for (const client of fresh) assert.ok(await isServed(client), "a new connection is served");
    for (const client of fresh) client.socket.destroy();
    await sluice.metricIs(0, "sluice_connections_active");
  }
  await sluice.metricIs(CRASHES, "sluice_worker_restarts_total");
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

/** Sends a request; returns false if the connection ends without a response. */
async function isServed(client: Peer): Promise<boolean> {
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  if (!(await client.waits(() => client.bytes.includes("\r\n\r\n"), "a response"))) return false;
  const { status, whole } = await client.readResponse();
  if (whole) assert.equal(status, 200);
  return whole;
}

async function serving(sluice: Program): Promise<number> {
  const { workers } = (await sluice.status()) as { workers: { serving: boolean }[] };
  return workers.filter((worker) => worker.serving).length;
}
