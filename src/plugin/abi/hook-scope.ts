/**
 * The hook under way: what it is called for, which parts of that it may read and change, and how to undo its changes when
 * it fails. Set before each call; fields, not closures, so that a call costs no memory.
 */
import { HEADERS, HOOK, STATUS } from "../../abi/abi.ts";
import { Head } from "../../http/head.ts";
import type { BodyChunk, EndpointList, ExchangeContext, HookContext } from "../host/hook-context.ts";
import type { CallCharges } from "./call-charges.ts";
import { ExchangeValue } from "./exchange-value.ts";

/** `hook` while start-up code runs. */
export const STARTING = -1;

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
  localResponse: 32,
  owned: 64,
} as const;

export class HookScope {
  hook = STARTING;
  /** What the hook is called for; null for those that are called for nothing in particular. */
  target: HookContext | null = null;
  /** Its request and response, where it has them. */
  exchange: ExchangeContext | null = null;
  view: EndpointList | null = null;
  /** `respond` was called in this hook call. */
  responded = false;
  readonly #charges: CallCharges;

  // What to put back when the hook fails.
  #dirty = 0;
  #cluster = -1;
  #strategy = -1;
  #status = 0;
  #body: Buffer | null = null;
  #owned = 0;
  readonly #values: ExchangeValue[] = [];

  constructor(charges: CallCharges) {
    this.#charges = charges;
  }

  begin(hook: number, target: HookContext | null, view: EndpointList | null): void {
    this.hook = hook;
    this.target = target;
    this.exchange = target === null ? null : target.exchange;
    this.view = view;
    this.responded = false;
    this.#dirty = 0;
  }

