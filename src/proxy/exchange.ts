/**
 * The record of one request on its way: taken from the thread's free list when a head is complete, given back when the
 * response has ended. Every field is set in the constructor, so that all exchanges share one shape.
 */

import { HOOK } from "../abi/abi.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import { isAlias, removeAliases } from "../http/aliases.ts";
import { FIELD_WORDS, Head, NAME, NAME_END, NAME_START, PARTS } from "../http/head.ts";
import { HeadPool } from "../http/head-pool.ts";
import type { Connection } from "../net/connection.ts";
import type { Carry } from "../net/pending-buffer.ts";
import type { Kept } from "../plugin/abi/host-memory.ts";
import type { KeptValue } from "../plugin/abi/kept-value.ts";
import type { ExchangeContext, HookCaller, Suspension, VersionChoice } from "../plugin/host/hook-context.ts";
import type { Instance } from "../plugin/host/instance.ts";
import type { Trace } from "../trace/trace.ts";
import { Attempt } from "./attempt.ts";
import type { Piece } from "./chunk.ts";
import type { ConnectionChoice } from "./connection-choice.ts";
import type { Downstream } from "./downstream.ts";
import type { ProxyError } from "./error.ts";
import type { ListenerState, RouteState } from "./snapshot.ts";
import type { TimeLimit } from "./time-limit.ts";
import type { Connector } from "./upstream-stream.ts";

const NOTHING = Buffer.alloc(0);

