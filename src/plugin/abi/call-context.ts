/**
 * What the host calls of one guest work on: the hook under way, its exchange, its configuration, its fuel, and how to
 * undo its edits. One for each guest, set before each hook call; fields, not closures, so that a call costs no memory.
 */

import { FUEL, HEADERS, HOOK, IMPORTS, type LEVEL, LIMIT, STATUS } from "../../abi/abi.ts";
import { fuelFor } from "../../abi/prices.ts";
import { Head } from "../../http/head.ts";
import type { KeyValue } from "../../state/key-value.ts";
import { Fault, TRAP } from "../host/fault.ts";
import type { FetchAnswer, Fetcher } from "../host/fetcher.ts";
import type { BodyChunk, CallRecorder, EndpointList, ExchangeContext, HookContext } from "../host/hook-context.ts";
import type { PluginMetrics } from "../host/metrics.ts";
import { type After, setTimer } from "../host/timer.ts";
import { CallCharges } from "./call-charges.ts";
import type { SavedState } from "./calls-state.ts";
import type { HiddenNames } from "./hidden-names.ts";
import type { HostMemory } from "./host-memory.ts";
import { KeptValue } from "./kept-value.ts";
import { GuestMemory } from "./memory.ts";

/** The part of a configuration that its host calls need. */
export interface Configuration {
  readonly plugin: string;
  readonly config: unknown;
  /** Names of fields that do not exist for the plugin; null when there are none. */
  readonly hidden: HiddenNames | null;
  /** Bytes that it may put in the place of a piece of a body, or add to one. */
  readonly bodyLimit: number;
  /** Who makes its requests; null where none are made. */
  readonly fetcher: Fetcher | null;
  /** Whether it may make requests to `cluster:NAME` or to an origin. */
  mayFetch(target: string): boolean;
  /** The id of a cluster that may be chosen; `absent` for an unknown name, `denied` for one not allowed. */
  findCluster(name: string): number;
  /** The index in the present version for such an id; `invalid` or `denied`. */
  clusterIndex(id: number): number;
  findStrategy(name: string): number;
  strategyIndex(id: number): number;
  /** How often its `tick` is to be called. */
  tickEvery(milliseconds: number): void;
  /** Where its key-value calls go; null on trial, where nothing is read or written. */
  readonly keyValue: KeyValue | null;
  /** The number of a namespace, or `denied`. */
  findNamespace(name: string): number;
  mayUse(namespace: number): boolean;
  /** Whether it may set a value that every plugin of the exchange reads. */
  mayShare(name: string): boolean;
  /** What the host may keep for it; without it as much as it likes. */
  readonly hostMemory?: HostMemory;
  /** Metrics that it has defined. */
  readonly metrics: PluginMetrics;
  /** False when the plugin has written too much of late. */
  log(level: keyof typeof LEVEL, hook: number, text: string): boolean;
  /** Counts a line that is not written. */
  dropLog(hook: number): void;
}

/** `hook` while start-up code runs. */
export const STARTING = -1;

/** The debt at which fuel owed for host calls is taken from the guest: a crossing costs 8 ns, so not at each call. */
const DEBT_STEP = 4096;

/** Ranges of memory that one host call takes. */
const MOST_RANGES = 4;

/** The request of a connection and of a check. */
const NO_HEAD = new Head(16, 1);

/** Bytes of the area of trailers that a plugin adds where none came. */
const TRAILERS = 256;

const REQUEST_EDITS = (1 << HOOK.request_head) | (1 << HOOK.route);
const RESPONSE_READS =
  (1 << HOOK.response_head) |
  (1 << HOOK.response_body) |
  (1 << HOOK.response_trailers) |
  (1 << HOOK.outcome) |
  (1 << HOOK.log);

/** Bits of `dirty`: what the present hook call has changed. */
const DIRTY = {
  request: 1,
  response: 2,
  requestTrailers: 4,
  responseTrailers: 8,
  choice: 16,
  answer: 32,
  owned: 64,
} as const;

