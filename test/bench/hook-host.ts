/** The plugin host of a worker without the thread: plugins of the bench in it, with all that they may have. */
import { join } from "node:path";
import { LIMIT, METRIC } from "../../src/abi/abi.ts";
import { compile, formatProblem } from "../../src/compiler/compile.ts";
import { Head } from "../../src/http/head.ts";
import { scanResponse } from "../../src/http1/scan.ts";
import { BLOCK_CELLS } from "../../src/observe/series.ts";
import type { Fetcher } from "../../src/plugin/host/fetcher.ts";
import type { HookCaller } from "../../src/plugin/host/hook-context.ts";
import { PluginHost } from "../../src/plugin/host/host.ts";
import type { InstancePlan } from "../../src/plugin/host/plan.ts";
import type { PluginInstance } from "../../src/plugin/host/plugin-instance.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import { KeyValueStore } from "../../src/state/store.ts";

const ROOT = join(import.meta.dirname, "../..");
const MEMORY = 16 * 1024 * 1024;
/** Cells for each plugin: its counters, then those of the metric that `calls` defines. */
const CELLS = 1024;
const METRIC_AT = 512;

/** One instance: the plugin's file, its configuration, and what else its plan says. */
export type Use = { readonly file: string } & Partial<Pick<InstancePlan, "config" | "hidden">>;

export type HookHost = HookCaller & {
  readonly instances: ReadonlyMap<string, PluginInstance>;
  /** Runs when a suspended call has completed. */
  onResume: (outcome: number) => void;
};

/** @throws when a plugin cannot be compiled or started. */
export async function startHookHost(uses: Readonly<Record<string, Use>>): Promise<HookHost> {
  const names = Object.keys(uses);
  const files = [...new Set(Object.values(uses).map(({ file }) => file))];
  const modules = await Promise.all(files.map(async (file) => buildModule(await readPlugin(file), { memory: MEMORY })));
  const plans = names.map((name, index) => planOf(uses[name]!, files.indexOf(uses[name]!.file), name, index * CELLS));
  const report = (level: string, message: string): void => console.error(`${level}: ${message}`);
  const wall = Date.now();
  // Each look at this clock is a day later: a tick is always due.
  let time = 0;
  const host = new PluginHost({
    cells: new Float64Array(BLOCK_CELLS),
    report,
    keyValue: new KeyValueStore(KeyValueStore.allocate(MEMORY), 0),
    now: () => wall,
    monotonic: () => (time += LIMIT.longestTick),
  });
  const lists = { clusters: ["app", "canary"], strategies: ["round-robin"], fetcher: makeFetcher() };
  const set = host.prepare({ modules, instances: plans, ...lists });
  set.commit();
  const instances = new Map(names.map((name, index) => [name, set.instances[index]!]));
  const started: HookHost = {
    instances,
    onResume: () => {},
    resume: (_hook, _context, outcome) => started.onResume(outcome),
  };
  return started;
}

function planOf({ config = null, hidden = [] }: Use, module: number, plugin: string, cells: number): InstancePlan {
  const metric = { kind: METRIC.counter, name: "bench_total", help: "", labels: [], buckets: [] };
  return {
    ...{ key: plugin, plugin, module, config, hidden, cells, onFailure: "reject", fuel: 1_000_000, memory: MEMORY },
    ...{ body: 1_048_576, tooLarge: "reject", time: 5000, guests: 16, slow: 0.01, fetch: ["cluster:app"] },
    ...{ clusters: null, cluster: "", metrics: [{ ...metric, cells: cells + METRIC_AT }], shares: ["tenant"] },
    namespaces: [{ name: "bench", number: 0 }],
  };
}

/** Responds in the same turn, so that only the guest's suspension is measured. */
function makeFetcher(): Fetcher {
  const head = new Head();
  const text = Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  scanResponse(text, 0, text.length, head, false);
  const response = { head, body: Buffer.alloc(0) };
  return {
    probe: () => () => undefined,
    send: (_request, tell) => {
      queueMicrotask(() => tell(response));
      return () => undefined;
    },
  };
}

async function readPlugin(file: string): Promise<Uint8Array> {
  const compiled = await compile(join(ROOT, file));
  if (compiled.problems !== null) throw new Error(compiled.problems.map(formatProblem).join("\n"));
  return compiled.wasm;
}
