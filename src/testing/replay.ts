/** The calls of one plugin that a trace holds, made again in the kit and compared with what the trace says of them. */
import type { PluginOptions, Replay, ReplayedCall, ReplayOptions, TracedCall } from "../../sdk/test.js";
import { HOOK, type Hook } from "../abi/abi.ts";
import type { Candidate } from "../cluster/cluster.ts";
import { Piece } from "../proxy/chunk.ts";
import { Mask } from "../trace/mask.ts";
import { type AttemptStep, type HookStep, MAX_LISTED, MAX_STEPS, type Names, Trace } from "../trace/trace.ts";
import type { TestEndpoints } from "./endpoints.ts";
import { Comparison } from "./replay-compare.ts";
import { findPlugin } from "./replay-plugin.ts";
import { ReplayState, readRevealed } from "./replay-state.ts";
import { PluginFailure, type Runner } from "./runner.ts";
import { readTrace, type TraceFile } from "./trace-file.ts";

export type ReplayParts = {
  readonly runner: Runner;
  readonly endpoints: TestEndpoints;
  readonly options: PluginOptions;
  readonly hooks: readonly string[];
  /** Where the plugin stands. */
  readonly path: string;
};

/** As a dry run answers what plugins ask. */
const DRY_ANSWER = { headers: { "content-type": "text/plain", "x-sluice-dry-run": "1" }, body: "dry run" };
/** Makes a trace tell bodies; nobody asks it for an answer. */
const TELLS_BODIES = { answer: () => undefined };
const MICROSECONDS = 1000;

/** What the plugin does now is shown to its author whole. */
class NoMask extends Mask {
  override hides(): boolean {
    return false;
  }

  override text(text: string): string {
    return text;
  }
}