export class CallContext {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** For waits. */
  readonly after: After;
  readonly memory = new GuestMemory();
  /** The guest's own fuel counter, lowered by the host: `(units) -> units left`. */
  charge: (units: number) => number = () => 0;

  hook = STARTING;
  /** What the hook is called for; null for those that are called for nothing in particular. */
  target: HookContext | null = null;
  /** Its request and response, where it has them. */
  exchange: ExchangeContext | null = null;
  view: EndpointList | null = null;
  configuration: Configuration | null = null;
  /** Units that the call has, and bytes that it sees. */
  fuel = 0;
  seen = 0;
  /** Units for host calls that were not yet taken from the guest. */
  debt = 0;
  #step = DEBT_STEP;
  logLines = 0;
  /** Set around a call that is traced. */
  recorder: CallRecorder | null = null;
  /** What is being saved or restored; null but for those hooks. */
  state: SavedState | null = null;
  /** `respond` was called in this hook call. */
  responded = false;
  /**
   * A host call is under way. It stays true when an exception crossed that call, even where the guest caught it (the
   * exception instructions can); nothing the guest does after that counts.
   */
  busy = false;

  /** What the host keeps for the plugin because of this hook call. */
  readonly charges = new CallCharges();

  /** The last answer to a request of this hook call. */
  fetched: FetchAnswer | null = null;
  /** What came of its last `probe`; of calls that may wait alone, which clear it themselves (`guest.ts`). */
  probed: Buffer | null = null;
  /** Milliseconds that the guest ran in a call which may wait, and since when it does (0: it is suspended). */
  ran = 0;
  #since = 0;
  /** What the guest is suspended for: gives it up, and ends the guest by that. */
  #giveUp: ((fault: Fault) => void) | null = null;

  // What to put back when the hook fails.
  #dirty = 0;
  #cluster = -1;
  #strategy = -1;
  #status = 0;
  #body: Buffer | null = null;
  #owned = 0;
  readonly #values: KeptValue[] = [];

  constructor(now: () => number, after: After = setTimer) {
    this.now = now;
    this.after = after;
  }

  begin(
    hook: number,
    target: HookContext | null,
    view: EndpointList | null,
    configuration: Configuration | null,
  ): void {
    this.hook = hook;
    this.target = target;
    this.exchange = target === null ? null : target.exchange;
    this.view = view;
    this.configuration = configuration;
    this.debt = 0;
    this.logLines = 0;
    this.responded = false;
    this.fetched = null;
    this.#dirty = 0;
    this.charges.begin(configuration === null ? null : (configuration.hostMemory ?? null), target);
  }

  /**
   * Whether something may be waited for, in a hook that may. Not after an answer was given to a request's body: while
   * that streams by, the endpoint's answer would be read into its place.
   */
  get mayWait(): boolean {
    return !(this.responded && this.hook === HOOK.request_body);
  }

  /** Whole milliseconds that the endpoint under check has left to answer; without one there is no end. */
  get timeLeft(): number {
    const { target } = this;
    if (this.hook !== HOOK.health_check || target === null) return Number.POSITIVE_INFINITY;
    return Math.max(1, Math.ceil(target.deadline - performance.now()));
  }