/** Where in the pipeline an exchange is (`pipeline.ts`). */
export const PHASE = {
  idle: 0,
  received: 1,
  request: 2,
  route: 3,
  chain: 4,
  /** The body of a request that is held back is gathered: until it is complete, or too large. */
  gathering: 5,
  stageRequest: 6,
  pick: 7,
  forward: 8,
  awaiting: 9,
  /** A final response head was received. */
  responded: 10,
  failed: 11,
  response: 12,
  /** The same as `gathering` of a response. */
  collecting: 13,
  stageAnswer: 14,
  send: 15,
  body: 16,
  /** A piece of the response's body goes through plugins. */
  piece: 17,
  /** The response cannot be completed. */
  broken: 18,
  done: 19,
  /** A plugin's call is suspended; the exchange continues at `resumesAt`. */
  suspended: 20,
} as const;

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
  /** What `response` is: the head of the attempt that it is committed to, or `#local`; null: there was no use of it yet. */
  #response: Head | null = null;
  /** The head of a local response. */
  #local: Head | null = null;
  /** Names that filters own (`ownHeader`), as fields without values; null until the first exchange that needs it. */
  #owned: Head | null = null;

  /** The client's address as text: the peer's, or what a trusted proxy says (`forwarded.ts`). */
  clientAddress = "";
  /** Via and X-Forwarded-* as the client's connection brings them (`headers.ts`). */
  clientForwarded: Buffer = NOTHING;
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
  /** That was chosen for its connection, before it came; null: it was not. */
  connectionChoice: ConnectionChoice | null = null;
  /** Index into the plan's strategy names (`Snapshot.strategyNames`) that a plugin chose, or -1. */
  chosenStrategy = -1;

  /** The plugin that responded, refused the request, or failed; empty where none did. */
  respondedBy = "";
  /** Fields that plugins add to the line of the access log. */
  logFields: Map<string, string> | null = null;

  /** An answer of a plugin or of Sluice itself: its status, 0 when there is none. Its head is `response`. */
  localStatus = 0;
  localBody: Buffer | null = null;

  /** Values kept from hook to hook, by plugin and key: `${plugin}\0${key}`. */
  values: Map<string, KeptValue> | null = null;
  /** What the host keeps for its plugins, by configuration; null: hardly anything. */
  kept: Kept[] | null = null;
  /** Instances whose remaining hooks are dropped for this exchange (`onFailure: skip`), by instance index. */
  skipped: Set<number> | null = null;
  /** Which version of a plugin it has, by rollout; null while it met none. */
  staged: Map<number, VersionChoice> | null = null;

  /** performance.now() at the request's first byte, and when its head was complete. */
  startedAt = 0;
  headAt = 0;
  bytesReceived = 0;
  bytesSent = 0;

  client: Downstream | null = null;
  /** Its way is recorded; null for nearly all. */
  trace: Trace | null = null;
  /** It is a plugin's own request: told to no listener, log or counter of requests. */
  own = false;
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
  /** Why the answer is Sluice's own; null when it is the endpoint's or a plugin's. */
  error: ProxyError | null = null;
  /** What happened, for the log only; never sent. */
  problem = "";
  /** The request came whole, body included. */
  requestComplete = false;
  /** The head of an answer went to the client. */
  headSent = false;
  /** Body bytes that came and may have to be sent (again): at most REPLAY_LIMIT once an attempt has begun to send. */
  replay: Buffer | null = null;
  replayLength = 0;
  /** Bytes were sent that are no longer kept: no further attempt can be made. */
  replayLost = false;
  /** When the route's timeout is over, as performance.now(); 0: it has none. */
  deadline = 0;
  /** What looks after it while no connection to an endpoint does; null until then. */
  timeLimit: TimeLimit | null = null;
  /** The client asked by HEAD: the answer has no body. */
  isHead = false;
  /** Its chain was begun: `log` hooks are owed. */
  begun = false;
  /** RFC 9110 section 9.2.2: a repeated request has the effect of one. */
  idempotent = false;
  /** The next attempt must not use a kept connection: one was stale. */
  fresh = false;
  /** It was held up before its first attempt, by a plugin or for the rest of its body: an attempt begins later than `headAt`. */
  waited = false;
  /** Plugins that hold the head back until its body is whole; null: none does. */
  holders: Instance[] | null = null;
  requestHeld = false;
  answerHeld = false;
  /** Instances whose body hook is not called: the body is over their limit. By index; `~index` for the answer's. */
  passedOver: Set<number> | null = null;
  /** The request's body goes through plugins piece by piece. */
  requestStaged = false;
  /** The answer's body has gone through plugins, or does: its length may be another than its head says. */
  answerStaged = false;
  /** The pieces that plugins see now, one in each direction, and how many of them have. */
  requestPiece: Piece | null = null;
  requestStage = 0;
  answerPiece: Piece | null = null;
  /** How many plugins have seen the answer's head, or its piece. */
  stage = 0;
  /** A plugin's call that waits, where the exchange goes on after it, and with which outcome (-1: none is there). */
  suspension: Suspension | null = null;
  resumesAt = 0;
  settled = -1;
  /** The same for the request's body, which goes its own way. */
  requestSuspension: Suspension | null = null;
  requestSettled = -1;
  /** A piece of the request's body waits for a plugin; what came of it meanwhile, and what is ready to be sent. */
  requestWaits = false;
  requestSource: Connection | null = null;
  requestQueue: Carry | null = null;
  requestReady: Carry | null = null;
  /** The whole body has been passed on to the attempt: it came, and went through the plugins. */
  requestPassed = false;
  /** What has come of a held answer's body. */
  gathered: Carry | null = null;

  constructor(heads = new HeadPool()) {
    this.#heads = heads;
    this.attempt = this.#first = new Attempt(this, heads);
  }

  /** The response: that of the attempt that it is committed to, else a local one, empty before a plugin or an error fills it. */
  get response(): Head {
    return this.#response ?? this.localResponse();
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

  /** performance.now() at the response head; 0: none yet. */
  get answeredAt(): number {
    return this.attempt.answeredAt;
  }

  set answeredAt(time: number) {
    this.attempt.answeredAt = time;
  }

  get attemptLatency(): number {
    return this.attempt.latency;
  }

  set attemptLatency(microseconds: number) {
    this.attempt.latency = microseconds;
  }

  get attemptStatus(): number {
    return this.attempt.status;
  }

  set attemptStatus(status: number) {
    this.attempt.status = status;
  }

  get attemptFailed(): boolean {
    return this.attempt.failed;
  }

  set attemptFailed(failed: boolean) {
    this.attempt.failed = failed;
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
    if (this.#owned !== null) this.#forgetOwned(this.#owned);
    this.requestTrailers = null;
    this.clientAddress = "";
    this.clientForwarded = NOTHING;
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
    this.staged = null;
    this.startedAt = 0;
    this.headAt = 0;
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.client = null;
    this.trace = null;
    this.own = false;
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
    this.begun = false;
    this.idempotent = false;
    this.fresh = false;
    this.waited = false;
    this.holders = null;
    this.requestHeld = false;
    this.answerHeld = false;
    this.passedOver = null;
    this.requestStaged = false;
    this.answerStaged = false;
    this.requestPiece = null;
    this.requestStage = 0;
    this.answerPiece = null;
    this.stage = 0;
    this.suspension = null;
    this.resumesAt = 0;
    this.settled = -1;
    this.requestSuspension = null;
    this.requestSettled = -1;
    this.requestWaits = false;
    this.requestSource = null;
    this.requestQueue = null;
    this.requestReady = null;
    this.requestPassed = false;
    this.gathered = null;
  }

  get exchange(): this {
    return this;
  }

  suspend(hook: number, call: Suspension): void {
    if (hook === HOOK.request_body) this.requestSuspension = call;
    else this.suspension = call;
  }

  /** Cancels pending plugin calls, which restores what they have changed. */
  cancelCalls(): void {
    this.suspension?.cancel();
    this.suspension = null;
    this.requestSuspension?.cancel();
    this.requestSuspension = null;
    this.requestWaits = false;
    this.settled = -1;
    this.requestSettled = -1;
    this.stage = 0;
    this.requestStage = 0;
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
    const owned = (this.#owned ??= new Head(OWNED_AREA, OWNED_NAMES));
    if (!hasAlias(owned, name, start, end)) {
      const at = owned.append(name, start, end);
      owned.push(at, at + end - start, 0, 0, NAME.other);
    }
    const removed = removeAliases(this.request, name, start, end);
    return this.requestTrailers === null ? removed : removed + removeAliases(this.requestTrailers, name, start, end);
  }

  /** Owns no more than the first so many names again. */
  disown(count: number): void {
    if (this.#owned !== null) this.#owned.count = count;
  }

  #forgetOwned(owned: Head): void {
    owned.reset();
    if (owned.bytes.length > MAX_OWNED_AREA) this.#owned = null;
  }

  /** The client's trailers have come. */
  takeTrailers(trailers: Head | null): void {
    this.requestTrailers = trailers;
    const owned = this.#owned;
    if (trailers === null || owned === null) return;
    for (let i = 0, at = 0; i < owned.count; i++, at += FIELD_WORDS)
      removeAliases(trailers, owned.bytes, owned.fields[at + NAME_START]!, owned.fields[at + NAME_END]!);
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

function hasAlias(owned: Head, name: Uint8Array, start: number, end: number): boolean {
  const { bytes, fields } = owned;
  for (let i = 0, at = 0; i < owned.count; i++, at += FIELD_WORDS)
    if (isAlias(bytes, fields[at + NAME_START]!, fields[at + NAME_END]!, name, start, end)) return true;
  return false;
}

const OWNED_AREA = 128;
const OWNED_NAMES = 4;
/** What many names took is not held for ever. */
const MAX_OWNED_AREA = 4096;

/** Body bytes kept for a further attempt at most. */
export const REPLAY_LIMIT = 64 * 1024;

const MAX_FREE = 1024;
/** Memory of the head of one that is kept: what a large head took is not held for ever. */
const MAX_HEAD = 16 * 1024;

/** The thread's exchanges: those that ended serve again. */
export class Exchanges {
  readonly #free: Exchange[] = [];
  readonly #heads = new HeadPool();
  #nextId = 1;
  readonly #caller: HookCaller | null;

  constructor(caller: HookCaller | null = null) {
    this.#caller = caller;
  }

  take(): Exchange {
    const x = this.#free.pop() ?? new Exchange(this.#heads);
    x.id = this.nextId();
    x.caller = this.#caller;
    return x;
  }

  nextId(): number {
    const id = this.#nextId;
    this.#nextId = id === 0x7fffffff ? 1 : id + 1;
    return id;
  }

  giveBack(x: Exchange): void {
    if (this.#free.length < MAX_FREE && x.request.bytes.length <= MAX_HEAD) this.#free.push(x);
  }
}
