/** canary-rollout-of-a-plugin: it serves a share of requests, and is promoted or rolled back by its measurements. */
import assert from "node:assert/strict";
import { compileSource } from "../contract/plugin-harness.ts";
import { startUpstream } from "./peers.ts";
import {
  type LiveTest,
  type Program,
  runSluice,
  simpleConfig,
  startSluice,
  testInUsualMode,
  until,
} from "./program.ts";

/** Names its version in both heads, and counts with all others. */
const version = (name: string, more = "", before = ""): Promise<Uint8Array> =>
  compileSource(`import { Config, kv, Request, Response, sleep, State } from "sluice/sdk";
    const hits = kv("hits");
    let seen: i32 = 0;
    let guest: i32 = 0; // set by the first guest, and migrated with the state
    ${before}
    export function onRequest(req: Request): void {
      ${more}
      seen++;
      if (guest == 0) guest = <i32>hits.increment("guests");
      req.headers.set("x-guest", guest.toString());
      req.headers.set("x-seen", seen.toString());
      req.headers.set("x-hits", (<i32>hits.increment("all")).toString());
      req.headers.set("x-request-version", "${name}");
    }
    export function onResponse(req: Request, res: Response): void {
      res.headers.set("x-response-version", "${name}");
    }
    export function onSave(state: State): void {
      state.writeI32(seen);
      state.writeI32(guest);
    }
    export function onRestore(state: State): void {
      seen = state.readI32();
      guest = state.readI32();
    }`);

const ROLLOUT = "percent: 20, watch: 1h, minRequests: 100, maxFailures: 1%";

type Rollout = {
  state: string;
  reason: string;
  percent: number;
  endedAt: string | null;
  baseline: { hash: string; requests: number; failures: number; fuel: number; time: number };
  canary: { hash: string; requests: number; failures: number; fuel: number; time: number };
};
type Seen = { status: number; version: string; guest: number; seen: number; hits: number };

class Site {
  readonly sluice: Program;
  readonly configOf: (rollout: string, more?: string) => string;

  constructor(sluice: Program, config: (rollout: string, more?: string) => string) {
    this.sluice = sluice;
    this.configOf = config;
  }

  /** The version that an exchange has had in both of its heads. */
  async ask(): Promise<Seen> {
    const response = await fetch(this.sluice.url);
    const [request, hits, guest, seen] = (await response.text()).split(" ");
    const marked = response.headers.get("x-response-version");
    if (response.status === 200) assert.equal(request, marked, "one exchange sees one version");
    const version = marked ?? "";
    return { status: response.status, version, guest: Number(guest), seen: Number(seen), hits: Number(hits) };
  }

  async askMany(count: number): Promise<Seen[]> {
    const all: Seen[] = [];
    const run = async (): Promise<void> => {
      while (count-- > 0) all.push(await this.ask());
    };
    await Promise.all(Array.from({ length: 8 }, run));
    return all;
  }

  async rollout(): Promise<Rollout | null> {
    const plugins: { name: string; rollout: Rollout | null }[] = JSON.parse(
      (await this.sluice.ask("/api/v1/plugins")).text,
    );
    return plugins.find(({ name }) => name === "p")!.rollout;
  }

  async configure(rollout: string, more = ""): Promise<void> {
    this.sluice.config(this.configOf(rollout, more));
    assert.equal((await this.sluice.reload()).status, 200);
  }

  /** Replaces the file, which starts a rollout. */
  async deploy(wasm: Uint8Array): Promise<void> {
    const before = await this.rollout();
    this.sluice.write("p.wasm", wasm);
    await this.sluice.reload();
    const now = await this.rollout();
    assert.equal(now?.state, "watching");
    assert.notEqual(now.canary.hash, before?.canary.hash);
  }

  ended(state: string): Promise<void> {
    return until(async () => (await this.rollout())?.state === state, `the rollout is ${state}`);
  }
}

async function startSite(t: LiveTest, first: Uint8Array, rollout = ROLLOUT): Promise<Site> {
  const echoed = ["x-request-version", "x-hits", "x-guest", "x-seen"];
  const upstream = await startUpstream(t, ({ headers }, response) =>
    response.end(echoed.map((name) => headers[name]).join(" ")),
  );
  const config = (rules: string, more = "") => {
    const rollout = rules === "" ? "" : `, rollout: { ${rules} }`;
    return (ports: Program["ports"]) =>
      `plugins: { p: { wasm: ./p.wasm, allow: { kv: [hits] }${rollout}${more} } }\n${simpleConfig(upstream.port, { listener: "chain: [p]" })(ports)}`;
  };
  const sluice = await startSluice(t, config(rollout), { files: { "p.wasm": first }, workers: 2 });
  return new Site(sluice, (rules, more) => config(rules, more)(sluice.ports));
}

