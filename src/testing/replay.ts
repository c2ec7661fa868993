/** Replays the recorded calls of one plugin and compares the results. */
import type { PluginOptions, Replay, ReplayedCall, ReplayOptions, TracedCall } from "../../sdk/test.js";
import { HOOK, type Hook } from "../abi/abi.ts";
import type { Candidate } from "../cluster/cluster.ts";
import { type FilteredBody, requestBody, responseBody } from "../proxy/filtered-body.ts";
import { Mask } from "../trace/mask.ts";
import { type AttemptStep, type HookStep, MAX_LISTED, MAX_STEPS, type TraceRecord } from "../trace/record.ts";
import { type Names, Trace } from "../trace/trace.ts";
import type { TestEndpoints } from "./endpoints.ts";
import { Comparison } from "./replay-compare.ts";
import { findPlugin } from "./replay-plugin.ts";
import { ReplayState, readRevealed } from "./replay-state.ts";
import { PluginFailure, type Runner } from "./runner.ts";
import { readTrace } from "./trace-file.ts";

export type ReplayParts = {
  readonly runner: Runner;
  readonly endpoints: TestEndpoints;
  readonly options: PluginOptions;
  readonly hooks: readonly string[];
  /** The plugin's file. */
  readonly path: string;
};

/** A dry run's response to subrequests. */
const DRY_RESPONSE = { headers: { "content-type": "text/plain", "x-sluice-dry-run": "1" }, body: "dry run" };
const MICROSECONDS = 1000;

/** The replay is shown to the plugin's author unmasked. */
class NoMask extends Mask {
  override hides(): boolean {
    return false;
  }

  override text(text: string): string {
    return text;
  }
}

/** @throws TypeError if it is not a trace, or the plugin under test cannot be determined. */
export async function replay(parts: ReplayParts, given: unknown, options: ReplayOptions = {}): Promise<Replay> {
  const trace = readTrace(given);
  const { plugin, use } = findPlugin(trace, parts, options);
  const { values, picks = true, ignore = [] } = options;
  const comparison = new Comparison({ ignore, picks });
  const replayer = new Replayer(parts, trace, { revealed: readRevealed(values), comparison });
  const calls: ReplayedCall[] = [];
  try {
    for (const [index, step] of trace.steps.entries()) {
      if (step.step === "hook" && step.plugin === plugin && (step.use ?? 1) === use)
        calls.push(await replayer.call(step, index));
      replayer.state.follow(step);
    }
  } finally {
    replayer.close();
  }
  const skipped = calls.flatMap(({ step, hook, skipped: why }) =>
    why === null ? [] : [`${hook} (step ${step}): ${why}`],
  );
  if (trace.cut && trace.steps.length >= MAX_STEPS) skipped.push(`the trace is truncated after step ${MAX_STEPS}`);
  return { plugin, calls, differences: comparison.lines, skipped, masked: comparison.masked };
}

class Replayer {
  readonly state: ReplayState;
  readonly #parts: ReplayParts;
  readonly #trace: TraceRecord;
  readonly #comparison: Comparison;
  /** Milliseconds since 1970. */
  readonly #start: number;
  readonly #names: Names;
  /** Arguments of the last `update`. */
  #lastUpdate = "";

