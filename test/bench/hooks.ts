/**
 * What one call of a hook costs, in this process, through the plugin host as a data thread uses it: metered guest,
 * counters, host calls. The head is scanned anew before each call, and the time of the scan alone is taken off.
 */
import { join } from "node:path";
import { EndpointColumns } from "../../src/balance/columns.ts";
import { Endpoint } from "../../src/balance/endpoint.ts";
import { EndpointView } from "../../src/balance/endpoint-view.ts";
import { compile, formatProblem } from "../../src/cli/compile.ts";
import { scanRequest, scanResponse } from "../../src/http/scan.ts";
import { BLOCK_CELLS } from "../../src/observe/series.ts";
import { HOOK } from "../../src/plugin/abi.ts";
import { buildModule } from "../../src/plugin/build.ts";
import { type Instance, PluginHost } from "../../src/plugin/host.ts";
import { Exchange } from "../../src/proxy/exchange.ts";
import type { Options } from "./options.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import { renderTable } from "./table.ts";

const ROOT = join(import.meta.dirname, "../..");
const MEMORY = 16 * 1024 * 1024;
const BATCH = 20_000;
const WARM_UP = 10;
const BATCHES = 41;
const LIMITS = { head: 32 * 1024, target: 16 * 1024, headers: 100 };

const REQUEST = Buffer.from(
  `GET /cart/items?page=2 HTTP/1.1
host: shop.example.com
user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
accept-language: en-US,en;q=0.5
accept-encoding: gzip, deflate, br
cookie: session=8f14e45fceea167a5a36dedd4bea2543
x-beta: 1

`.replaceAll("\n", "\r\n"),
);
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK
server: nginx
date: Fri, 20 Nov 2026 22:00:00 GMT
content-type: text/plain
content-length: 30
connection: keep-alive
x-powered-by: upstream

`.replaceAll("\n", "\r\n"),
);

type Bench = { readonly name: string; readonly call: () => void; readonly base: () => void };

export async function runHooks(_: unknown, options: Options): Promise<string> {
  const lines: string[][] = [];
  const batches = Math.min(BATCHES, options.turns * 6);
  for (const bench of await makeBenches()) {
    const { low, median, high } = timeBench(bench, batches);
    lines.push([bench.name, median.toFixed(0), `${low.toFixed(0)} – ${high.toFixed(0)}`]);
  }
  const table = renderTable(["hook", "ns a call", "quartiles"], lines);
  return `${table}\n\n${batches} batches of ${BATCH} calls; a request head of ${REQUEST.length} bytes, 7 fields.`;
}

function timeBench({ call, base }: Bench, batches: number): Spread {
  for (let i = 0; i < WARM_UP; i++) {
    timeBatch(call);
    timeBatch(base);
  }
  return spreadOf(Array.from({ length: batches }, () => timeBatch(call) - timeBatch(base)));
}

/** ns a call. */
function timeBatch(call: () => void): number {
  const start = process.hrtime.bigint();
  for (let i = 0; i < BATCH; i++) call();
  return Number(process.hrtime.bigint() - start) / BATCH;
}

async function makeBenches(): Promise<Bench[]> {
  const instances = await startPlugins({
    noop: "test/bench/plugins/noop.ts",
    choose: "test/bench/plugins/choose.ts",
    edit: "test/bench/plugins/edit.ts",
    "round-robin": "plugins/round-robin.ts",
  });
  const x = new Exchange();
  x.id = 1;
  const request = (): void => void scanRequest(REQUEST, 0, REQUEST.length, x.request, LIMITS);
  const response = (): void => void scanResponse(RESPONSE, 0, RESPONSE.length, x.response, false);
  const head = (plugin: string, hook: "request_head" | "response_head" | "route", what: string): Bench => {
    const instance = instances.get(plugin)!;
    const base = hook === "response_head" ? response : request;
    const call = (): void => {
      base();
      expectContinue(instance.call(HOOK[hook], x), plugin);
    };
    return { name: `${hook}: ${what}`, call, base };
  };
  request();
  response();
  return [
    head("noop", "request_head", "nothing"),
    head("noop", "response_head", "nothing"),
    head("choose", "route", "read one header, choose a cluster"),
    head("edit", "request_head", "set one header"),
    head("edit", "response_head", "remove one header"),
    ...[3, 100, 1000].map((count) => pickBench(instances.get("round-robin")!, x, count)),
  ];
}

function pickBench(strategy: Instance, x: Exchange, count: number): Bench {
  const view = new EndpointView(EndpointColumns.allocate(1));
  for (let slot = 0; slot < count; slot++) {
    const place = { host: "127.0.0.1", port: slot + 1, path: "", zone: "" };
    view.push(new Endpoint({ ...place, address: `127.0.0.1:${slot + 1}`, weight: 1, slot, cells: 0 }));
  }
  let told = false;
  const call = (): void => {
    // An instance is told its endpoints when its bench begins: the last one told is the one that counts.
    if (!told) told = strategy.update(view);
    if (strategy.pick(x, view) < 0) throw new Error(`round-robin picked none of ${count}`);
  };
  return { name: `pick: round robin over ${count}`, call, base: () => {} };
}

function expectContinue(outcome: number, plugin: string): void {
  if (outcome !== 0) throw new Error(`${plugin} answered ${outcome}, not 0`);
}

async function startPlugins(files: Readonly<Record<string, string>>): Promise<Map<string, Instance>> {
  const names = Object.keys(files);
  const modules = await Promise.all(
    Object.values(files).map(async (file) => buildModule(await readPlugin(file), { memory: MEMORY })),
  );
  const plans = names.map((plugin, module) => ({
    ...{ key: plugin, plugin, module, config: null, onFailure: "reject" as const },
    ...{
      fuel: 1_000_000,
      body: 1_048_576,
      tooLarge: "reject" as const,
      time: 5000,
      guests: 16,
      fetch: [],
      memory: MEMORY,
      clusters: null,
      hidden: [],
      cluster: "",
      metrics: null,
      shares: [],
      namespaces: [],
      cells: module * 1024,
    },
  }));
  const report = (level: string, message: string): void => console.error(`${level}: ${message}`);
  const host = new PluginHost({ cells: new Float64Array(BLOCK_CELLS), report });
  const parts = { modules, instances: plans, clusters: ["app", "canary"], strategies: ["round-robin"] };
  const { instances } = host.prepare(parts);
  return new Map(names.map((name, index) => [name, instances[index]!]));
}

async function readPlugin(file: string): Promise<Uint8Array> {
  const compiled = await compile(join(ROOT, file));
  if (compiled.problems !== null) throw new Error(compiled.problems.map(formatProblem).join("\n"));
  return compiled.wasm;
}
