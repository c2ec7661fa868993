/**
 * The state of one request: taken from the worker's free list when its head is complete, given back when the response has
 * ended. Every field is set in the constructor, so that all exchanges share one shape.
 */

import { HOOK } from "../abi/abi.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import { removeAliases } from "../http/aliases.ts";
import { Head, PARTS } from "../http/head.ts";
import { HeadPool } from "../http/head-pool.ts";
import type { Scheme } from "../http/protocol.ts";
import type { UpgradeProtocol } from "../http/upgrade.ts";
import type { Timed } from "../net/clock.ts";
import type { ExchangeValue } from "../plugin/abi/exchange-value.ts";
import type { Kept } from "../plugin/abi/host-memory.ts";
import type { ExchangeContext, HookCaller, Suspension, VersionChoice } from "../plugin/host/hook-context.ts";
import { Attempt } from "./attempt.ts";
import type { Downstream } from "./downstream.ts";
import type { ProxyError } from "./error.ts";
import type { ExchangeTrace } from "./exchange-trace.ts";
import type { FilteredBody } from "./filtered-body.ts";
import { OwnedHeaders } from "./owned-headers.ts";
import { PHASE } from "./phase.ts";
import type { ListenerState, RouteState } from "./snapshot.ts";
import type { Connector } from "./upstream-stream.ts";

export class Exchange implements ExchangeContext {
  /** A number that no other exchange of this thread has while it lives; the `exchange` argument of hooks. Never 0. */
  id = 0;
  phase: number = PHASE.idle;
  /** Continues it when a plugin's call that was suspended has completed. */
  caller: HookCaller | null = null;

  readonly request = new Head();
  /** `request.parts` before any plugin has changed them. Edits only append bytes, so these stay what they were. */
  readonly original = new Uint32Array(PARTS);
  /** Where bytes begin that plugins have added to the request's head, and to the response's (`metadata.ts`). */
  originalEnd = 0;
  responseEnd = 0;
  requestTrailers: Head | null = null;
  readonly #heads: HeadPool;
  /** The head of the attempt that it is committed to, or `#local`; null before the first use of `response`. */
  #response: Head | null = null;
  /** The head of a local response. */
  #local: Head | null = null;
  /** Null until the first exchange that needs it. */
  #owned: OwnedHeaders | null = null;

  /** The client's address as text: the peer's, or what a trusted proxy says (`forwarded.ts`). */
  clientAddress = "";
  /** The connection's, or what a trusted proxy says. */
  scheme: Scheme = "http";
  listenerName = "";
  /** Empty until a route matched. */
  routeName = "";
  /** Empty until a cluster is chosen. */
  clusterName = "";
  /** The endpoint tried last. */
  endpoint: Endpoint | null = null;
  /** Attempts begun. */
  attempts = 0;

  /** Index into the plan's clusters that a plugin chose, or -1. */
  chosenCluster = -1;
  /** It was chosen for the connection, before the request; null: it was not. */
  connectionChoice: { readonly plugin: string } | null = null;
  /** Index into the plan's strategy names (`Snapshot.strategyNames`) that a plugin chose, or -1. */
  chosenStrategy = -1;

  /** The plugin that responded, refused the request, or failed; empty where none did. */
  respondedBy = "";
  /** Fields that plugins add to the line of the access log. */
  logFields: Map<string, string> | null = null;

  /** The status of a local response, 0 when there is none. Its head is `response`. */
  localStatus = 0;
  localBody: Buffer | null = null;

  /** Values kept from hook to hook, by plugin and key: `${plugin}\0${key}`. */
  values: Map<string, ExchangeValue> | null = null;
  /** What the host keeps for its plugins, by configuration; null: hardly anything. */
  kept: Kept[] | null = null;
  /** Instances whose remaining hooks are dropped for this exchange (`onFailure: skip`), by instance index. */
  skipped: Set<number> | null = null;
  /** The versions of plugins chosen for it, by canary rollout; null: none yet. */
  canaryChoices: Map<number, VersionChoice> | null = null;

  /** performance.now() at the request's first byte, and when its head was complete. */
  startedAt = 0;
  headAt = 0;
  bytesReceived = 0;
  bytesSent = 0;

