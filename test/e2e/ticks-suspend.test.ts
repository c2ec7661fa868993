/** ticks-suspend: a plugin's ticks make subrequests in the background, without delaying requests, reloads or shutdown. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { exchange, startRawUpstream, startUpstream } from "./peers.ts";
import { type LiveTest, type Program, startSluice, testInUsualMode, until } from "./program.ts";

/** A tick stores its result: the guest that ticks does not serve requests. */
const SOURCE = `import { Fetch, kv, Request, tickEvery } from "sluice/sdk";
const keys = kv("keys");
tickEvery(100);
export function onTick(): void {
  const response = new Fetch("cluster:keys/now").timeout(3600000).send();
  if (response.ok) keys.set("now", response.text());
}
export function onRequest(req: Request): void {
  const now = keys.get("now");
  req.respond(200, now == null ? "none" : now);
}`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(SOURCE);
});

function start(t: LiveTest, keys: number): Promise<Program> {
  const plugin = "{ wasm: ./keys.wasm, limits: { time: 1h }, allow: { kv: [keys], fetch: ['cluster:keys'] } }";
  return startSluice(
    t,
    (ports) => `plugins:
  keys: ${plugin}
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [keys]
clusters:
  keys: [127.0.0.1:${keys}]
`,
    { files: { "keys.wasm": wasm } },
  );
}

const guests = (sluice: Program): Promise<number> => sluice.metric("sluice_plugin_guests");
const ticks = (sluice: Program): Promise<number> => sluice.metric("sluice_plugin_calls_total", { hook: "tick" });

testInUsualMode("a tick fetches, and requests read the result", async (t) => {
  let asked = 0;
  const keys = await startUpstream(t, (_, response) => response.end(`key ${++asked}`));
  const sluice = await start(t, keys.port);
  const read = async () => (await exchange(t, sluice.port, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")).body.toString();
  const number = async () => Number(/^key (\d+)$/.exec(await read())?.[1] ?? 0);
  for (const key of [2, 4]) await until(async () => (await number()) >= key, `the store has key ${key}`);
  assert.equal(keys.connections, 1, "its connection is kept");
  await sluice.metricIs(0, "sluice_plugin_failures_total");
});

testInUsualMode(
  "a reload cancels a suspended tick: the next version starts its own, and no guest remains",
  async (t) => {
    const silent = await startRawUpstream(t);
    const sluice = await start(t, silent.port);
    const first = await silent.connection(0);
    await first.head();
    // The plugin's two, and the strategy's.
    await until(async () => (await guests(sluice)) === 3, "its tick waits");
    sluice.config(`${sluice.configText}  more: [127.0.0.1:1]\n`);
    assert.equal((await sluice.reload()).status, 200);
    await first.closed;
    const second = await silent.connection(1);
    await second.head();
    await until(async () => (await ticks(sluice)) === 2, "the other one is counted");
    await until(async () => (await guests(sluice)) === 4, "one more for the new strategy");
    sluice.config(sluice.configText.replace("chain: [keys]", "cluster: keys"));
    assert.equal((await sluice.reload()).status, 200);
    await second.closed;
    await until(async () => (await guests(sluice)) === 2, "the plugin's guests are gone");
    await sluice.metricIs(0, "sluice_plugin_failures_total");
  },
);

testInUsualMode("SIGTERM while a tick is suspended ends the program with 0", async (t) => {
  const silent = await startRawUpstream(t);
  const sluice = await start(t, silent.port);
  const peer = await silent.connection(0);
  await peer.head();
  await sluice.stop();
  await peer.closed;
  assert.doesNotMatch(sluice.output, /"level":"(warn|error)"/);
});
