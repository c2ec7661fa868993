/**
 * The scope of the current hook call: which parts of its context it can read and change, and how its changes are reverted
 * if it fails. Set before each call; fields instead of closures, so that a call allocates nothing.
 */
import { HEADERS, HOOK, STATUS } from "../../abi/abi.ts";
import { Head } from "../../http/head.ts";
import {
  type BodyContext,
  chunkOf,
  type EndpointList,
  type EndpointTarget,
  type ExchangeContext,
  type HookContext,
} from "../host/hook-context.ts";
import type { CallCharges } from "./call-charges.ts";
import { ExchangeValue } from "./exchange-value.ts";

/** The value of `hook` while start-up code runs. */
export const STARTING = -1;

/** The empty request head of connections and health checks. */
const NO_HEAD = new Head(16, 1);

/** Size in bytes of a trailer section that a plugin creates. */
const TRAILERS = 256;

const REQUEST_EDITS = (1 << HOOK.request_head) | (1 << HOOK.route);
const RESPONSE_READS =
  (1 << HOOK.response_head) |
  (1 << HOOK.response_body) |
  (1 << HOOK.response_trailers) |
  (1 << HOOK.outcome) |
  (1 << HOOK.log);

/** Bits of `dirty`: the parts that the current hook call has changed. */
const DIRTY = {
  request: 1,
  response: 2,
  requestTrailers: 4,
  responseTrailers: 8,
  choice: 16,
  localResponse: 32,
  owned: 64,
} as const;

/** Bytes from which bodies of local responses are shared. */
const LEAST_SHARED = 4096;

export class HookScope {
  hook = STARTING;
  /** The context of the hook; null for hooks without one. */
  target: HookContext | null = null;
  /** The context as an exchange; null without a request. */
  exchange: ExchangeContext | null = null;
  view: EndpointList | null = null;
  /** `respond` was called in this hook call. */
  responded = false;
  readonly #charges: CallCharges;

  // The state to restore if the hook fails.
  #dirty = 0;
  #cluster = -1;
  #strategy = -1;
  #status = 0;
  #body: Buffer | null = null;
  #owned = 0;
  /** The last body of a local response, if it is large: at most LIMIT.responseBody, which the guest had itself. */
  #lastBody: Buffer | null = null;
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

  /** Drops the references to the context; from now on the guest cannot access it. */
  end(): void {
    this.target = null;
    this.exchange = null;
    this.view = null;
    if (this.#values.length === 0) return;
    for (const value of this.#values) value.settle();
    this.#values.length = 0;
  }

  /** Start-up code or `configure` runs: also in start checks, so it must have no effects outside the guest. */
  get isStarting(): boolean {
    return this.hook === STARTING || this.hook === HOOK.configure;
  }

  /**
   * Whether a suspendable hook may suspend now. Not after `respond` in `request_body`: while the guest is suspended, the
   * endpoint's response would be read into the place of the local one.
   */
  get maySuspend(): boolean {
    return !(this.responded && this.hook === HOOK.request_body);
  }

  /** The endpoint under check; null in other hooks than `health_check`. */
  get checkedEndpoint(): EndpointTarget | null {
    return this.hook === HOOK.health_check && this.target !== null ? this.target.endpoint : null;
  }

  /** Milliseconds until the deadline of the health check, at least 1; infinite in other hooks. */
  get timeLeft(): number {
    const { target } = this;
    if (this.hook !== HOOK.health_check || target === null) return Number.POSITIVE_INFINITY;
    return Math.max(1, Math.ceil(target.deadline - performance.now()));
  }

  /** The headers of `part` (HEADERS) for reading; null if they are not available in this hook. */
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

  /** The headers of `part` for changing, after saving their state; null if they cannot be changed in this hook. */
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
        if (!this.#ends(exchange.requestBody, HOOK.request_body, HOOK.request_trailers)) return null;
        return this.#saved(DIRTY.requestTrailers, (exchange.requestTrailers ??= new Head(TRAILERS, 8)));
      case HEADERS.responseTrailers:
        if (!this.#ends(exchange.responseBody, HOOK.response_body, HOOK.response_trailers)) return null;
        return this.#saved(DIRTY.responseTrailers, (exchange.responseTrailers ??= new Head(TRAILERS, 8)));
      default:
        return null;
    }
  }

  /** The request head can be changed in head hooks, and in the body hook of a buffered head. */
  #editsRequest({ requestBody }: ExchangeContext): boolean {
    return (
      ((REQUEST_EDITS >>> this.hook) & 1) === 1 || (this.hook === HOOK.request_body && requestBody?.buffered === true)
    );
  }

  /** Whether the response's status can be changed now. */
  editsStatus(): boolean {
    return this.exchange !== null && this.#editsResponse(this.exchange);
  }

  #editsResponse({ responseBody }: ExchangeContext): boolean {
    return this.hook === HOOK.response_head || (this.hook === HOOK.response_body && responseBody?.buffered === true);
  }

