/** A traced hook call in progress. */
import { HOOK, HOOKS, RESULT } from "../abi/abi.ts";
import {
  type BodyChunk,
  chunkOf,
  type HookContext,
  type HookTrace,
  type TracedHook,
} from "../plugin/host/hook-context.ts";
import type { Change, FieldList, HookStep, Side, TracedChunk } from "./record.ts";
import { captureState, compare, type MessageState } from "./snapshot-diff.ts";

/** Hooks that cannot change heads, and those that change the response's. */
const READ_ONLY =
  (1 << HOOK.pick) | (1 << HOOK.update) | (1 << HOOK.outcome) | (1 << HOOK.log) | (1 << HOOK.connection);
const OF_RESPONSE = (1 << HOOK.response_head) | (1 << HOOK.response_body) | (1 << HOOK.response_trailers);
const MAX_LINES = 50;
/** Prefix of the keys of shared values, which belong to no plugin (`plugin/abi/native/calls-exchange.ts`). */
const SHARED = "\0";

/** The trace that the call belongs to. */
export interface CallOwner extends HookTrace {
  /** Asynchronous host calls complete at once. */
  readonly instant: boolean;
  /** Microseconds since the request head was received. */
  now(): number;
  /** Truncates a text. */
  text(text: string): string;
  /** Undefined if the chunk is not recorded. */
  chunkText(bytes: Buffer): string | undefined;
  /** Records the changes of a hook; returns them masked. */
  changed(entry: HookStep, changes: readonly Change[]): Change[];
  /** Masks values that a hook has shared. */
  shared(values: FieldList): FieldList;
  clusterNamed(index: number): string;
  strategyNamed(index: number): string;
}

type Init = {
  readonly context: HookContext;
  readonly hook: number;
  readonly plugin: string;
  readonly use: number;
  readonly before: MessageState;
};

export class TracedCall implements TracedHook {
  readonly entry: HookStep;
  readonly #trace: CallOwner;
  readonly #hook: number;
  readonly #began = performance.now();
  readonly #before: MessageState;
  readonly #cluster: number;
  readonly #strategy: number;
  readonly #shared: ReadonlyMap<string, Uint8Array>;

  constructor(trace: CallOwner, { context, hook, plugin, use, before }: Init) {
    this.#trace = trace;
    this.#hook = hook;
    this.#before = before;
    this.#cluster = context.chosenCluster;
    this.#strategy = context.exchange?.chosenStrategy ?? -1;
    this.#shared = sharedValues(context);
    const chunk = chunkOf(hook, context.exchange);
    this.entry = {
      ...emptyStep(trace.now(), hook, plugin),
      ...(use === 1 ? {} : { use }),
      ...(chunk === null ? {} : { body: this.#describeChunk(chunk) }),
    };
  }

  #describeChunk({ bytes, start, end, size, last }: BodyChunk): TracedChunk {
    const seen = this.#trace.chunkText(bytes.subarray(start, end));
    return { before: size, after: size, last, ...(seen === undefined ? {} : { seen }) };
  }

  /** Whether asynchronous host calls complete at once. */
  get instant(): boolean {
    return this.#trace.instant;
  }

  count(call: string): void {
    this.entry.calls[call] = (this.entry.calls[call] ?? 0) + 1;
  }

  log(level: string, text: string): void {
    if (this.entry.log.length < MAX_LINES) this.entry.log.push({ level, text: this.#trace.text(text) });
  }

  /** Records the call's end. `result`: null if it failed; `Trace.failed` then has the reason. */
  leave(context: HookContext, result: number | null, fuel: number): void {
    const { entry } = this;
    const hook = this.#hook;
    entry.took = Math.round((performance.now() - this.#began) * 1000);
    entry.fuel = fuel;
    entry.result = result === null ? "failed" : describeResult(hook, result);
    // The exchange may have ended and been reused during an asynchronous call.
    if (result === null || context.trace !== this.#trace) return;
    this.#recordEdits(context, result);
    const { chosenCluster, exchange } = context;
    if (chosenCluster >= 0 && chosenCluster !== this.#cluster) entry.cluster = this.#trace.clusterNamed(chosenCluster);
    const strategy = exchange?.chosenStrategy ?? -1;
    if (strategy >= 0 && strategy !== this.#strategy) entry.strategy = this.#trace.strategyNamed(strategy);
    const shared = newlyShared(this.#shared, context);
    if (shared.length > 0) entry.shared = this.#trace.shared(shared);
    const chunk = chunkOf(hook, context.exchange);
    if (chunk === null || entry.body === undefined) return;
    entry.body.after = chunk.size;
    const passed = this.#trace.chunkText(chunk.made);
    if (passed !== undefined) entry.body.passed = passed;
  }

  /** The response may be received while a request body hook is suspended: only the hook's own side counts. */
  #recordEdits({ exchange }: HookContext, result: number): void {
    const hook = this.#hook;
    if (exchange === null || ((READ_ONLY >>> hook) & 1) === 1) return;
    const side: Side = ((OF_RESPONSE >>> hook) & 1) === 1 ? "response" : "request";
    const edits = compare(this.#before, captureState(exchange)).filter(
      ({ of }) => of === side || (of === "response" && result === RESULT.respond),
    );
    this.entry.edits = this.#trace.changed(this.entry, edits);
  }
}

function sharedValues({ values }: HookContext): Map<string, Uint8Array> {
  const shared = new Map<string, Uint8Array>();
  for (const [key, value] of values ?? []) {
    const current = key.startsWith(SHARED) ? value.current : null;
    if (current !== null) shared.set(key, current.bytes);
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