/** @throws TypeError when the trace is none, or leaves it open which plugin is meant. */
export async function replay(parts: ReplayParts, given: unknown, options: ReplayOptions = {}): Promise<Replay> {
  const file = readTrace(given);
  const { plugin, use } = findPlugin(file, parts, options);
  const { values, picks = true, ignore = [] } = options;
  const comparison = new Comparison({ ignore, picks });
  const replayer = new Replayer(parts, file, { revealed: readRevealed(values), comparison });
  const calls: ReplayedCall[] = [];
  try {
    for (const [index, step] of file.steps.entries()) {
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
  if (file.cut && file.steps.length >= MAX_STEPS)
    skipped.push(`the trace was cut behind step ${MAX_STEPS}: what followed is not in it`);
  return { plugin, calls, differences: comparison.lines, skipped, masked: comparison.masked };
}

class Replayer {
  readonly state: ReplayState;
  readonly #parts: ReplayParts;
  readonly #file: TraceFile;
  readonly #comparison: Comparison;
  readonly #names: Names;
  /** The endpoints that `update` told last. */
  #told = "";

  constructor(
    parts: ReplayParts,
    file: TraceFile,
    { revealed, comparison }: { revealed: ReadonlyMap<string, string>; comparison: Comparison },
  ) {
    const { clusters = [], strategies = [] } = parts.options;
    this.#names = { clusters, strategies };
    this.#parts = parts;
    this.#file = file;
    this.#comparison = comparison;
    this.state = new ReplayState(file, { revealed, names: this.#names });
    parts.runner.standIn = file.fetchAnswer === null ? null : { ...DRY_ANSWER, status: file.fetchAnswer };
  }

  close(): void {
    this.#parts.runner.standIn = null;
    this.#parts.runner.resetTime();
  }

  async call(step: HookStep, index: number): Promise<ReplayedCall> {
    const { hook } = step;
    const trace = describe(step, choiceOf(step, this.#candidates(index)));
    const told = { step: index + 1, hook, trace };
    const why = this.#whyNot(step, index) || this.state.restore() || this.#tellEndpoints(step, index);
    if (why !== "") return { ...told, now: null, skipped: why };
    if (!this.#parts.hooks.includes(hook)) {
      this.#comparison.lines.push(`${hook}: the trace has a call, now the plugin has no such hook`);
      return { ...told, now: null, skipped: null };
    }
    const made = await this.#run(step, index);
    const now = describe(made, choiceOf(made, this.#candidates(index)));
    this.#comparison.add(hook, trace, now);
    return { ...told, now, skipped: null };
  }

  #whyNot({ hook, result, calls, body }: HookStep, index: number): string {
    if (result === "unfinished") return "it had not ended when the request did";
    if (result === "quarantined") return "it was not called: the plugin was in quarantine";
    if ((calls.fetch ?? 0) > 0 && this.#file.fetchAnswer === null && this.#parts.options.fetch === undefined)
      return "the trace does not hold what its requests were answered: give plugin() a fetch";
    if (hook === "request_body" || hook === "response_body") {
      if (body === undefined) return "the trace does not tell its piece of the body";
      if (body.seen === undefined && body.before > 0)
        return "the trace has the size of its piece of the body, not the bytes: a dry run has both";
    }
    if (hook === "pick") {
      if (this.#candidates(index).length === 0) return "the trace does not hold the endpoints that it saw";
      if (this.#file.cut && this.#candidates(index).length >= MAX_LISTED)
        return `the trace was cut: it has the first ${MAX_LISTED} endpoints`;
    }
    if (hook === "outcome" && this.#attempt(index) === undefined) return "the trace does not hold the attempt";
    return "";
  }

  /** The endpoints of the step that follows a `pick`. */
  #candidates(index: number): readonly Candidate[] {
    const next = this.#file.steps[index + 1];
    return next?.step === "pick" ? next.candidates : [];
  }

  #attempt(index: number): AttemptStep | undefined {
    return this.#file.steps.slice(0, index).findLast((step) => step.step === "attempt");
  }

  /** Before a `pick`, as the proxy does: all that are well, also those that this request has tried. */
  #tellEndpoints({ hook }: HookStep, index: number): string {
    if (hook !== "pick" || !this.#parts.hooks.includes(hook)) return "";
    const { endpoints, runner } = this.#parts;
    const list = this.#candidates(index).filter(isWell).map(readEndpoint);
    const view = endpoints.set(list);
    const told = JSON.stringify(list.map(({ address, weight, zone }) => [address, weight, zone]));
    if (told === this.#told) return "";
    this.#told = told;
    try {
      runner.measure("update", (instance) => instance.update(view));
      return "";
    } catch (error) {
      if (!(error instanceof PluginFailure)) throw error;
      this.#told = "";
      this.#comparison.lines.push(`update: failure: the trace has none, now "${error.reason}"`);
      return `update fails: ${error.message}`;
    }
  }

  /** What comes of it, told as a trace tells it. */
  async #run(step: HookStep, index: number): Promise<HookStep> {
    const { runner, endpoints } = this.#parts;
    const { exchange: x } = this.state;
    this.#prepare(step, index);
    const trace = new Trace(x, {
      id: "",
      why: "explain",
      mask: new NoMask([]),
      dry: TELLS_BODIES,
      instant: this.#file.fetchAnswer !== null,
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
      // Its guest is gone, and what it was told.
      this.#told = "";
    } finally {
      x.trace = null;
    }
    const made = trace.steps.find((entry) => entry.step === "hook");
    if (made?.step === "hook") return made;
    throw failure ?? new Error(`${step.hook} was not called`);
  }

  #prepare({ hook, at, body }: HookStep, index: number): void {
    const { exchange: x } = this.state;
    const { runner, endpoints } = this.#parts;
    runner.setTime(this.#file.time + at / MICROSECONDS);
    if (hook === "route") x.chosenCluster = -1;
    x.requestPiece = hook === "request_body" ? makePiece(body) : null;
    x.answerPiece = hook === "response_body" ? makePiece(body) : null;
    x.endpoint = this.state.endpoint === null ? null : endpoints.known(this.state.endpoint);
    const attempt = this.#attempt(index);
    if (HOOK[hook as Hook] !== HOOK.outcome || attempt === undefined) return;
    x.endpoint = endpoints.known(attempt.endpoint);
    x.attemptLatency = attempt.took;
    x.attemptStatus = attempt.status;
    x.attemptFailed = attempt.failed;
  }
}

function makePiece(body: HookStep["body"]): Piece {
  const piece = new Piece();
  const bytes = Buffer.from(body?.seen ?? "");
  piece.set(bytes, 0, bytes.length, body?.last ?? true);
  return piece;
}

/** What a strategy's `update` tells: those that health keeps no traffic from. */
function isWell({ out }: Candidate): boolean {
  return out === "" || out === "tried" || out === "full";
}

function readEndpoint({ endpoint, weight, zone, inFlight, latency, latencyAge = 0, errorRate }: Candidate) {
  return { address: endpoint, weight, zone, inFlight, latency, latencyAge, errorRate: Math.round(errorRate * 1e6) };
}

/** The address that a `pick` chose; null for none, and for any other hook. */
function choiceOf({ hook, result }: HookStep, candidates: readonly Candidate[]): string | null {
  if (hook !== "pick" || !/^\d+$/.test(result)) return null;
  return candidates.filter(({ out }) => out === "")[Number(result)]?.endpoint ?? null;
}

function describe(step: HookStep, choice: string | null): TracedCall {
  const { result, failure = null, edits, shared = [], cluster = null, strategy = null, body = null } = step;
  const { fuel, took, calls, log } = step;
  return { result, failure, edits, shared, cluster, strategy, choice, body, fuel, took, calls, log };
}
