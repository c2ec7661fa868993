/** state-survives-reload: a new version restores what the old one saved; ticks run on every worker. */
import assert from "node:assert/strict";
import { compileSource } from "../contract/plugin-harness.ts";
import { startUpstream } from "./peers.ts";
import { simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

/** Counts requests and ticks in globals, and responds with both. */
const counter = (version: number, broken = ""): Promise<Uint8Array> =>
  compileSource(`import { Request, State, tickEvery } from "sluice/sdk";
    tickEvery(50);
    let requests: i64 = 0;
    let ticks: i32 = 0;
    let from = new StaticArray<i32>(1);
    export function onRequest(req: Request): void {
      requests++;
      req.respond(200, "v${version} " + requests.toString() + " " + ticks.toString() + " " + from[0].toString());
    }
    export function onTick(): void {
      ticks++;
    }
    export function onSave(state: State): void {
      ${broken}
      state.writeI32(${version});
      state.writeI64(requests);
      state.writeText("grüße");
    }
    export function onRestore(state: State): void {
      from[0] = state.readI32();
      requests = state.readI64();
      if (state.readText() != "grüße" || state.left != 0) throw new Error("not what was saved");
    }`);

type Counts = { version: string; requests: number; ticks: number; from: number };

testInUsualMode("a counter in a guest's globals survives a reload; a failing save loses only that", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    (ports) =>
      `plugins: { counter: { wasm: ./counter.wasm } }\n${simpleConfig(upstream.port, { listener: "chain: [counter]" })(ports)}`,
    { files: { "counter.wasm": await counter(1) } },
  );
  const ask = async (): Promise<Counts> => {
    const response = await fetch(sluice.url);
    const [version = "", requests, ticks, from] = (await response.text()).split(" ");
    assert.equal(response.status, 200);
    return { version, requests: Number(requests), ticks: Number(ticks), from: Number(from) };
  };
  let asked = 0;
  const next = async (version: string): Promise<Counts> => {
    let response: Counts;
    do {
      response = await ask();
      asked++;
    } while (response.version !== version);
    return response;
  };
  for (let i = 0; i < 5; i++) await next("v1");
  sluice.write("counter.wasm", await counter(2));
  const second = await next("v2");
  assert.deepEqual([second.requests, second.from], [asked, 1]);

  sluice.write("counter.wasm", await counter(3, 'throw new Error("cannot save");'));
  assert.deepEqual([(await next("v3")).requests, asked > 0], [asked, true]);
  sluice.write("counter.wasm", await counter(4));
  const fourth = await next("v4");
  assert.deepEqual([fourth.requests, fourth.from], [1, 0]);
  await sluice.metricIs(1, "sluice_plugin_failures_total", { plugin: "counter", hook: "save" });
  await sluice.logged(
    (line) => /^plugin counter failed in save: cannot save/.test(line.msg ?? ""),
    "why it starts afresh",
  );
  await until(async () => (await ask()).ticks > 2, "it ticks");
});

testInUsualMode("tick is called on every worker, and a failing tick fails no request", async (t) => {
  const upstream = await startUpstream(t);
  const wasm = await compileSource(`import { log, tickEvery } from "sluice/sdk";
    tickEvery(100);
    let ticks: i32 = 0;
    export function onTick(): void {
      if (++ticks == 2) log.info("second tick");
      if (ticks == 3) throw new Error("third tick");
    }`);
  const sluice = await startSluice(
    t,
    (ports) =>
      `plugins: { ticker: { wasm: ./t.wasm } }\n${simpleConfig(upstream.port, { listener: "chain: [ticker]" })(ports)}`,
    { files: { "t.wasm": wasm }, workers: 2 },
  );
  const workersOf = (message: RegExp) =>
    new Set(sluice.lines.filter(({ msg }) => message.test(msg ?? "")).map(({ worker }) => worker));
  await until(() => workersOf(/^second tick$/).size === 2, "both workers tick");
  await until(() => workersOf(/failed in tick: third tick/).size === 2, "both have failed once");
  assert.equal((await fetch(sluice.url)).status, 200);
  await until(
    async () => (await sluice.metric("sluice_plugin_failures_total", { plugin: "ticker", hook: "tick" })) >= 4,
    "a new guest ticks on",
  );
});