  constructor(
    parts: ReplayParts,
    trace: TraceRecord,
    { revealed, comparison }: { revealed: ReadonlyMap<string, string>; comparison: Comparison },
  ) {
    const { clusters = [], strategies = [] } = parts.options;
    this.#names = { clusters, strategies };
    this.#parts = parts;
    this.#trace = trace;
    this.#comparison = comparison;
    this.#start = Date.parse(trace.time);
    this.state = new ReplayState(trace, { revealed, names: this.#names });
    parts.runner.fallbackResponse =
      trace.fetchStatus === undefined ? null : { ...DRY_RESPONSE, status: trace.fetchStatus };
  }

  close(): void {
    this.#parts.runner.fallbackResponse = null;
    this.#parts.runner.resetTime();
  }

  async call(step: HookStep, index: number): Promise<ReplayedCall> {
    const { hook } = step;
    const trace = describe(step, choiceOf(step, this.#candidates(index)));
    const entry = { step: index + 1, hook, trace };
    const why = this.#reasonToSkip(step, index) || this.state.restore() || this.#updateEndpoints(step, index);
    if (why !== "") return { ...entry, now: null, skipped: why };
    if (!this.#parts.hooks.includes(hook)) {
      this.#comparison.lines.push(`${hook}: the trace has a call, now the plugin has no such hook`);
      return { ...entry, now: null, skipped: null };
    }
    const replayed = await this.#run(step, index);
    const now = describe(replayed, choiceOf(replayed, this.#candidates(index)));
    this.#comparison.add(hook, trace, now);
    return { ...entry, now, skipped: null };
  }

  #reasonToSkip({ hook, result, calls, body }: HookStep, index: number): string {
    if (result === "unfinished") return "the request ended before the call";
    if (result === "quarantined") return "not called: the plugin was in quarantine";
    if (
      (calls.fetch ?? calls.http_request ?? 0) > 0 &&
      this.#trace.fetchStatus === undefined &&
      this.#parts.options.fetch === undefined
    )
      return "the trace has no responses to its subrequests: pass the option fetch to plugin()";
    if (hook === "request_body" || hook === "response_body") {
      if (body === undefined) return "the trace has no chunk of the body";
      if (body.seen === undefined && body.before > 0)
        return "the trace has only the size of the chunk: a dry run records its bytes";
    }
    if (hook === "pick") {
      if (this.#candidates(index).length === 0) return "the trace has no candidates of this pick";
      if (this.#trace.cut && this.#candidates(index).length >= MAX_LISTED)
        return `the trace is truncated: it has only the first ${MAX_LISTED} endpoints`;
    }
    if (hook === "outcome" && this.#attempt(index) === undefined) return "the trace has no attempt of this call";
    return "";
  }

  /** The candidates of a call of `pick`, which the next step has. */
  #candidates(index: number): readonly Candidate[] {
    const next = this.#trace.steps[index + 1];
    return next?.step === "pick" ? next.candidates : [];
  }

  #attempt(index: number): AttemptStep | undefined {
    return this.#trace.steps.slice(0, index).findLast((step) => step.step === "attempt");
  }

  /** Calls `update` before a `pick`, as the proxy does: with all healthy endpoints, including those already tried. */
  #updateEndpoints({ hook }: HookStep, index: number): string {
    if (hook !== "pick" || !this.#parts.hooks.includes(hook)) return "";
    const { endpoints, runner } = this.#parts;
    const list = this.#candidates(index).filter(isHealthy).map(readEndpoint);
    const view = endpoints.set(list);
    const update = JSON.stringify(list.map(({ address, weight, zone }) => [address, weight, zone]));
    if (update === this.#lastUpdate) return "";
    this.#lastUpdate = update;
    try {
      runner.measure("update", (instance) => instance.update(view));
      return "";
    } catch (error) {
      if (!(error instanceof PluginFailure)) throw error;
      this.#lastUpdate = "";
      this.#comparison.lines.push(`update: failure: the trace has none, now "${error.reason}"`);
      return `update fails: ${error.message}`;
    }
  }

  /** Runs the hook and records it like the proxy does. */
  async #run(step: HookStep, index: number): Promise<HookStep> {
    const { runner, endpoints } = this.#parts;
    const { exchange: x } = this.state;
    this.#prepare(step, index);
    const trace = new Trace(x, {
      id: "",
      why: "explain",
      mask: new NoMask([]),
      isDryRun: true,
      instant: this.#trace.fetchStatus !== undefined,
      names: this.#names,
    });
    x.trace = trace;
    let failure: PluginFailure | null = null;
    try {
      if (step.hook !== "pick") await runner.callWaiting(step.hook as Hook, x);
      else {
        const out = this.#candidates(index).filter(({ out }) => out !== "");
        const view = endpoints.view(out.map(({ endpoint }) => endpoint));
        runner.measure("pick", (instance) => instance.pick(x, view));
      }
    } catch (error) {
      if (!(error instanceof PluginFailure)) throw error;
      failure = error;
      // The next guest is new and has had no update.
      this.#lastUpdate = "";
    } finally {
      x.trace = null;
    }
    const replayed = trace.steps.find((entry) => entry.step === "hook");
    if (replayed?.step === "hook") return replayed;
    throw failure ?? new Error(`${step.hook} was not called`);
  }

  #prepare({ hook, at, body }: HookStep, index: number): void {
    const { exchange: x } = this.state;
    const { runner, endpoints } = this.#parts;
    runner.setTime(this.#start + at / MICROSECONDS);
    if (hook === "route") x.chosenCluster = -1;
    if (hook === "request_body") setChunk(requestBody(x), body);
    if (hook === "response_body") setChunk(responseBody(x), body);
    x.endpoint = this.state.endpoint === null ? null : endpoints.known(this.state.endpoint);
    const attempt = this.#attempt(index);
    if (HOOK[hook as Hook] !== HOOK.outcome || attempt === undefined) return;
    x.endpoint = endpoints.known(attempt.endpoint);
    x.attempt.latency = attempt.took;
    x.attempt.status = attempt.status;
    x.attempt.failed = attempt.failed;
  }
}

function setChunk({ chunk }: FilteredBody, body: HookStep["body"]): void {
  const bytes = Buffer.from(body?.seen ?? "");
  chunk.set(bytes, 0, bytes.length, body?.last ?? true);
}

/** Whether `update` lists it: tried and full endpoints are excluded only from the one pick. */
function isHealthy({ out }: Candidate): boolean {
  return out === "" || out === "tried" || out === "full";
}

function readEndpoint({ endpoint, weight, zone, inFlight, latency, latencyAge = 0, errorRate }: Candidate) {
  return { address: endpoint, weight, zone, inFlight, latency, latencyAge, errorRate: Math.round(errorRate * 1e6) };
}

/** The address that a `pick` chose; null for none and for other hooks. */
function choiceOf({ hook, result }: HookStep, candidates: readonly Candidate[]): string | null {
  if (hook !== "pick" || !/^\d+$/.test(result)) return null;
  return candidates.filter(({ out }) => out === "")[Number(result)]?.endpoint ?? null;
}

function describe(step: HookStep, choice: string | null): TracedCall {
  const { result, failure = null, edits, shared = [], cluster = null, strategy = null, body = null } = step;
  const { fuel, took, calls, log } = step;
  return { result, failure, edits, shared, cluster, strategy, choice, body, fuel, took, calls, log };
}
