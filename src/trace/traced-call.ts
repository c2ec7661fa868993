/** One call of a hook that is traced, while it runs. */
import { HOOK, HOOKS, RESULT } from "../abi/abi.ts";
import type { BodyChunk, HookContext, TracedHook } from "../plugin/host/hook-context.ts";
import { compare, type Picture, type Side, takePicture } from "./snapshot-diff.ts";
import type { FieldList, HookStep, Trace } from "./trace.ts";

/** Hooks that can change nothing of the heads, and those whose edits are the answer's. */
const SEES_ONLY =
  (1 << HOOK.pick) | (1 << HOOK.update) | (1 << HOOK.outcome) | (1 << HOOK.log) | (1 << HOOK.connection);
const OF_ANSWER = (1 << HOOK.response_head) | (1 << HOOK.response_body) | (1 << HOOK.response_trailers);
const MAX_LINES = 50;
/** How the name of a value begins that is shared: with no plugin's name (`plugin/abi/calls-exchange.ts`). */
const SHARED = "\0";

type Init = {
  readonly context: HookContext;
  readonly hook: number;
  readonly plugin: string;
  readonly use: number;
  readonly before: Picture;
};

export class TracedCall implements TracedHook {
  readonly entry: HookStep;
  readonly #trace: Trace;
  readonly #hook: number;
  readonly #began = performance.now();
  readonly #before: Picture;
  readonly #cluster: number;
  readonly #strategy: number;
  readonly #shared: ReadonlyMap<string, Uint8Array>;

  constructor(trace: Trace, { context, hook, plugin, use, before }: Init) {
    this.#trace = trace;
    this.#hook = hook;
    this.#before = before;
    this.#cluster = context.chosenCluster;
    this.#strategy = context.exchange?.chosenStrategy ?? -1;
    this.#shared = sharedValues(context);
    const piece = pieceOf(hook, context);
    this.entry = {
      ...emptyStep(trace.now(), hook, plugin),
      ...(use === 1 ? {} : { use }),
      ...(piece === null ? {} : { body: this.#describePiece(piece) }),
    };
  }

  #describePiece(piece: BodyChunk): NonNullable<HookStep["body"]> {
    const seen = this.#trace.piece(piece.bytes.subarray(piece.start, piece.end));
    const text = seen === undefined ? {} : { seen };
    return { before: piece.size, after: piece.size, last: piece.last, ...text };
  }

  /** Whether calls that wait are answered at once. */
  get instant(): boolean {
    return this.#trace.instant;
  }

  count(call: string): void {
    this.entry.calls[call] = (this.entry.calls[call] ?? 0) + 1;
  }

  log(level: string, text: string): void {
    if (this.entry.log.length < MAX_LINES) this.entry.log.push({ level, text: this.#trace.text(text) });
  }

  /** It ended, by a result or by a failure (null), of which more is told (`Trace.failed`). */
  leave(context: HookContext, result: number | null, fuel: number): void {
    const { entry } = this;
    const hook = this.#hook;
    entry.took = Math.round((performance.now() - this.#began) * 1000);
    entry.fuel = fuel;
    entry.result = result === null ? "failed" : describeResult(hook, result);
    // Of an exchange that has ended meanwhile nothing is there to compare.
    if (result === null || context.trace !== this.#trace) return;
    this.#tellEdits(context, result);
    const { chosenCluster, exchange } = context;
    if (chosenCluster >= 0 && chosenCluster !== this.#cluster) entry.cluster = this.#trace.clusterNamed(chosenCluster);
    const strategy = exchange?.chosenStrategy ?? -1;
    if (strategy >= 0 && strategy !== this.#strategy) entry.strategy = this.#trace.strategyNamed(strategy);
    const shared = newlyShared(this.#shared, context);
    if (shared.length > 0) entry.shared = this.#trace.shared(shared);
    const piece = pieceOf(hook, context);
    if (piece === null || entry.body === undefined) return;
    entry.body.after = piece.size;
    const passed = this.#trace.piece(piece.made);
    if (passed !== undefined) entry.body.passed = passed;
  }

  /** While one that waits sees a request's body, the answer may come: that is no edit of its. */
  #tellEdits({ exchange }: HookContext, result: number): void {
    const hook = this.#hook;
    if (exchange === null || ((SEES_ONLY >>> hook) & 1) === 1) return;
    const side: Side = ((OF_ANSWER >>> hook) & 1) === 1 ? "response" : "request";
    const edits = compare(this.#before, takePicture(exchange)).filter(
      ({ of }) => of === side || (of === "response" && result === RESULT.respond),
    );
    this.entry.edits = this.#trace.changed(this.entry, edits);
  }
}

/** What the hook sees of a body; null for one that sees none. */
function pieceOf(hook: number, { exchange }: HookContext): BodyChunk | null {
  if (exchange === null) return null;
  if (hook === HOOK.request_body) return exchange.requestPiece;
  return hook === HOOK.response_body ? exchange.answerPiece : null;
}

function sharedValues({ values }: HookContext): Map<string, Uint8Array> {
  const shared = new Map<string, Uint8Array>();
  for (const [key, value] of values ?? []) {
    const standing = key.startsWith(SHARED) ? value.standing : null;
    if (standing !== null) shared.set(key, standing.bytes);
  }
  return shared;
}

function newlyShared(before: ReadonlyMap<string, Uint8Array>, context: HookContext): FieldList {
  const set = [...sharedValues(context)].filter(([key, value]) => before.get(key) !== value);
  return set.map(([key, value]) => [key.slice(SHARED.length), Buffer.from(value).toString("latin1")]);
}

export function emptyStep(at: number, hook: number, plugin: string): HookStep {
  return {
    step: "hook",
    at,
    hook: HOOKS[hook]!,
    plugin,
    took: 0,
    fuel: 0,
    calls: {},
    result: "unfinished",
    edits: [],
    log: [],
  };
}

function describeResult(hook: number, result: number): string {
  if (hook === HOOK.pick) return String(result);
  return Object.entries(RESULT).find(([, value]) => value === result)?.[0] ?? String(result);
}