  client: Downstream | null = null;
  /** Records its steps; null for nearly all. */
  trace: ExchangeTrace | null = null;
  /** It is a plugin's subrequest: it has no listener, and is neither logged nor counted as a request. */
  isSubrequest = false;
  listener: ListenerState | null = null;
  route: RouteState | null = null;
  cluster: Cluster<Connector> | null = null;
  /** The one that it is committed to, else the one begun last. */
  attempt: Attempt;
  readonly #first: Attempt;
  /** Others that are alive; null for nearly all. */
  rivals: Attempt[] | null = null;
  /** The endpoint just picked is ejected: the attempt at it is a probe. */
  picksProbe = false;
  /** Endpoints that were tried, by slot. */
  readonly tried: number[] = [];
  /** Instances of the listener's and the route's chain whose request hook was called. */
  enteredListener = 0;
  enteredRoute = 0;
  /** Why the response is an error response; null when it is the endpoint's or a plugin's. */
  error: ProxyError | null = null;
  /** What happened, for the log only; never sent. */
  problem = "";
  /** The request was received completely, body included. */
  requestComplete = false;
  /** The headers of a response were sent to the client. */
  headSent = false;
  /** Body bytes that may have to be sent (again): at most REPLAY_LIMIT once an attempt has begun to send. */
  replay: Buffer | null = null;
  replayLength = 0;
  /** Bytes were sent that are no longer kept: no further attempt can be made. */
  replayLost = false;
  /** When the route's timeout is over, as performance.now(); 0: it has none. */
  deadline = 0;
  /** Enforces the deadline while no connection to an endpoint does; null until then. */
  timeLimit: Timed | null = null;
  /** The client's method was HEAD: the response has no body. */
  isHead = false;
  /** The protocol that the present attempt asks the endpoint for; null: none. */
  upgrade: UpgradeProtocol | null = null;
  /** Its chain was begun: `log` hooks are called at the end. */
  begun = false;
  /** Repeating the request has the effect of one (RFC 9110 section 9.2.2). */
  idempotent = false;
  /** The next attempt must not use an idle connection: one was stale. */
  noReuse = false;
  /** It was suspended, or its body buffered, before the first attempt, which thus begins later than `headAt`. */
  delayed = false;
  /** The bodies, where they go through body filters; null: they do not. */
  requestBody: FilteredBody | null = null;
  responseBody: FilteredBody | null = null;
  /** Plugins that have seen the response's headers. */
  filtersDone = 0;
  /** A suspended call for headers, the phase that continues after any suspended call, and its outcome (-1: there is none). */
  suspension: Suspension | null = null;
  resumesAt = 0;
  outcome = -1;

  constructor(heads = new HeadPool()) {
    this.#heads = heads;
    this.attempt = this.#first = new Attempt(this, heads);
  }

  /** The response: that of the attempt that it is committed to, else a local one, empty before a plugin or an error fills it. */
  get response(): Head {
    return this.#response ?? this.localResponse();
  }