const count = (all: readonly Seen[], version: string): number => all.filter((one) => one.version === version).length;

const byValue = (a: number, b: number): number => a - b;

/** How many requests each guest had seen at its last one. The kernel selects the worker of a connection. */
function lastSeen(all: readonly Seen[]): Map<number, number> {
  const last = new Map<number, number>();
  for (const { guest, seen } of all) last.set(guest, Math.max(seen, last.get(guest) ?? 0));
  return last;
}

testInUsualMode("a new version receives its share, one version for an exchange, and is promoted", async (t) => {
  const site = await startSite(t, await version("v1"));
  const { sluice } = site;
  assert.equal(await site.rollout(), null, "the first version serves at once");
  const before = await site.askMany(40);
  assert.equal(count(before, "v1"), 40);

  await site.deploy(await version("v2"));
  const watched = await site.askMany(1000);
  assert.ok(watched.every(({ status }) => status === 200));
  const canaries = count(watched, "v2");
  // 200 expected, with a deviation of 12.6: seven of them.
  assert.ok(Math.abs(canaries - 200) < 90, `${canaries} of 1000`);
  assert.equal(count(watched, "v1"), 1000 - canaries);
  const figures = (await site.rollout())!;
  assert.deepEqual([figures.baseline.requests, figures.canary.requests], [1000 - canaries, canaries]);
  assert.deepEqual([figures.percent, figures.baseline.failures, figures.canary.failures], [20, 0, 0]);
  assert.ok(
    figures.baseline.fuel > 0 && figures.canary.fuel > 0 && figures.baseline.time > 0 && figures.canary.time > 0,
  );
  await sluice.metricIs(20, "sluice_plugin_rollout_percent", { plugin: "p" });
  await sluice.metricIs(canaries, "sluice_plugin_rollout_requests", { plugin: "p", version: "canary" });
  const hits = new Set(watched.map((one) => one.hits));
  assert.deepEqual([hits.size, Math.max(...hits)], [1000, 1040], "both count in the same store");
  const { stdout } = await runSluice("status", "-c", `${sluice.directory}/sluice.yaml`);
  assert.match(
    stdout,
    /plugin p: canary version [0-9a-f]{12} watching, 20% of the requests: minimum duration 3600000 ms/,
  );

  // A reload keeps the rollout, which already has enough requests.
  await site.configure("percent: 20, watch: 1s, minRequests: 100, maxFailures: 1%");
  await site.ended("promoted");
  const after = await site.askMany(40);
  assert.equal(count(after, "v2"), 40);
  for (const [guest, last] of lastSeen(watched.filter((one) => one.version === "v2"))) {
    const counts = after.filter((one) => one.guest === guest).map(({ seen }) => seen);
    const expected = counts.map((_, i) => last + 1 + i);
    assert.deepEqual(counts.sort(byValue), expected, "each guest counts on from what it has seen itself");
  }
  await sluice.logged((line) => /^plugin p: canary rollout started with 20% /.test(line.msg ?? ""), "its begin");
  const line = await sluice.logged((line) => /^plugin p: canary version promoted/.test(line.msg ?? ""), "its end");
  const { stdout: ended } = await runSluice("status", "-c", `${sluice.directory}/sluice.yaml`);
  assert.match(ended, /plugin p: canary version [0-9a-f]{12} promoted: it failed on 0 of/);
  assert.match(JSON.stringify(line), /"canary":\{"hash":"[0-9a-f]{12}","requests":\d+,"failures":0,"fuel":\d+,"time":/);
  await sluice.metricIs(1, "sluice_plugin_rollouts_total", { plugin: "p", result: "promoted" });
  await sluice.metricIs(0, "sluice_plugin_failures_total");
});

testInUsualMode("a failing version is rolled back, and not started again until its file changes", async (t) => {
  const site = await startSite(t, await version("v1"));
  const { sluice } = site;
  await site.deploy(await version("bad", 'throw new Error("a bad version");'));
  const good = site.sluice.configText;
  // An invalid configuration does not prevent the rollback.
  sluice.config("nonsense: true\n");
  let asked = 0;
  let failed = 0;
  for (; (await site.rollout())!.state === "watching"; asked += 50)
    failed += (await site.askMany(50)).filter(({ status }) => status === 500).length;
  assert.ok(failed > 1, "or nothing was wrong with it");
  assert.ok(failed < asked * 0.2 + 7 * Math.sqrt(asked * 0.2 * 0.8), `${failed} of ${asked}, more than its share`);
  const { state, reason, endedAt } = (await site.rollout())!;
  assert.equal(state, "rolled back");
  assert.match(reason, /^it failed on \d+ of \d+ requests, allowed are 1$|^it was quarantined$/);
  assert.notEqual(endedAt, null);
  assert.equal(count(await site.askMany(100), "v1"), 100);
  const line = await sluice.logged((line) => /^plugin p: canary version rolled back/.test(line.msg ?? ""), "why");
  assert.match(JSON.stringify(line), /a bad version/);

  sluice.config(good);
  await sluice.reload();
  assert.equal((await site.rollout())!.state, "rolled back");
  assert.equal(count(await site.askMany(50), "v1"), 50);
  await site.configure("percent: 50, watch: 1s, minRequests: 20");
  await site.deploy(await version("v3"));
  assert.equal((await site.askMany(100)).filter(({ status }) => status !== 200).length, 0);
  await site.ended("promoted");
  assert.equal(count(await site.askMany(20), "v3"), 20);
});

testInUsualMode(
  "a newer file ends a rollout in favour of the baseline; without rollout it serves at once",
  async (t) => {
    const site = await startSite(t, await version("v1"), "percent: 100, watch: 1h");
    await site.deploy(await version("v2"));
    assert.equal(count(await site.askMany(20), "v2"), 20);
    await site.configure("percent: 20, watch: 1h");
    await site.deploy(await version("v3"));
    const all = await site.askMany(200);
    assert.deepEqual([count(all, "v2"), all.length], [0, 200]);
    assert.ok(count(all, "v1") > 100 && count(all, "v3") > 0);
    await site.sluice.logged(
      (line) => /canary rollout ended: the file has a newer version/.test(line.msg ?? ""),
      "its end",
    );
    await site.configure("");
    assert.equal(count(await site.askMany(20), "v3"), 20);
    assert.equal((await site.rollout())!.state, "ended");
  },
);

testInUsualMode("a version that uses more fuel or time than the baseline is rolled back", async (t) => {
  const site = await startSite(t, await version("v1"), "percent: 50, watch: 1s, minRequests: 10");
  const dear = "for (let i = 0; i < 20000; i++) seen ^= i;";
  for (const [name, body, why] of [
    ["dear", dear, /^a request takes \S+ fuel with it, \S+ fuel with the baseline$/],
    ["slow", "sleep(20);", /^a request takes \S+ ms with it, \S+ ms with the baseline$/],
  ] as const) {
    await site.deploy(await version(name, body));
    assert.ok((await site.askMany(60)).every(({ status }) => status === 200));
    await site.ended("rolled back");
    assert.match((await site.rollout())!.reason, why);
    assert.equal(count(await site.askMany(20), "v1"), 20);
  }
});

testInUsualMode("an invalid version is rejected at once, and the rollout continues", async (t) => {
  const picky = 'if (Config.string("mode", "") == "new") throw new Error("unknown mode");';
  const site = await startSite(t, await version("v1", "", picky));
  const { sluice } = site;
  const two = await version("v2");
  await site.deploy(two);
  for (const [wasm, problem] of [
    [
      await compileSource(
        'import { Cluster, Request } from "sluice/sdk"; export function route(req: Request): Cluster | null { return null; }',
      ),
      /p is not a filter/,
    ],
    [await version("v3", "", 'throw new Error("cannot start");'), /cannot start/],
    [Buffer.from("no module"), /p\.wasm/],
  ] as const) {
    sluice.write("p.wasm", wasm);
    const { status, text } = await sluice.reload();
    assert.equal(status, 422, text);
    assert.match(text, problem);
    assert.equal((await site.rollout())!.state, "watching");
  }
  sluice.write("p.wasm", two);
  assert.equal(JSON.parse((await sluice.reload()).text).result, "unchanged");
  // Both versions must accept a configuration.
  sluice.config(site.configOf(ROLLOUT, ", config: { mode: new }"));
  const { status, text } = await sluice.reload();
  assert.equal(status, 422, text);
  assert.match(text, /unknown mode.*reported by the baseline, which stays in service/s);
  await site.configure("", ", config: { mode: new }");
  assert.equal(count(await site.askMany(20), "v2"), 20);
});