  /**
   * Suspends the guest until `begin`'s argument is called with what the host call answers; `begin` returns what gives it
   * up. The fuel that was not used, and the exchange, stay the call's.
   */
  wait(begin: (answer: (result: number) => void) => () => void): Promise<number> {
    return new Promise((resolve, reject) => {
      this.pause();
      const cancel = begin((result) => {
        this.#giveUp = null;
        this.goOn();
        resolve(result);
      });
      this.#giveUp = (fault) => {
        this.#giveUp = null;
        this.goOn();
        cancel();
        reject(fault);
      };
    });
  }

  /** The guest ends when what it waits for, of which `limits.memory` left room for so many bytes, is too large. */
  async refuseTooLarge(waited: Promise<number>, call: string, room: number): Promise<number> {
    const result = await waited;
    if (result !== STATUS.tooLarge) return result;
    this.busy = true;
    throw new Fault("memory", `${call}: the response is over limits.memory, which leaves it ${room} bytes`);
  }

  /** The guest runs from now on. */
  goOn(): void {
    this.#since = performance.now();
  }

  /** It is suspended, or has ended. */
  pause(): void {
    if (this.#since > 0) this.ran += performance.now() - this.#since;
    this.#since = 0;
  }

  /** Ends a suspended guest by an error of the host's. A guest that catches it can make no further host call. */
  abort(fault: Fault): void {
    this.busy = true;
    this.#giveUp?.(fault);
  }

  /** The exchange has ended while the guest is suspended: it is let go of, and the guest ended. */
  abandon(): void {
    this.rollback();
    this.end();
    this.abort(new Fault("host", "the exchange has ended"));
  }

  /** The call under way has so much fuel, and sees so many bytes. A guest with little fuel may owe little of it. */
  allow(fuel: number, seen = 0): void {
    this.fuel = fuel;
    this.seen = seen;
    // Of a call that is traced each host call goes the slow way, where it is counted: all others pay nothing for that.
    this.#step = this.recorder === null ? Math.min(DEBT_STEP, fuel) : -1;
  }

  /** Forgets the exchange, so that nothing of it is kept alive or reached. */
  end(): void {
    this.target = null;
    this.exchange = null;
    this.view = null;
    this.fetched = null;
    this.charges.end();
    if (this.#values.length === 0) return;
    for (const value of this.#values) value.settle();
    this.#values.length = 0;
  }

  /** Begins a host call that reads and writes `bytes` bytes of the guest's memory. */
  enter(bytes: number): void {
    // The guest has caught the exception that crossed a host call: it makes no further one.
    if (this.busy) throw TRAP;
    this.busy = true;
    const { length } = this.memory.refresh();
    // More bytes than there can be cost nothing: the check of a range that follows ends the guest. Ranges may overlap.
    const paid = bytes <= MOST_RANGES * length ? bytes : 0;
    if ((this.debt += FUEL.hostCall + (paid >>> 6)) > this.#step) this.#enterSlowly();
  }

  #enterSlowly(): void {
    this.recorder?.count(callerOf(this.enter));
    this.#settle();
  }

  /** Ends it. */
  leave(result: number): number {
    this.busy = false;
    return result;
  }

  /** Work that was not known when the call began, in bytes. */
  spend(bytes: number): void {
    if ((this.debt += bytes >>> 6) > this.#step) this.#settle();
  }

  #settle(): void {
    const left = this.charge(this.debt);
    this.debt = 0;
    if (left < 0) throw new Fault("fuel", this.fuelProblem);
  }

  /** More fuel, for bytes that have come within the call. */
  grant(bytes: number): void {
    const counted = Math.min(bytes, LIMIT.fetchBody);
    const more = fuelFor(this.fuel, counted) - this.fuel;
    this.seen += counted;
    this.fuel += more;
    this.charge(-more);
  }

  /** What to say of a call whose fuel is used up. */
  get fuelProblem(): string {
    const spent = `the fuel for one call is used up: ${this.fuel} units`;
    if (this.isStarting) return `${spent} for ${this.seen} bytes of configuration`;
    const base = Math.max(0, this.fuel - FUEL.perByte * this.seen);
    return `${spent} for ${this.seen} bytes (limits.fuel: ${base}, and ${FUEL.perByte} for each byte)`;
  }

  /** Start-up code and `configure` also run on trial: nothing that they do may be seen outside. */
  get isStarting(): boolean {
    return this.hook === STARTING || this.hook === HOOK.configure;
  }

  get hidden(): HiddenNames | null {
    return this.configuration === null ? null : this.configuration.hidden;
  }

  /** The head of a part that may be read now; null otherwise. */
  readable(part: number): Head | null {
    const { exchange } = this;
    if (exchange === null) return this.target !== null && part === HEADERS.request ? NO_HEAD : null;
    switch (part) {
      case HEADERS.request:
        return exchange.request;
      case HEADERS.response:
        return this.responded || ((RESPONSE_READS >>> this.hook) & 1) === 1 ? exchange.response : null;
      case HEADERS.requestTrailers:
        return exchange.requestTrailers;
      case HEADERS.responseTrailers:
        return exchange.responseTrailers;
      default:
        return null;
    }
  }

  /** The head of a part that may be changed now, saved so that it can be put back; null otherwise. */
  editable(part: number): Head | null {
    const { exchange } = this;
    if (exchange === null || this.hook < 0) return null;
    switch (part) {
      case HEADERS.request:
        return this.#editsRequest(exchange) ? this.#saved(DIRTY.request, exchange.request) : null;
      case HEADERS.response:
        if (!this.responded && !this.#editsResponse(exchange)) return null;
        return this.#saved(DIRTY.response, exchange.response);
      case HEADERS.requestTrailers:
        if (!this.#ends(exchange.requestPiece, HOOK.request_body, HOOK.request_trailers)) return null;
        return this.#saved(DIRTY.requestTrailers, (exchange.requestTrailers ??= new Head(TRAILERS, 8)));
      case HEADERS.responseTrailers:
        if (!this.#ends(exchange.answerPiece, HOOK.response_body, HOOK.response_trailers)) return null;
        return this.#saved(DIRTY.responseTrailers, (exchange.responseTrailers ??= new Head(TRAILERS, 8)));
      default:
        return null;
    }
  }

  /** Whether the request's head may be changed: in the hooks of heads, or with its whole body while it is held. */
  #editsRequest({ requestHeld }: ExchangeContext): boolean {
    return ((REQUEST_EDITS >>> this.hook) & 1) === 1 || (requestHeld && this.hook === HOOK.request_body);
  }

  /** Whether the status of an answer may be changed now. */
  changesAnswer(): boolean {
    return this.exchange !== null && this.#editsResponse(this.exchange);
  }

  #editsResponse({ answerHeld }: ExchangeContext): boolean {
    return this.hook === HOOK.response_head || (answerHeld && this.hook === HOOK.response_body);
  }

  /** Whether the end of a body is at hand, where trailers are changed. */
  #ends(piece: BodyChunk | null, body: number, trailers: number): boolean {
    return this.hook === trailers || (this.hook === body && piece !== null && piece.last);
  }

  #saved(bit: number, head: Head): Head {
    this.#save(bit, head);
    return head;
  }

  #save(bit: number, head: Head): void {
    if ((this.#dirty & bit) !== 0) return;
    head.save();
    this.#dirty |= bit;
  }

  /** The exchange, saved before a name of its request is owned. */
  owning(): ExchangeContext {
    const exchange = this.exchange!;
    if (exchange.requestTrailers !== null) this.#save(DIRTY.requestTrailers, exchange.requestTrailers);
    if ((this.#dirty & DIRTY.owned) === 0) {
      this.#dirty |= DIRTY.owned;
      this.#owned = exchange.owned;
    }
    return exchange;
  }

  /** The exchange, if in this hook a strategy may be chosen. */
  choosing(): ExchangeContext | null {
    const { exchange } = this;
    if (exchange === null || this.hook < 0 || !this.#editsRequest(exchange)) return null;
    this.#saveChoice(exchange);
    return exchange;
  }

  /** The same of a cluster: a connection may have one for all its requests. */
  choosingCluster(): HookContext | null {
    const { target } = this;
    if (target === null || this.hook !== HOOK.connection) return this.choosing();
    this.#saveChoice(target);
    return target;
  }

  #saveChoice(target: HookContext): void {
    if ((this.#dirty & DIRTY.choice) !== 0) return;
    this.#dirty |= DIRTY.choice;
    this.#cluster = target.chosenCluster;
    this.#strategy = target.exchange === null ? -1 : target.exchange.chosenStrategy;
  }

  /** The exchange, if in this hook an answer may be given (or its status changed). */
  answering(): ExchangeContext | null {
    const { exchange } = this;
    if (exchange === null || this.hook < 0 || !this.#answers(exchange)) return null;
    this.#save(DIRTY.response, exchange.response);
    if ((this.#dirty & DIRTY.answer) === 0) {
      this.#dirty |= DIRTY.answer;
      this.#status = exchange.localStatus;
      this.#body = exchange.localBody;
    }
    return exchange;
  }

  /** While a request's body streams by, an answer may be given until the endpoint's is there. */
  #answers(exchange: ExchangeContext): boolean {
    if (this.#editsRequest(exchange) || this.#editsResponse(exchange)) return true;
    return this.hook === HOOK.request_body && exchange.answeredAt === 0 && !exchange.headSent;
  }

  /** Sets a value of the exchange. @throws Fault when the host keeps too much for it. */
  keep(values: Map<string, KeptValue>, key: string, bytes: Uint8Array, call = "exchange_set"): void {
    const before = values.get(key) ?? null;
    // What this call has set itself never stands again.
    if (before !== null && before.setter === this) {
      this.charges.reserve(call, bytes.length - before.bytes.length);
      before.replace(bytes);
      return;
    }
    const kept = this.charges.reserve(call, KeptValue.sizeOf(key, bytes.length));
    const value = new KeptValue(key, bytes, before, kept, this);
    this.#values.push(value);
    values.set(key, value);
  }

  /** Drops all that the present hook call has changed. */
  rollback(): void {
    const { target, exchange } = this;
    if (target === null) return;
    if ((this.#dirty & DIRTY.choice) !== 0) target.chosenCluster = this.#cluster;
    if (target.values !== null) this.#dropValues(target.values);
    this.charges.rollback();
    if (exchange !== null) this.#rollbackExchange(exchange);
    this.#dirty = 0;
  }

  #rollbackExchange(exchange: ExchangeContext): void {
    if ((this.#dirty & DIRTY.request) !== 0) exchange.request.restore();
    if ((this.#dirty & DIRTY.response) !== 0) exchange.response.restore();
    if ((this.#dirty & DIRTY.requestTrailers) !== 0) exchange.requestTrailers!.restore();
    if ((this.#dirty & DIRTY.responseTrailers) !== 0) exchange.responseTrailers!.restore();
    if ((this.#dirty & DIRTY.owned) !== 0) exchange.disown(this.#owned);
    if (this.hook === HOOK.request_body) exchange.requestPiece?.reject();
    else if (this.hook === HOOK.response_body) exchange.answerPiece?.reject();
    if ((this.#dirty & DIRTY.choice) !== 0) exchange.chosenStrategy = this.#strategy;
    if ((this.#dirty & DIRTY.answer) !== 0) {
      exchange.localStatus = this.#status;
      exchange.localBody = this.#body;
    }
  }

  #dropValues(values: Map<string, KeptValue>): void {
    for (const value of this.#values) value.drop();
    for (const { key } of this.#values) {
      const standing = values.get(key)?.standing ?? null;
      if (standing === null) values.delete(key);
      else values.set(key, standing);
    }
  }
}

const HOST_CALLS: ReadonlySet<string> = new Set(Object.values(IMPORTS).flatMap((group) => Object.keys(group)));
/** `enter` is called by the host call, or by a helper of it. */
const FRAMES = 4;

/**
 * The name of the host call that called `enter`: that of its function, which is the import's (a test holds it). Read off
 * the stack, so that calls which are not traced need no wrapper and no further argument.
 */
function callerOf(enter: CallContext["enter"]): string {
  const holder: { stack?: string } = {};
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = FRAMES;
  Error.captureStackTrace(holder, enter);
  Error.stackTraceLimit = stackTraceLimit;
  for (const [, name = ""] of (holder.stack ?? "").matchAll(/^[ \t]*at (?:[\w$]+\.)*([\w$]+) \(/gm))
    if (HOST_CALLS.has(name)) return name;
  return "unknown";
}

/** Of a part number that exists. */
export function isPart(part: number): boolean {
  return part >= HEADERS.request && part <= HEADERS.responseTrailers;
}

/** Why a part cannot be used. */
export function whyNot(part: number): number {
  return isPart(part) ? STATUS.notHere : STATUS.invalid;
}