  get headBytes(): number {
    // Without `response`, so that an exchange without one does not take a head for it.
    return this.request.received + (this.#response === null ? 0 : this.#response.received);
  }

  /** Makes `response` a local one. */
  localResponse(): Head {
    return (this.#response = this.#local ??= this.#heads.take());
  }

  /** Makes `response` that of this attempt. Its rivals are the caller's to cancel. */
  commit(attempt: Attempt): void {
    if (attempt !== this.attempt) {
      const { rivals } = this;
      if (rivals !== null) rivals[rivals.indexOf(attempt)] = this.attempt;
      this.attempt = attempt;
    }
    this.endpoint = attempt.endpoint;
    this.#response = attempt.head;
  }

  /** The attempt that begins now, at `endpoint`. One that is still alive becomes its rival. */
  beginAttempt(): Attempt {
    let { attempt } = this;
    if (attempt.stream !== null) {
      (this.rivals ??= []).push(attempt);
      attempt = this.attempt = new Attempt(this, this.#heads);
    } else if (attempt.endpoint !== null) attempt.restart();
    this.attempts++;
    attempt.endpoint = this.endpoint;
    attempt.inFlight = true;
    attempt.probe = this.picksProbe;
    this.picksProbe = false;
    return attempt;
  }

  get responseTrailers(): Head | null {
    return this.attempt.trailers;
  }

  set responseTrailers(trailers: Head | null) {
    this.attempt.trailers = trailers;
  }

  /** Makes it like new but for the memory. */
  reset(): void {
    this.phase = PHASE.idle;
    this.caller = null;
    this.#response = null;
    if (this.#local !== null) this.#heads.give(this.#local);
    this.#local = null;
    for (let i = 0; i < PARTS; i++) this.original[i] = 0;
    this.originalEnd = 0;
    this.responseEnd = 0;
    if (this.#owned !== null) this.#owned.reset();
    this.requestTrailers = null;
    this.clientAddress = "";
    this.scheme = "http";
    this.listenerName = "";
    this.routeName = "";
    this.clusterName = "";
    this.endpoint = null;
    this.attempts = 0;
    this.chosenCluster = -1;
    this.connectionChoice = null;
    this.chosenStrategy = -1;
    this.respondedBy = "";
    this.logFields = null;
    this.localStatus = 0;
    this.localBody = null;
    this.values = null;
    this.kept = null;
    this.skipped = null;
    this.canaryChoices = null;
    this.startedAt = 0;
    this.headAt = 0;
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.client = null;
    this.trace = null;
    this.isSubrequest = false;
    this.listener = null;
    this.route = null;
    this.cluster = null;
    this.attempt.reset();
    if (this.rivals !== null) this.#dropRivals(this.rivals);
    this.picksProbe = false;
    if (this.tried.length > 0) this.tried.length = 0;
    this.enteredListener = 0;
    this.enteredRoute = 0;
    this.error = null;
    this.problem = "";
    this.requestComplete = false;
    this.headSent = false;
    this.replay = null;
    this.replayLength = 0;
    this.replayLost = false;
    this.deadline = 0;
    this.timeLimit = null;
    this.isHead = false;
    this.upgrade = null;
    this.begun = false;
    this.idempotent = false;
    this.noReuse = false;
    this.delayed = false;
    this.requestBody = null;
    this.responseBody = null;
    this.filtersDone = 0;
    this.suspension = null;
    this.resumesAt = 0;
    this.outcome = -1;
  }

  get exchange(): this {
    return this;
  }

  /** The whole request body was received, filtered, and passed on to the attempt. */
  get requestPassed(): boolean {
    return this.requestBody === null ? this.requestComplete : this.requestBody.passed;
  }

  suspend(hook: number, call: Suspension): void {
    this.#suspendedBy(hook).suspension = call;
  }

  /** The suspended call of that hook has completed. */
  resume(hook: number, outcome: number): void {
    const suspended = this.#suspendedBy(hook);
    suspended.suspension = null;
    suspended.outcome = outcome;
  }

  /** What that hook suspends: a body, or the headers. */
  #suspendedBy(hook: number): FilteredBody | this {
    if (hook === HOOK.request_body) return this.requestBody ?? this;
    return (hook === HOOK.response_body ? this.responseBody : null) ?? this;
  }

  /** Cancels pending plugin calls, which restores what they have changed. */
  cancelCalls(): void {
    this.suspension?.cancel();
    this.suspension = null;
    this.outcome = -1;
    this.filtersDone = 0;
    this.responseBody?.cancel();
    this.requestBody?.cancel();
  }

  /** Keeps the start line as it is now for X-Forwarded-Host, the access log, and plugins that ask. */
  keepOriginal(): void {
    const { original } = this;
    const { parts } = this.request;
    for (let i = 0; i < PARTS; i++) original[i] = parts[i]!;
    this.originalEnd = this.request.end;
  }

  /** How many names filters own. */
  get owned(): number {
    return this.#owned === null ? 0 : this.#owned.count;
  }

  /**
   * Removes every field of the request that a server may read as this name, and removes those that come in its trailers
   * later. Returns how many there were.
   */
  ownHeader(name: Uint8Array, start: number, end: number): number {
    (this.#owned ??= new OwnedHeaders()).add(name, start, end);
    const removed = removeAliases(this.request, name, start, end);
    return this.requestTrailers === null ? removed : removed + removeAliases(this.requestTrailers, name, start, end);
  }

  /** Owns no more than the first so many names again. */
  disown(count: number): void {
    this.#owned?.truncate(count);
  }

  /** The client's trailers have come. */
  takeTrailers(trailers: Head | null): void {
    this.requestTrailers = trailers;
    if (trailers !== null) this.#owned?.removeFrom(trailers);
  }

  /** It has ended, and is about to be reset: plugins are charged no more for what was kept. */
  releaseKept(): void {
    for (const kept of this.kept ?? []) kept.release();
    this.kept = null;
  }

  #dropRivals(rivals: readonly Attempt[]): void {
    for (const rival of rivals) rival.reset();
    this.rivals = null;
    this.attempt = this.#first;
  }

  /** Keeps body bytes that came, in memory of the exchange's own. */
  keep(bytes: Buffer, start: number, end: number): void {
    const need = this.replayLength + end - start;
    if (this.replay === null || this.replay.length < need) {
      const grown = Buffer.allocUnsafeSlow(Math.max(1024, need, this.replayLength * 2));
      if (this.replay !== null) this.replay.copy(grown, 0, 0, this.replayLength);
      this.replay = grown;
    }
    bytes.copy(this.replay, this.replayLength, start, end);
    this.replayLength = need;
  }
}

/** Body bytes that are kept for another attempt, at most. */
export const REPLAY_LIMIT = 64 * 1024;
