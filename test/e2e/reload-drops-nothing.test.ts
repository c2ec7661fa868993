/** Reloads under load: no request fails, no connection closes, and nothing leaks. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { compileSource } from "../contract/plugin-harness.ts";
import { PAUSE, startWrk } from "./load.ts";
import { connectTo, startUpstream } from "./peers.ts";
import { type Program, simpleConfig, startSluice, testInAllModes, testInUsualMode, times, until } from "./program.ts";

const RELOADS = 80;
/** Reloads after which the process has its size. */
const SETTLED = 20;
const CLIENTS = 16;
/** Of the strategy and the chain's plugin, on each of two workers. */
const GUESTS = 4;
/** Allowed growth of the process between the SETTLED-th and the last reload: uncollected garbage, but no leak. */
const GROWTH = 96 * 1024 * 1024;

testInAllModes("many reloads of the configuration under load", async (t) => {
  const upstream = await startUpstream(t);
  const config = (number: number) =>
    simpleConfig(upstream.port, {
      listener: `chain: [{ headers: { response: { set: { x-version: "${number}" } } } }]`,
    });
  const sluice = await startSluice(t, config(0), { workers: 2 });
  const load = await startLoad(t, sluice, { withWrk: t.accept === "handle" });
  const reloads = times(t, RELOADS);
  const sizes = await reloadMany(sluice, reloads, (number) => sluice.config(config(number)(sluice.ports)));
  await load.sees(String(reloads));
  await load.stop();
  assertNoGrowth(sizes);
  await until(async () => (await countGuests(sluice)) === GUESTS, "the guests of old versions are gone");
});

testInUsualMode("many reloads of a plugin's .wasm under load", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    (ports) =>
      `plugins: { mark: { wasm: ./mark.wasm } }\n${simpleConfig(upstream.port, { listener: "chain: [mark]" })(ports)}`,
    { workers: 2, files: { "mark.wasm": await buildMark("0") } },
  );
  const variants = [await buildMark("1"), await buildMark("2")];
  const load = await startLoad(t, sluice);
  const reloads = times(t, RELOADS);
  const sizes = await reloadMany(sluice, reloads, (number) => sluice.write("mark.wasm", variants[number % 2]!));
  await load.sees("1");
  await load.stop();
  assertNoGrowth(sizes);
  await until(async () => (await countGuests(sluice)) === GUESTS, "the guests of old versions are gone");
});

testInUsualMode("a rejected reload changes nothing, and is reported in the log and the admin interface", async (t) => {
  const upstream = await startUpstream(t);
  const files = { "mark.wasm": await buildMark("0") };
  const good = (ports: Program["ports"]) =>
    `plugins: { mark: { wasm: ./mark.wasm } }\n${simpleConfig(upstream.port, { listener: "chain: [mark]" })(ports)}`;
  const sluice = await startSluice(t, good, { files });
  const text = good(sluice.ports);
  const { version } = await sluice.status();

  sluice.config(text.replace("cluster: app", "cluster: ap"));
  await assertRefused(sluice, /sluice\.yaml:\d+:\d+.*"?ap"?/);
  sluice.config(`${text}\n  - : {`);
  await assertRefused(sluice, /sluice\.yaml:\d+:\d+/);
  sluice.config(text);

  sluice.write("mark.wasm", Buffer.from("\0asm, but not really"));
  await assertRefused(sluice, /mark/);
  assert.equal((await sluice.status()).version, version);
  await sluice.metricIs(Number(version), "sluice_config_version");
  assert.equal((await fetch(sluice.url)).headers.get("x-version"), "0");
  assert.ok((await sluice.metric("sluice_config_reloads_total", { result: "rejected" })) >= 3);

  sluice.write("mark.wasm", await buildMark("1"));
  assert.equal((await sluice.reload()).status, 200);
  assert.equal((await fetch(sluice.url)).headers.get("x-version"), "1");
  assert.ok(((await sluice.status()).version as number) > (version as number));
});