  /** Forgets the exchange, so that nothing of it is kept alive or reached. */
  end(): void {
    this.target = null;
    this.exchange = null;
    this.view = null;
    if (this.#values.length === 0) return;
    for (const value of this.#values) value.settle();
    this.#values.length = 0;
  }

  /** Start-up code and `configure` also run on trial: nothing that they do may be seen outside. */
  get isStarting(): boolean {
    return this.hook === STARTING || this.hook === HOOK.configure;
  }

  /**
   * Whether something may be waited for, in a hook that may. Not after an answer was given to a request's body: while
   * that streams by, the endpoint's answer would be read into its place.
   */
  get maySuspend(): boolean {
    return !(this.responded && this.hook === HOOK.request_body);
  }

  /** Whole milliseconds that the endpoint under check has left to answer; without one there is no end. */
  get timeLeft(): number {
    const { target } = this;
    if (this.hook !== HOOK.health_check || target === null) return Number.POSITIVE_INFINITY;
    return Math.max(1, Math.ceil(target.deadline - performance.now()));
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
        if (!this.#ends(exchange.requestChunk, HOOK.request_body, HOOK.request_trailers)) return null;
        return this.#saved(DIRTY.requestTrailers, (exchange.requestTrailers ??= new Head(TRAILERS, 8)));
      case HEADERS.responseTrailers:
        if (!this.#ends(exchange.responseChunk, HOOK.response_body, HOOK.response_trailers)) return null;
        return this.#saved(DIRTY.responseTrailers, (exchange.responseTrailers ??= new Head(TRAILERS, 8)));
      default:
        return null;
    }
  }

  /** Whether the request's head may be changed: in the hooks of heads, or with its whole body while it is held. */
  #editsRequest({ requestBuffered }: ExchangeContext): boolean {
    return ((REQUEST_EDITS >>> this.hook) & 1) === 1 || (requestBuffered && this.hook === HOOK.request_body);
  }

  /** Whether the status of an answer may be changed now. */
  editsStatus(): boolean {
    return this.exchange !== null && this.#editsResponse(this.exchange);
  }

  #editsResponse({ responseBuffered }: ExchangeContext): boolean {
    return this.hook === HOOK.response_head || (responseBuffered && this.hook === HOOK.response_body);
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
  responding(): ExchangeContext | null {
    const { exchange } = this;
    if (exchange === null || this.hook < 0 || !this.#mayRespond(exchange)) return null;
    this.#save(DIRTY.response, exchange.response);
    if ((this.#dirty & DIRTY.localResponse) === 0) {
      this.#dirty |= DIRTY.localResponse;
      this.#status = exchange.localStatus;
      this.#body = exchange.localBody;
    }
    return exchange;
  }

  /** While a request's body streams by, an answer may be given until the endpoint's is there. */
  #mayRespond(exchange: ExchangeContext): boolean {
    if (this.#editsRequest(exchange) || this.#editsResponse(exchange)) return true;
    return this.hook === HOOK.request_body && exchange.respondedAt === 0 && !exchange.headSent;
  }

  /** Makes a local response, which `answering` has allowed. Headers are removed, but their bytes stay for the undo. */
  respond(exchange: ExchangeContext, status: number, body: Buffer): void {
    const { response } = exchange;
    for (let index = 0; index < response.count; index++) response.removeAt(index);
    response.status = status;
    exchange.localStatus = status;
    exchange.localBody = body;
    this.responded = true;
  }

  /** Sets a value of the exchange. @throws Fault when the host keeps too much for it. */
  keep(values: Map<string, ExchangeValue>, key: string, bytes: Uint8Array, call = "exchange_set"): void {
    const before = values.get(key) ?? null;
    // What this call has set itself never stands again.
    if (before !== null && before.setter === this) {
      this.#charges.reserve(call, bytes.length - before.bytes.length);
      before.replace(bytes);
      return;
    }
    const kept = this.#charges.reserve(call, ExchangeValue.sizeOf(key, bytes.length));
    const value = new ExchangeValue(key, bytes, before, kept, this);
    this.#values.push(value);
    values.set(key, value);
  }

  /** Drops all that the present hook call has changed. */
  rollback(): void {
    const { target, exchange } = this;
    if (target === null) return;
    if ((this.#dirty & DIRTY.choice) !== 0) target.chosenCluster = this.#cluster;
    if (target.values !== null) this.#dropValues(target.values);
    if (exchange !== null) this.#rollbackExchange(exchange);
    this.#dirty = 0;
  }

  #rollbackExchange(exchange: ExchangeContext): void {
    if ((this.#dirty & DIRTY.request) !== 0) exchange.request.restore();
    if ((this.#dirty & DIRTY.response) !== 0) exchange.response.restore();
    if ((this.#dirty & DIRTY.requestTrailers) !== 0) exchange.requestTrailers!.restore();
    if ((this.#dirty & DIRTY.responseTrailers) !== 0) exchange.responseTrailers!.restore();
    if ((this.#dirty & DIRTY.owned) !== 0) exchange.disown(this.#owned);
    if (this.hook === HOOK.request_body) exchange.requestChunk?.reject();
    else if (this.hook === HOOK.response_body) exchange.responseChunk?.reject();
    if ((this.#dirty & DIRTY.choice) !== 0) exchange.chosenStrategy = this.#strategy;
    if ((this.#dirty & DIRTY.localResponse) !== 0) {
      exchange.localStatus = this.#status;
      exchange.localBody = this.#body;
    }
  }

  #dropValues(values: Map<string, ExchangeValue>): void {
    for (const value of this.#values) value.drop();
    for (const { key } of this.#values) {
      const standing = values.get(key)?.current ?? null;
      if (standing === null) values.delete(key);
      else values.set(key, standing);
    }
  }
}

/** Of a part number that exists. */
export function isPart(part: number): boolean {
  return part >= HEADERS.request && part <= HEADERS.responseTrailers;
}

/** Why a part cannot be used. */
export function unavailable(part: number): number {
  return isPart(part) ? STATUS.notHere : STATUS.invalid;
}
