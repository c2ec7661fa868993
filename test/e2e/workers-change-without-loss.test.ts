/** The number of workers changes by a reload: no request fails, no connection is lost, and the totals are kept. */
import assert from "node:assert/strict";
import { startClients, startWrk } from "./load.ts";
import { connectTo, startRawUpstream, startUpstream } from "./peers.ts";
import { bounded, type Program, simpleConfig, startSluice, testInEachMode, until } from "./program.ts";

const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async function setWorkers(sluice: Program, workers: number): Promise<void> {
  sluice.write("sluice.yaml", `admin: 127.0.0.1:${sluice.ports.admin}\nworkers: ${workers}\n${sluice.configText}`);
  const response = await sluice.reload();
  assert.equal(response.status, 200, response.text);
}

type Worker = { worker: number; serving: boolean };
async function listWorkers(sluice: Program): Promise<Worker[]> {
  return (await sluice.status()).workers as Worker[];
}

const countServing = async (sluice: Program): Promise<number> =>
  (await listWorkers(sluice)).filter(({ serving }) => serving).length;

testInEachMode(
  "workers-change-without-loss",
  async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await startSluice(t, simpleConfig(upstream.port), { workers: 2 });
    const loads = [startClients(t, sluice.url), startClients(t, sluice.url, { keepAlive: false })];
    const wrks =
      t.accept === "handle" ? [startWrk(t, sluice.url), startWrk(t, sluice.url, "-H", "Connection: close")] : [];
    const running = (): Promise<void> => {
      const before = loads.map(({ responses }) => responses);
      return until(() => loads.every(({ responses }, i) => responses > before[i]! + 200), "the load runs on", 60_000);
    };
    await running();
    let counted = 0;
    for (const workers of [4, 1, 3, 1, 4, 2]) {
      await setWorkers(sluice, workers);
      // When the reload has returned, exactly that number of workers serves.
      assert.equal(await countServing(sluice), workers);
      await running();
      const now = await sluice.metric("sluice_requests_total");
      assert.ok(now > counted, `${now} requests were counted, ${counted} before`);
      counted = now;
    }
    for (const wrk of wrks) await wrk.stop();
    const responses = (await Promise.all(loads.map((load) => load.stop()))).reduce((sum, one) => sum + one, 0);
    await until(async () => (await listWorkers(sluice)).length === 2, "who leaves has left");
    assert.ok((await sluice.metric("sluice_requests_total", { status: "200" })) >= responses);
    await sluice.metricIs(upstream.requests.length, "sluice_requests_total");
    await sluice.metricIs(0, "sluice_connections_active");
    await sluice.metricIs(0, "sluice_worker_restarts_total");
  },
  ["handle", "transfer"],
);

testInEachMode(
  "a worker that leaves finishes what runs, and ends idle connections in order",
  async (t) => {
    const upstream = await startRawUpstream(t, async (peer) => {
      await peer.head();
    });
    const sluice = await startSluice(t, simpleConfig(upstream.port), { workers: 4 });
    // In turn: eight for each worker, of which four are idle.
    const clients = await Promise.all(Array.from({ length: 32 }, () => connectTo(t, sluice.port)));
    await sluice.metricIs(32, "sluice_connections_active");
    const [busy, idle] = [clients.slice(0, 16), clients.slice(16)];
    for (const client of busy) client.send(request);
    await upstream.connection(15);
    await setWorkers(sluice, 1);
    assert.deepEqual(
      (await listWorkers(sluice)).filter(({ serving }) => serving).map(({ worker }) => worker),
      [0],
    );

    await until(() => idle.filter(({ ended }) => ended).length === 12, "the end of those of the workers that leave");
    const staying = idle.filter(({ ended }) => !ended);
    assert.equal(staying.length, 4);
    assert.equal((await listWorkers(sluice)).length, 4, "they wait for what runs");
    for (const peer of upstream.peers) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const responses = await Promise.all(busy.map((client) => client.readResponse()));
    assert.deepEqual(new Set(responses.map(({ status, body }) => `${status} ${body}`)), new Set(["200 ok"]));
    assert.equal(responses.filter(({ headers }) => headers.connection === "close").length, 12);
    for (const client of [...busy, ...idle].filter((client) => !staying.includes(client) && client.ended)) {
      client.socket.end();
      assert.equal(await bounded(client.closed, "its end"), "end");
    }
    await until(async () => (await listWorkers(sluice)).length === 1, "they have left");
    await sluice.metricIs(16, "sluice_requests_total", { status: "200" });
    // In turn is how they come where one worker accepts for all.
  },
  ["transfer"],
);