async function assertRefused(sluice: Program, why: RegExp): Promise<void> {
  const response = await sluice.reload();
  assert.ok(response.status >= 400, `the reload was accepted: ${response.text}`);
  assert.match(response.text, why);
  await sluice.logged((line) => line.level === "error" && why.test(JSON.stringify(line)), `why: ${why}`);
  assert.match(JSON.stringify(await sluice.status()), why);
}

/** Changes and reloads repeatedly; returns the process's size after SETTLED reloads and after all. */
async function reloadMany(sluice: Program, reloads: number, change: (number: number) => void) {
  let early = 0;
  let version = Number((await sluice.status()).version);
  for (let number = 1; number <= reloads; number++) {
    change(number);
    const response = await sluice.reload();
    assert.equal(response.status, 200, response.text);
    const { version: now } = await sluice.status();
    assert.ok(Number(now) > version, `version ${now} after ${version}`);
    version = Number(now);
    if (number === SETTLED) early = await sluice.metric("process_resident_memory_bytes");
  }
  await sluice.metricIs(Number(version), "sluice_config_version");
  return { early, late: await sluice.metric("process_resident_memory_bytes") };
}

/** Running plugin instances over all workers. */
async function countGuests(sluice: Program): Promise<number> {
  const { workers } = (await sluice.status()) as { workers: { guests: number }[] };
  return workers.reduce((sum, { guests }) => sum + guests, 0);
}

function assertNoGrowth({ early, late }: { early: number; late: number }): void {
  assert.ok(early > 0);
  assert.ok(late < early + GROWTH, `${early} bytes after ${SETTLED} reloads, ${late} after all`);
}

/** Keep-alive clients, each with the next request out `PAUSE` ms after a response; and `wrk`, where it is installed. */
async function startLoad(t: TestContext, sluice: Program, { withWrk = false } = {}) {
  const state = { stopped: false, responses: 0, seen: "" };
  const clients = Array.from({ length: CLIENTS }, async (_, id) => {
    const peer = await connectTo(t, sluice.port);
    while (!state.stopped) {
      const response = await peer.send(`GET /${id} HTTP/1.1\r\nHost: a\r\n\r\n`).readResponse();
      assert.deepEqual([response.status, response.body.toString()], [200, "ok"]);
      state.seen = response.headers["x-version"] ?? "";
      state.responses++;
      await setTimeout(PAUSE);
    }
    assert.equal(peer.ended, false);
    peer.socket.destroy();
  });
  const all = Promise.all(clients);
  const wrks = withWrk ? [startWrk(t, sluice.url), startWrk(t, sluice.url, "-c4", "-H", "Connection: close")] : [];
  await until(() => state.responses > CLIENTS, "the load runs");
  return {
    sees: (version: string) => Promise.race([until(() => state.seen === version, `${version} is seen`), all]),
    stop: async () => {
      state.stopped = true;
      await all;
      for (const wrk of wrks) await wrk.stop();
    },
  };
}

/** A plugin that marks every response. */
function buildMark(mark: string): Promise<Uint8Array> {
  return compileSource(`import { Request, Response } from "sluice/sdk";
export function onResponse(req: Request, res: Response): void { res.headers.set("x-version", "${mark}"); }
`);
}

testInUsualMode("connections of a renamed listener are counted under its new name", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  const connections = (listener: string): Promise<number> => sluice.metric("sluice_connections_active", { listener });
  await until(async () => (await connections("web")) === 1, "it is counted");
  sluice.config(sluice.configText.replace("  web:", "  site:"));
  assert.equal((await sluice.reload()).status, 200);
  assert.equal(await connections("site"), 1);
  assert.equal((await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").readResponse()).status, 200);
  client.socket.destroy();
  await until(async () => (await connections("site")) === 0, "it is counted no more");
});
