/** Shared by the tests of plugins: modules from text, and a simulated environment of the host. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import wabt from "wabt";
import { FAILURE, type Failure, HOOK, type Hook } from "../../../src/abi/abi.ts";
import { EndpointColumns } from "../../../src/cluster/columns.ts";
import { Endpoint } from "../../../src/cluster/endpoint.ts";
import { EndpointView } from "../../../src/cluster/endpoint-view.ts";
import { nameId } from "../../../src/http/fields.ts";
import type { Head } from "../../../src/http/head.ts";
import { PART } from "../../../src/http/head.ts";
import { PLUGIN_CELLS } from "../../../src/observe/series.ts";
import type { HookContext } from "../../../src/plugin/host/hook-context.ts";
import { type InstanceSet, PluginHost } from "../../../src/plugin/host/host.ts";
import type { Instance } from "../../../src/plugin/host/instance.ts";
import type { InstancePlan, RolloutPlan } from "../../../src/plugin/host/plan.ts";
import type { PluginEvent } from "../../../src/plugin/host/report.ts";
import { buildModule, type ModulePlan } from "../../../src/plugin/wasm/build.ts";
import { makeMemory, withMemory } from "../../../src/plugin/wasm/linear-memory.ts";
import type { Metered } from "../../../src/plugin/wasm/meter.ts";
import { Exchange } from "../../../src/proxy/exchange.ts";

const tool = await wabt();
const FEATURES = { exceptions: true, threads: true, memory64: true, multi_memory: true, tail_call: true };

export const MEMORY = 16 * 1024 * 1024;

export function compileWat(text: string): Uint8Array {
  const module = tool.parseWat("test.wat", text, FEATURES);
  try {
    return module.toBinary({ write_debug_names: true }).buffer;
  } finally {
    module.destroy();
  }
}

/** Instantiates a module: plain bytes, or a metered one with its memory. */
export function instantiate(code: Uint8Array | Metered, imports: WebAssembly.Imports = {}): WebAssembly.Exports {
  const isPlain = code instanceof Uint8Array;
  const module = new WebAssembly.Module(new Uint8Array(isPlain ? code : code.bytes));
  return new WebAssembly.Instance(module, isPlain ? imports : withMemory(imports, makeMemory(code.pages))).exports;
}

export function readFixture(name: string): Uint8Array {
  return compileWat(readFileSync(join(import.meta.dirname, "../../fixtures", `${name}.wat`), "utf8"));
}

export function buildFixture(name: string, memory = MEMORY): ModulePlan {
  return buildModule(readFixture(name), { memory });
}

export function addField(head: Head, name: string, value: string): void {
  const bytes = Buffer.from(name, "latin1");
  head.add(bytes, Buffer.from(value, "latin1"), nameId(bytes, 0, bytes.length));
}

export function setPart(head: Head, part: number, text: string): void {
  const bytes = Buffer.from(text, "latin1");
  head.setPart(part, bytes, 0, bytes.length);
}

export function fieldsOf(head: Head): string[] {
  const fields: string[] = [];
  for (let at = 0; at < head.count * 5; at += 5) {
    if (head.fields[at + 4] === 255) continue;
    fields.push(
      `${head.text(head.fields[at]!, head.fields[at + 1]!)}: ${head.text(head.fields[at + 2]!, head.fields[at + 3]!)}`,
    );
  }
  return fields;
}

/** GET /path?a=1 of example.com with a few headers, and a response to it. */
export function makeExchange(): Exchange {
  const exchange = new Exchange();
  exchange.id = 7;
  exchange.caller = { resume: (hook, exchange, outcome) => void resumed.push({ hook, exchange, outcome }) };
  exchange.clientAddress = "192.0.2.1";
  exchange.listenerName = "web";
  setPart(exchange.request, PART.method, "GET");
  setPart(exchange.request, PART.authority, "example.com");
  setPart(exchange.request, PART.path, "/path");
  setPart(exchange.request, PART.query, "a=1");
  exchange.keepOriginal();
  for (const [name, value] of [
    ["Host", "example.com"],
    ["X-A", "one"],
    ["Accept", "*/*"],
    ["x-a", "two"],
    ["Connection", "keep-alive"],
    ["X-Forwarded_For", "evil"],
  ] as const)
    addField(exchange.request, name, value);
  exchange.response.status = 200;
  addField(exchange.response, "Server", "test");
  addField(exchange.response, "X-A", "three");
  addField(exchange.response, "Content-Length", "5");
  return exchange;
}

export function makeView(count: number): EndpointView {
  const view = new EndpointView(EndpointColumns.allocate(1));
  for (let slot = 0; slot < count; slot++) {
    const address = `127.0.0.1:${9000 + slot}`;
    const plan = {
      address,
      host: "127.0.0.1",
      port: 9000 + slot,
      path: "",
      weight: slot + 1,
      zone: "b",
      slot,
      cells: 0,
    };
    view.push(new Endpoint(plan));
  }
  return view;
}

export function planOf(more: Partial<InstancePlan> = {}): InstancePlan {
  const base = { key: "k", plugin: "test", module: 0, config: {}, onFailure: "reject", fuel: 1_000_000 } as const;
  return {
    ...base,
    time: 5000,
    guests: 4,
    slow: 1,
    fetch: [],
    body: 65_536,
    tooLarge: "reject",
    memory: MEMORY,
    clusters: null,
    hidden: [],
    cluster: "",
    metrics: null,
    shares: [],
    namespaces: [],
    cells: 0,
    ...more,
  };
}

export type Line = { level: string; message: string; fields: Record<string, unknown> };

type Resumed = { readonly hook: number; readonly exchange: HookContext; readonly outcome: number };

let resumed: Resumed[] = [];

/** A host with its counters and log in the open. */
export class TestHost {
  readonly cells = new Float64Array(4 * PLUGIN_CELLS.size);
  readonly lines: Line[] = [];
  readonly changes: PluginEvent[] = [];
  /** How suspended calls for exchanges of `makeExchange` completed, since this host was made. */
  readonly resumed = (resumed = []) as Resumed[];
  time = 1_000_000;
  readonly host = new PluginHost({
    cells: this.cells,
    report: (level, message, fields) => this.lines.push({ level, message, fields }),
    notify: (changes) => this.changes.push(changes),
    now: () => this.time,
  });

  prepare(
    modules: readonly ModulePlan[],
    instances: readonly InstancePlan[],
    more: { clusters?: readonly string[]; strategies?: readonly string[]; rollouts?: readonly RolloutPlan[] } = {},
  ): InstanceSet {
    const { clusters = ["app", "canary"], strategies = ["round-robin"], rollouts = [] } = more;
    return this.host.prepare({ modules, instances, rollouts, clusters, strategies });
  }

  /** The only instance of a fixture. */
  load(fixture: string, more: Partial<InstancePlan> = {}): Instance {
    return this.prepare([buildFixture(fixture, more.memory)], [planOf(more)]).instances[0]!;
  }

  calls(hook: Hook, cells = 0): number {
    return this.cells[cells + PLUGIN_CELLS.calls + HOOK[hook]]!;
  }

  fuel(hook: Hook, cells = 0): number {
    return this.cells[cells + PLUGIN_CELLS.fuel + HOOK[hook]]!;
  }

  refused(hook: Hook, cells = 0): number {
    return this.cells[cells + PLUGIN_CELLS.refused + HOOK[hook]]!;
  }

  failures(hook: Hook, reason: Failure, cells = 0): number {
    return this.cells[cells + PLUGIN_CELLS.failures + HOOK[hook] * 12 + FAILURE.indexOf(reason)]!;
  }
}
