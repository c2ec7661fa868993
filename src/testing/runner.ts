/** Calls the hooks of a plugin under test, measures each call, and throws its failure. */
import type { Cost, FetchResponse, PluginOptions, RequestResult } from "../../sdk/test.js";
import { FUEL, HOOK, type Hook, SUSPENDABLE_HOOKS } from "../abi/abi.ts";
import type { MetricPlan } from "../observe/plugin-metrics.ts";
import { PLUGIN_CELLS } from "../observe/series.ts";
import type { Guest } from "../plugin/host/guest.ts";
import type { HookCaller, HookContext } from "../plugin/host/hook-context.ts";
import { type InstanceSet, OUTCOME, type PluginHost } from "../plugin/host/host.ts";
import type { PluginInstance } from "../plugin/host/plugin-instance.ts";
import type { Report } from "../plugin/host/report.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import { KeyValueStore } from "../state/store.ts";
import { TestFetcher } from "./fetches.ts";
import { memoryOf, timeOf } from "./limits.ts";
import { loadPlugin, STORE_SIZE } from "./load.ts";
import { placeMetrics } from "./metrics.ts";
import { TestTime } from "./time.ts";

export class PluginFailure extends Error {
  override readonly name = "PluginFailure";
  readonly hook: string;
  readonly reason: string;
  readonly frames: string;

  constructor(message: string, { hook, reason, frames }: { hook: string; reason: string; frames: string }) {
    super(message);
    this.hook = hook;
    this.reason = reason;
    this.frames = frames;
    const [, ...own] = (this.stack ?? "").split("\n");
    const lines = frames === "" ? [] : frames.split("\n").map((line) => `    at ${line}`);
    this.stack = [`${this.name}: ${message}`, ...lines, ...own].join("\n");
  }
}

const OUTCOME_NAMES: Readonly<Record<number, RequestResult["outcome"]>> = {
  [OUTCOME.respond]: "respond",
  [OUTCOME.reject]: "reject",
  [OUTCOME.buffer]: "buffer",
};

type Line = Cost["log"][number];
type Failure = { readonly message: string; readonly fields: Record<string, unknown> };
export type Called = { readonly outcome: RequestResult["outcome"]; readonly cost: Cost };

export class Runner implements HookCaller {
  readonly store = new KeyValueStore(KeyValueStore.allocate(STORE_SIZE), 0);
  readonly #module: ModulePlan;
  readonly #options: PluginOptions;
  readonly #time = new TestTime();
  readonly #fetcher: TestFetcher;
  #clock: () => number;
  cells = new Float64Array(PLUGIN_CELLS.size);
  /** Metrics that the plugin has defined; null during the first start, which finds them. */
  metrics: readonly MetricPlan[] | null = null;
  #host!: PluginHost;
  #set!: InstanceSet;
  #lines: Line[] = [];
  #failure: Failure | null = null;
  /** Outcome of the suspended call. */
  #resumed: number | null = null;
  #isSuspended = false;

