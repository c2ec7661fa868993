/** Runs plugins in the real host, as a worker does, without sockets. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { FUEL, HOOK } from "../../src/abi/abi.ts";
import { EndpointColumns } from "../../src/cluster/columns.ts";
import { Endpoint } from "../../src/cluster/endpoint.ts";
import { EndpointView } from "../../src/cluster/endpoint-view.ts";
import type { Runtime } from "../../src/compiler/compile.ts";
import type { BuildReport } from "../../src/compiler/compiler-process.ts";
import { scanRequest, scanResponse } from "../../src/http1/scan.ts";
import { PLUGIN_CELLS } from "../../src/observe/series.ts";
import type { HookNames } from "../../src/plugin/abi/abi.ts";
import type { Instance } from "../../src/plugin/host/instance.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import { Exchange } from "../../src/proxy/exchange.ts";
import { DEFAULT_MEMORY, loadPlugin } from "../../src/testing/load.ts";
import { buildAt, compilerSocket } from "../support/compiler.ts";
import { cached } from "../support/fixture-cache.ts";

const ROOT = join(import.meta.dirname, "../..");

type Order = { readonly source: string; readonly wasm: string; readonly runtime?: Runtime };

export type LoadOptions = {
  /** One configuration for each instance. */
  readonly configs?: readonly unknown[];
  readonly clusters?: readonly string[];
  readonly allowed?: readonly string[];
  readonly strategies?: readonly string[];
  readonly fuel?: number;
  readonly memory?: number;
  readonly namespaces?: readonly string[];
  /** Names of headers that the plugin does not see. */
  readonly hidden?: readonly string[];
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** The functions of an Extism module that are hooks. */
  readonly hooks?: HookNames;
};

export type Loaded = {
  readonly instances: readonly Instance[];
  /** What the host reported: failures, and lines of the plugin's log. */
  readonly reports: string[];
  dispose(): void;
};

/** The bytes of a built-in, made by `scripts/build-plugins.ts`. */
export function builtIn(name: string): Uint8Array {
  return readFileSync(join(ROOT, "plugins", `${name}.wasm`));
}

/** Compiles a plugin's source; throws the compiler's messages, a line each. */
export function compileSource(source: string, runtime?: Runtime): Promise<Uint8Array> {
  return cached(`${runtime ?? ""}\0${source}`, () => compileFiles({ "plugin.ts": source }, runtime));
}

/** Compiles `plugin.ts` of the files; throws the compiler's messages, a line each, with the names of `files`. */
export async function compileFiles(
  files: Readonly<Record<string, string>> & { readonly "plugin.ts": string },
  runtime?: Runtime,
): Promise<Uint8Array> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-plugin-"));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    const paths = { source: join(directory, "plugin.ts"), wasm: join(directory, "plugin.wasm") };
    const order = runtime === undefined ? paths : { ...paths, runtime };
    const { problems } = compilerSocket === undefined ? await buildHere(order) : await buildAt(compilerSocket, order);
    if (problems.length > 0)
      throw new Error(problems.map((problem) => problem.split(`${basename(directory)}/`).pop()).join("\n"));
    return readFileSync(paths.wasm);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function buildHere({ source, wasm, runtime }: Order): Promise<Pick<BuildReport, "problems">> {
  // Loaded here alone: most files that use this module find the run's compiler, or compile nothing.
  const { compile, formatProblem, writeModule } = await import("../../src/compiler/compile.ts");
  const compiled = await compile(source, { out: wasm, runtime });
  if (compiled.problems) return { problems: compiled.problems.map(formatProblem) };
  await writeModule(compiled, wasm);
  return { problems: [] };
}

/** @throws if the plugin does not start. */
export function load(wasm: Uint8Array, options: LoadOptions = {}): Loaded {
  const {
    configs,
    clusters,
    allowed = null,
    strategies,
    fuel = FUEL.default,
    memory = DEFAULT_MEMORY,
    namespaces,
    hidden = [],
    now,
    hooks,
  } = options;
  const reports: string[] = [];
  const { set } = loadPlugin(buildModule(wasm, hooks === undefined ? { memory } : { memory, hooks }), {
    cells: new Float64Array(PLUGIN_CELLS.size),
    report: (level, message) => void reports.push(`${level}: ${message}`),
    configs,
    clusters,
    strategies,
    namespaces,
    now,
    settings: { fuel, memory, clusters: allowed, hidden },
  });
  return { instances: set.instances, reports, dispose: () => set.dispose() };
}

let lastId = 0;

/** An exchange whose request (and response) was received as this text, with `\n` for the ends of lines. */
export function exchange(request: string, response?: string): Exchange {
  const made = new Exchange();
  made.id = ++lastId;
  made.clientAddress = "192.0.2.1";
  made.startedAt = performance.now();
  fill(request, (bytes) =>
    scanRequest(bytes, 0, bytes.length, made.request, { head: 65536, target: 65536, headers: 200 }),
  );
  made.keepOriginal();
  if (response !== undefined) fill(response, (bytes) => scanResponse(bytes, 0, bytes.length, made.response, false));
  return made;
}

function fill(text: string, scan: (bytes: Buffer) => number): void {
  const bytes = Buffer.from(`${text.trim().replaceAll("\n", "\r\n")}\r\n\r\n`, "latin1");
  const end = scan(bytes);
  if (end !== bytes.length) throw new Error(`the head was not taken (${end} of ${bytes.length}): ${text}`);
}

/** Calls a head hook on the only instance. */
export function call(loaded: Loaded, hook: keyof typeof HOOK, on: Exchange): number {
  return loaded.instances[0]!.call(HOOK[hook], on);
}

export type EndpointText = { readonly address: string; readonly weight?: number; readonly slot?: number };

/** A set of endpoints as a cluster has it, with in-flight counts that tests can set. */
export class Endpoints {
  readonly columns = EndpointColumns.allocate(1);
  readonly all: Endpoint[];

  constructor(list: readonly EndpointText[]) {
    this.all = list.map(
      ({ address, weight = 1, slot }, i) =>
        new Endpoint({ address, host: "", port: 0, path: "", weight, zone: "", slot: slot ?? i + 100, cells: 0 }),
    );
  }

  static ofWeights(weights: readonly number[]): Endpoints {
    return new Endpoints(weights.map((weight, i) => ({ address: `10.0.0.${i}:80`, weight })));
  }

  view(list: readonly Endpoint[] = this.all): EndpointView {
    const view = new EndpointView(this.columns);
    for (const endpoint of list) view.push(endpoint);
    return view;
  }

  setInFlight(index: number, count: number): void {
    const { slot } = this.all[index]!;
    this.columns.addInFlight(0, slot, count - this.columns.inFlight(slot));
  }
}
