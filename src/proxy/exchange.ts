/**
 * The state of one request and its response: taken from the worker's pool when the request head is complete, returned
 * after the response. All fields are initialised, so that all exchanges share one hidden class.
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
import type { Proxied } from "../net/proxy-protocol.ts";
import type { TlsFacts } from "../net/tls-facts.ts";
import type { ExchangeValue } from "../plugin/abi/exchange-value.ts";
import type { ExchangeMemory } from "../plugin/abi/host-memory.ts";
import type { ExchangeContext, HookCaller, Suspension, VersionChoice } from "../plugin/host/hook-context.ts";
import { Attempt } from "./attempt.ts";
import type { Downstream } from "./downstream.ts";
import type { ProxyError } from "./error.ts";
import type { ExchangeTrace } from "./exchange-trace.ts";
import type { FilteredBody } from "./filtered-body.ts";
import { OwnedHeaders } from "./owned-headers.ts";
import { PHASE } from "./phase.ts";
import { allocateSmall } from "./small-buffers.ts";
import type { ListenerState, RouteState } from "./snapshot.ts";
import type { Connector } from "./upstream-stream.ts";

export class Exchange implements ExchangeContext {
  /** Unique among the worker's current exchanges, and never 0; the `exchange` argument of hooks. */
  id = 0;
  phase: number = PHASE.idle;
  /** Continues the exchange when a suspended plugin call has completed. */
  caller: HookCaller | null = null;

  readonly request = new Head();
  /** `request.parts` as received. They stay valid, since edits only append bytes. */
  readonly original = new Uint32Array(PARTS);
  /** Where the bytes begin that plugins have added to the request head, and to the response head (`metadata.ts`). */
  originalEnd = 0;
  responseEnd = 0;
  requestTrailers: Head | null = null;
  readonly #heads: HeadPool;
  /** The head of the attempt that it is committed to, or `#local`; null before the first use of `response`. */
  #response: Head | null = null;
  /** The head of a local response. */
  #local: Head | null = null;
  /** Null until first used. */
  #owned: OwnedHeaders | null = null;

  /** The client's address: the peer's, or the one that a trusted proxy reports (`forwarded.ts`). */
  clientAddress = "";
  /** The connection's, or the one that a trusted proxy reports. */
  scheme: Scheme = "http";
  listenerName = "";
  /** Empty until a route matched. */
  routeName = "";
  /** Empty until a cluster is chosen. */
  clusterName = "";
  /** The endpoint of the last attempt. */
  endpoint: Endpoint | null = null;
  /** Number of attempts that were started. */
  attempts = 0;

  /** Index into the plan's clusters that a plugin chose, or -1. */
  chosenCluster = -1;
  /** The choice was made for the connection; null: for this request, or none. */
  connectionChoice: { readonly plugin: string } | null = null;
  /** Index into the plan's strategy names (`Snapshot.strategyNames`) that a plugin chose, or -1. */
  chosenStrategy = -1;

  /** The plugin that responded, rejected the request, or failed; empty if none did. */
  respondedBy = "";
  /** Fields that plugins add to the access log line. */
  logFields: Map<string, string> | null = null;

  /** The status of a local response, 0 when there is none. Its head is `response`. */
  localStatus = 0;
  localBody: Buffer | null = null;

  /** Values that plugins store for later hooks, by plugin and key: `${plugin}\0${key}`. */
  values: Map<string, ExchangeValue> | null = null;
  /** Memory that the host uses for plugins because of it, by configuration; null: little. */
  pluginMemory: ExchangeMemory[] | null = null;
  /** Instances whose remaining hooks are skipped (`onFailure: skip`), by instance index. */
  skipped: Set<number> | null = null;
  /** The versions of plugins chosen for it, by canary rollout; null: none yet. */
  canaryChoices: Map<number, VersionChoice> | null = null;

  /** performance.now() at the first byte of the request, and when its head was complete. */
  startedAt = 0;
  headAt = 0;
  bytesReceived = 0;
  bytesSent = 0;

  client: Downstream | null = null;
  /** Records its steps; null: it is not traced. */
  trace: ExchangeTrace | null = null;
  /** A plugin's subrequest, which is neither logged nor counted as a request. */
  isSubrequest = false;
  listener: ListenerState | null = null;
  route: RouteState | null = null;
  cluster: Cluster<Connector> | null = null;
  /** The attempt that it is committed to, else the last one. */
  attempt: Attempt;
  readonly #first: Attempt;
  /** Other active attempts; null: none. */
  rivals: Attempt[] | null = null;
  /** The picked endpoint is ejected: the next attempt is a probe. */
  picksProbe = false;
  /** Endpoints that were tried, by slot. */
  readonly tried: number[] = [];
  /** Instances of the listener's and the route's chain whose request hook was called. */
  enteredListener = 0;
  enteredRoute = 0;
  /** The reason of an error response; null if the response is the endpoint's or a plugin's. */
  error: ProxyError | null = null;
  /** The cause, for the log; never sent. */
  problem = "";
  /** The whole request was received. */
  requestComplete = false;
  /** Response headers were sent to the client. */
  headSent = false;
  /** Body bytes for the next attempt or a repeated one: at most REPLAY_LIMIT once an attempt has sent any. */
  replay: Buffer | null = null;
  replayLength = 0;
  /** Bytes were sent that are no longer buffered: no further attempt is possible. */
  replayLost = false;
  /** End of the route's timeout, or of a gRPC call's if that is earlier, as performance.now(); 0: none. */
  deadline = 0;
  /** It is a gRPC call; the end of its timeout (0: none), and its status once known (-1: not yet). */
  isGrpc = false;
  callDeadline = 0;
  grpcStatus = -1;
  /** Enforces the deadline while no connection does; null until then. */
  timeLimit: Timed | null = null;
  /** The method received was HEAD: the response has no body. */
  isHead = false;
  /** The protocol in the Upgrade header that is forwarded; null: none. */
  upgrade: UpgradeProtocol | null = null;
  /** A chain has begun: `log` hooks are called at the end. */
  begun = false;
  /** The request may be repeated: its method is idempotent (RFC 9110 section 9.2.2), or the route retries gRPC statuses. */
  idempotent = false;
  /** The next attempt must use a new connection, since an idle one was stale. */
  noReuse = false;
  /** The repeats at the same endpoint, of attempts that it did not process, weighted by `repeat` of attempts.ts. */
  repeats = 0;
  /** The first attempt begins later than `headAt`, after a suspended call or a buffered body. */
  delayed = false;
  /** It has waited for the bandwidth of its route. */
  paced = false;
  /** The bodies that are filtered or buffered for plugins; null: not. */
  requestBody: FilteredBody | null = null;
  responseBody: FilteredBody | null = null;
  /** Plugins that have processed the response head. */
  filtersDone = 0;
  /** A suspended head hook or wait for bandwidth; the phase after any suspended call; its outcome (-1: none). */
  suspension: Suspension | null = null;
  resumesAt = 0;
  outcome = -1;

  constructor(heads = new HeadPool()) {
    this.#heads = heads;
    this.attempt = this.#first = new Attempt(this, heads);
  }

  /** The response of the attempt that it is committed to, else a local one, which is empty at first. */
  get response(): Head {
    return this.#response ?? this.localResponse();
  }

  get headBytes(): number {
    // `response` would take a head from the pool.
    return this.request.received + (this.#response === null ? 0 : this.#response.received);
  }

  /** Makes `response` a local one. */
  localResponse(): Head {
    return (this.#response = this.#local ??= this.#heads.take());
  }

  /** Makes `response` that of this attempt. The caller cancels the other attempts. */
  commit(attempt: Attempt): void {
    if (attempt !== this.attempt) {
      const { rivals } = this;
      if (rivals !== null) rivals[rivals.indexOf(attempt)] = this.attempt;
      this.attempt = attempt;
    }
    this.endpoint = attempt.endpoint;
    this.#response = attempt.head;
  }

  /** Begins an attempt at `endpoint`. One that is still active becomes a rival. */
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

  /** Clears it, but keeps memory for the next request. */
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
    this.pluginMemory = null;
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
    this.isGrpc = false;
    this.callDeadline = 0;
    this.grpcStatus = -1;
    this.timeLimit = null;
    this.isHead = false;
    this.upgrade = null;
    this.begun = false;
    this.idempotent = false;
    this.noReuse = false;
    this.repeats = 0;
    this.delayed = false;
    this.paced = false;
    this.requestBody = null;
    this.responseBody = null;
    this.filtersDone = 0;
    this.suspension = null;
    this.resumesAt = 0;
    this.outcome = -1;
  }

  get tls(): TlsFacts | null {
    return this.client === null ? null : this.client.tls;
  }

  get proxied(): Proxied | null {
    return this.client?.connection?.proxied ?? null;
  }

  get exchange(): this {
    return this;
  }

  /** The whole request body was received, filtered, and passed to the attempt. */
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

  /** The owner of suspended calls of that hook: a body, or the exchange. */
  #suspendedBy(hook: number): FilteredBody | this {
    if (hook === HOOK.request_body) return this.requestBody ?? this;
    return (hook === HOOK.response_body ? this.responseBody : null) ?? this;
  }

  /** Cancels pending plugin calls, which reverts their changes. */
  cancelCalls(): void {
    this.suspension?.cancel();
    this.suspension = null;
    this.outcome = -1;
    this.filtersDone = 0;
    this.responseBody?.cancel();
    this.requestBody?.cancel();
  }

  /** Saves the start line as received, for X-Forwarded-Host, the access log and plugins. */
  keepOriginal(): void {
    const { original } = this;
    const { parts } = this.request;
    for (let i = 0; i < PARTS; i++) original[i] = parts[i]!;
    this.originalEnd = this.request.end;
  }

  /** The header names that filters own; null: none since the exchange was made. */
  get ownedNames(): OwnedHeaders | null {
    return this.#owned;
  }

  /** Number of header names that filters own. */
  get owned(): number {
    return this.#owned === null ? 0 : this.#owned.count;
  }

  /** Removes all request fields that a server may read as this name, also in later trailers; returns their number. */
  ownHeader(name: Uint8Array, start: number, end: number): number {
    (this.#owned ??= new OwnedHeaders()).add(name, start, end);
    const removed = removeAliases(this.request, name, start, end);
    return this.requestTrailers === null ? removed : removed + removeAliases(this.requestTrailers, name, start, end);
  }

  disown(count: number): void {
    this.#owned?.truncate(count);
  }

  /** The client's trailers were received. */
  takeTrailers(trailers: Head | null): void {
    this.requestTrailers = trailers;
    if (trailers !== null) this.#owned?.removeFrom(trailers);
  }

  /** Ends the charges for memory that the host used for plugins. */
  releasePluginMemory(): void {
    for (const account of this.pluginMemory ?? []) account.release();
    this.pluginMemory = null;
  }

  #dropRivals(rivals: readonly Attempt[]): void {
    for (const rival of rivals) rival.reset();
    this.rivals = null;
    this.attempt = this.#first;
  }

  /** These body bytes are sent by an attempt: keeps them for another one if all bytes before them were kept. */
  keepSent(bytes: Buffer, start: number, end: number): void {
    if (end === start || this.replayLost) return;
    if (!this.headSent && this.replayLength + end - start <= REPLAY_LIMIT) this.keep(bytes, start, end);
    else this.forgetBody();
  }

  /** No further attempt is possible. */
  forgetBody(): void {
    this.replay = null;
    this.replayLength = 0;
    this.replayLost = true;
  }

  /** Appends a copy of received body bytes to `replay`. */
  keep(bytes: Buffer, start: number, end: number): void {
    const need = this.replayLength + end - start;
    if (this.replay === null || this.replay.length < need) {
      const grown = allocateSmall(Math.max(need, this.replayLength * 2));
      if (this.replay !== null) this.replay.copy(grown, 0, 0, this.replayLength);
      this.replay = grown;
    }
    bytes.copy(this.replay, this.replayLength, start, end);
    this.replayLength = need;
  }
}

/** Maximum of body bytes that are buffered for another attempt. */
export const REPLAY_LIMIT = 64 * 1024;