  /** @throws PluginError if the plugin does not start. */
  constructor(module: ModulePlan, options: PluginOptions) {
    this.#module = module;
    this.#options = options;
    this.#clock = options.now ?? Date.now;
    this.#fetcher = new TestFetcher(options, this.#time);
    this.#start();
    const { plans, size } = placeMetrics(this.#set.defined()[0] ?? []);
    this.metrics = plans;
    if (plans.length === 0) return;
    // A new guest, now that the cells of its metrics are allocated.
    this.cells = new Float64Array(size);
    this.#restart();
  }

  /** Milliseconds since 1970, including the time of asynchronous calls. */
  readonly now = (): number => this.#clock() + this.#time.elapsed;

  /** Sets the time, unless the test has the option `now`. */
  setTime(milliseconds: number): void {
    const begun = milliseconds - this.#time.elapsed;
    this.#clock = this.#options.now ?? (() => begun);
  }

  /** Resets the time to the real one, unless the test has the option `now`. */
  resetTime(): void {
    this.#clock = this.#options.now ?? Date.now;
  }

  /** The response to subrequests if the test has no `fetch`. */
  set fallbackResponse(response: FetchResponse | null) {
    this.#fetcher.fallback = response;
  }

  call(hook: Hook, context: HookContext): Called {
    const { result, cost } = this.measure(hook, (instance) => instance.call(HOOK[hook], context), context);
    return { outcome: OUTCOME_NAMES[result] ?? "continue", cost };
  }

  async callWaiting(hook: Hook, context: HookContext): Promise<Called> {
    if (!this.#mayWait(hook)) return this.call(hook, context);
    this.#resumed = null;
    context.caller = this;
    const begin = (instance: PluginInstance) => {
      const outcome = instance.call(HOOK[hook], context);
      if (outcome !== OUTCOME.suspended) this.#resumed = outcome;
    };
    const cost = await this.#measureWaiting(hook, begin, { isDone: () => this.#resumed !== null, context });
    return { outcome: OUTCOME_NAMES[this.#resumed ?? OUTCOME.continue] ?? "continue", cost };
  }

  resume(_hook: number, _context: HookContext, outcome: number): void {
    this.#resumed = outcome;
  }

  async tickWaiting(): Promise<Cost> {
    const tick = (instance: PluginInstance) => instance.tick();
    if (!this.#mayWait("tick")) return this.measure("tick", tick).cost;
    return this.#measureWaiting("tick", tick, { isDone: () => !this.#set.instances[0]!.isTicking, context: null });
  }

  measure<T>(
    hook: Hook,
    run: (instance: PluginInstance) => T,
    context: HookContext | null = null,
  ): { result: T; cost: Cost } {
    if (this.#mayWait(hook))
      throw new TypeError(`the plugin may suspend in ${hook}: use ${ASYNC_NAMES[hook]} and await it`);
    this.#refuseTwo();
    const begun = this.#begin(hook);
    const result = run(this.#set.instances[0]!);
    return { result, cost: this.#end(hook, begun, context) };
  }

  async #measureWaiting(
    hook: Hook,
    begin: (instance: PluginInstance) => void,
    { isDone, context }: { isDone: () => boolean; context: HookContext | null },
  ): Promise<Cost> {
    this.#refuseTwo();
    const begun = this.#begin(hook);
    this.#isSuspended = true;
    try {
      begin(this.#set.instances[0]!);
      await this.#time.pass(isDone);
    } finally {
      this.#isSuspended = false;
    }
    return this.#end(hook, begun, context);
  }

  #mayWait(hook: Hook): boolean {
    const { suspends: waits, hooks } = this.#module.info;
    return waits && (SUSPENDABLE_HOOKS as readonly Hook[]).includes(hook) && ((hooks >>> HOOK[hook]) & 1) === 1;
  }

  /** @throws TypeError during another call: the costs of both could not be separated. */
  #refuseTwo(): void {
    if (this.#isSuspended) throw new TypeError("another call of this plugin is in progress: await it first");
  }

  #begin(hook: Hook): { fuel: number; memory: number; elapsed: number } {
    this.#lines = [];
    this.#failure = null;
    return { fuel: this.cells[fuelCell(hook)]!, memory: this.#host.memory(), elapsed: this.#time.elapsed };
  }

  #end(hook: Hook, begun: { fuel: number; memory: number; elapsed: number }, context: HookContext | null): Cost {
    this.#throwFailure();
    this.#fetcher.throwError();
    const memory = this.#host.memory();
    return {
      fuel: this.cells[fuelCell(hook)]! - begun.fuel,
      allocated: memory - begun.memory,
      memory,
      suspended: this.#time.elapsed - begun.elapsed,
      log: this.#lines,
      logFields: Object.fromEntries(context?.exchange?.logFields ?? []),
    };
  }

  #throwFailure(): void {
    const failure = this.#failure as Failure | null;
    if (failure === null) return;
    // After a failure: a new host, since a host delays the restart of failed guests.
    this.#restart();
    this.#fetcher.throwError();
    const { hook, reason, stack } = failure.fields;
    throw new PluginFailure(failure.message, {
      hook: String(hook),
      reason: String(reason),
      frames: typeof stack === "string" ? stack : "",
    });
  }

  #restart(): void {
    this.#set.dispose();
    this.#start();
  }

  #start(): void {
    const { config = null, clusters, strategies, allow, limits } = this.#options;
    const report: Report = (level, message, fields) => {
      if ("reason" in fields) this.#failure ??= { message, fields };
      else this.#lines.push({ level, text: message });
    };
    const { host, set } = loadPlugin(this.#module, {
      cells: this.cells,
      report,
      configs: [config],
      clusters,
      strategies,
      now: this.now,
      keyValue: this.store,
      namespaces: allow?.kv,
      fetcher: this.#fetcher,
      after: this.#time.after,
      settings: {
        fuel: limits?.fuel ?? FUEL.default,
        memory: memoryOf(limits),
        time: timeOf(limits),
        clusters: allow?.clusters ?? null,
        fetch: allow?.fetch ?? [],
        shares: allow?.share ?? [],
        hidden: (allow?.headers?.hide ?? []).map((name) => name.toLowerCase()),
        metrics: this.metrics,
      },
    });
    this.#host = host;
    this.#set = set;
    if (this.#module.info.suspends) warm(set.instances[0]!);
  }
}

const ASYNC_NAMES: Readonly<Partial<Record<Hook, string>>> = {
  request_head: "requestAsync",
  request_body: "requestBodyAsync",
  response_head: "responseAsync",
  response_body: "responseBodyAsync",
  tick: "tickAsync",
  connection: "connectionAsync",
  health_check: "healthCheckAsync",
};

function fuelCell(hook: Hook): number {
  return PLUGIN_CELLS.fuel + HOOK[hook];
}

/** Creates the guest for asynchronous calls in advance, so that its start is not measured with the first call. */
function warm({ pool }: PluginInstance): void {
  pool.request({
    isAboutToExpire: false,
    guestReady: (guest: Guest | null) => guest !== null && pool.release(guest),
    guestFailed: (error) => {
      throw error;
    },
  });
}