  /** Trailers can be changed in the hook of the last body chunk and in the trailer hook. */
  #ends(filtered: BodyContext | null, body: number, trailers: number): boolean {
    return this.hook === trailers || (this.hook === body && filtered?.chunk.last === true);
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

  /** The exchange, after saving the state that owning a header name changes. */
  owning(): ExchangeContext {
    const exchange = this.exchange!;
    if (exchange.requestTrailers !== null) this.#save(DIRTY.requestTrailers, exchange.requestTrailers);
    if ((this.#dirty & DIRTY.owned) === 0) {
      this.#dirty |= DIRTY.owned;
      this.#owned = exchange.owned;
    }
    return exchange;
  }

  /** The exchange, after saving the choice; null if a strategy cannot be chosen in this hook. */
  choosing(): ExchangeContext | null {
    const { exchange } = this;
    if (exchange === null || this.hook < 0 || !this.#editsRequest(exchange)) return null;
    this.#saveChoice(exchange);
    return exchange;
  }

  /** Like `choosing`, for a cluster: the `connection` hook can choose one for all requests. */
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

  /** The exchange, after saving the response; null if the hook can neither respond nor change the status. */
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

  /** In a streamed request body, a local response is possible until the endpoint's response head is received. */
  #mayRespond(exchange: ExchangeContext): boolean {
    if (this.#editsRequest(exchange) || this.#editsResponse(exchange)) return true;
    return this.hook === HOOK.request_body && exchange.attempt.respondedAt === 0 && !exchange.headSent;
  }

  /** Sets the local response, with a copy of `body`; `responding` must have allowed it. A rollback restores headers. */
  respond(exchange: ExchangeContext, status: number, body: Buffer): void {
    const { response } = exchange;
    for (let index = 0; index < response.count; index++) response.removeAt(index);
    response.status = status;
    exchange.localStatus = status;
    exchange.localBody = this.#keepBody(body);
    this.responded = true;
  }

  /** Most plugins respond with the same body, which then exists once for all clients that have not read it. */
  #keepBody(body: Buffer): Buffer {
    if (body.length < LEAST_SHARED) return Buffer.from(body);
    if (!this.#lastBody?.equals(body)) this.#lastBody = Buffer.from(body);
    return this.#lastBody!;
  }

  /** Sets a value of the exchange to a copy of `bytes`. @throws Fault above the memory limit of the host. */
  keep(values: Map<string, ExchangeValue>, key: string, bytes: Uint8Array, call = "exchange_set"): void {
    const before = values.get(key) ?? null;
    // Set by this call: no rollback can restore it.
    if (before !== null && before.setter === this) {
      this.#charges.reserve(call, bytes.length - before.bytes.length);
      before.replace(bytes);
      return;
    }
    const account = this.#charges.reserve(call, ExchangeValue.sizeOf(key, bytes.length));
    const value = new ExchangeValue(key, Buffer.from(bytes), before, account, this);
    this.#values.push(value);
    values.set(key, value);
  }

  /** Reverts all changes of the current hook call. */
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
    chunkOf(this.hook, exchange)?.reject();
    if ((this.#dirty & DIRTY.choice) !== 0) exchange.chosenStrategy = this.#strategy;
    if ((this.#dirty & DIRTY.localResponse) !== 0) {
      exchange.localStatus = this.#status;
      exchange.localBody = this.#body;
    }
  }

  #dropValues(values: Map<string, ExchangeValue>): void {
    for (const value of this.#values) value.drop();
    for (const { key } of this.#values) {
      const current = values.get(key)?.current ?? null;
      if (current === null) values.delete(key);
      else values.set(key, current);
    }
  }
}

/** Whether `part` is one of HEADERS. */
function isPart(part: number): boolean {
  return part >= HEADERS.request && part <= HEADERS.responseTrailers;
}

/** The status for a part that is not available: `notHere`, or `invalid` for an unknown one. */
export function unavailable(part: number): number {
  return isPart(part) ? STATUS.notHere : STATUS.invalid;
}
