/**
 * An HTTP/2 connection to an endpoint (RFC 9113): its preface and settings, which requests it takes, its liveness and its
 * end. Frames are read by `client-streams.ts`, and written once for each turn of the event loop.
 *
 * Bounds: silence by `timeouts.ping` and `timeouts.connect`; an endpoint that does not read by `timeouts.idle`.
 */

import { CODE, DEFAULT_WINDOW, SETTING } from "../../http2/frames.ts";
import { Connection } from "../../net/connection.ts";
import { alpnOf, type DialHandler, dial } from "../../net/dial.ts";
import { ALPN } from "../../net/tls-client.ts";
import type { ClusterPlan } from "../../plan/plan.ts";
import { connectError, isLocalCause } from "../../proxy/connect-error.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";
import type { ClientStream, Http2Target } from "./client-stream.ts";
import { ClientStreams, RECEIVE_WINDOW, type StreamsOwner } from "./client-streams.ts";
import { FrameBudget } from "./frame-budget.ts";
import { FrameWriter, type WriterOwner } from "./frame-writer.ts";
import { PingLimit } from "./ping-limit.ts";
import { SendScheduler } from "./send-scheduler.ts";

/**
 * Streams that are reset until the connection is replaced. Endpoints count resets and close a connection with too many,
 * and any client can cause them by cancelling its requests: those of others are to be on another connection by then.
 */
const MAX_RESETS = 50;
/** Control frames that an endpoint may send at once, and per second. */
const CONTROL_FRAMES = { burst: 1000, perSecond: 100 };
/** What the deadline of the connection limits; `rest`: what the endpoint sent before a write failed. */
const AWAITS = { connection: 0, settings: 1, flush: 2, rest: 3, ping: 4, life: 5, use: 6 } as const;

/** The pool that a session belongs to. */
export interface SessionOwner {
  /** ALPN has selected HTTP/1: takes over the connection. Returns false if it may not be used. */
  selectedHttp1(session: ClientSession): boolean;
  /** The endpoint's first SETTINGS were received: streams can be opened. */
  ready(session: ClientSession): void;
  /** A stream was closed, or more of them are allowed. */
  freed(session: ClientSession): void;
  goAway(session: ClientSession, code: number): void;
  /** It takes no further stream, and has some left. */
  retired(session: ClientSession): void;
  /** It takes no further stream, because so many of its streams were reset. */
  replaced(session: ClientSession, resets: number): void;
  /** It is closed. `error`, `problem`: why it was never ready; null: it was. */
  closed(session: ClientSession, error: ProxyError | null, problem: string, isLocal: boolean): void;
  /** It is ended for a violation of the protocol. */
  violated(session: ClientSession, code: number, problem: string): void;
  internal(error: unknown): void;
}

export class ClientSession implements DialHandler, StreamsOwner, WriterOwner {
  readonly connection: Connection<DialHandler>;
  readonly target: Http2Target;
  readonly streams: ClientStreams;
  /** performance.now() at its creation. */
  readonly openedAt = performance.now();
  /** performance.now() at the endpoint's first SETTINGS. */
  readyAt = 0;
  readonly #context: WorkerContext;
  readonly #owner: SessionOwner;
  readonly #plan: ClusterPlan;
  readonly #retiresAt: number;
  readonly #writer: FrameWriter;
  readonly #scheduler: SendScheduler;
  /** It takes no further stream. */
  #retired = false;
  #ended = false;
  #awaits: number = AWAITS.connection;
  readonly #pings = new PingLimit();
  #receivedAt = 0;
  /** Why a write failed; empty: none did. */
  #writeProblem = "";

  constructor(context: WorkerContext, owner: SessionOwner, target: Http2Target) {
    this.#context = context;
    this.#owner = owner;
    this.target = target;
    this.#plan = target.plan;
    this.#retiresAt = context.clock.after(target.plan.pool.age);
    this.connection = new Connection(context, null);
    this.connection.handler = this;
    this.#writer = new FrameWriter(this.connection, this, context.buffers);
    const budget = new FrameBudget(CONTROL_FRAMES, context.clock.now);
    this.#scheduler = new SendScheduler(this.connection, this.#writer, budget, context.clock);
    this.streams = new ClientStreams(this, {
      clock: context.clock,
      buffers: context.buffers,
      budget,
      writer: this.#writer,
      scheduler: this.#scheduler,
      plan: target.plan,
    });
  }

  connect(): void {
    const { protocol, tls, timeouts } = this.#plan;
    dial(this.connection, this.target.endpoint, tls, protocol === "auto" ? ALPN.auto : ALPN.http2);
    this.connection.arm(timeouts.connect);
  }

  connected(): void {
    if (this.#plan.tls !== null && alpnOf(this.connection) !== "h2") {
      if (this.#owner.selectedHttp1(this)) return;
      return this.#closeUnready(ERROR.tlsFailed, "the endpoint did not select h2 by ALPN");
    }
    this.#awaits = AWAITS.settings;
    this.#writer.preface();
    this.#writer.settings([
      [SETTING.enablePush, 0],
      [SETTING.maxHeaderListSize, this.#plan.limits.head],
    ]);
    this.#writer.windowUpdate(0, RECEIVE_WINDOW - DEFAULT_WINDOW);
    this.#writer.flush();
  }

  // ── Streams ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** It is closed, or about to be: no frame is processed. */
  get hasEnded(): boolean {
    return this.#ended;
  }

  get isReady(): boolean {
    return this.streams.hasSettings && !this.#ended;
  }

  get isConnecting(): boolean {
    return !this.streams.hasSettings && !this.#ended;
  }

  /** It takes streams, now or when one of its own ends. */
  get isOpen(): boolean {
    return this.streams.hasSettings && !this.#retired && !this.#ended;
  }

  /** A stream can be opened. Retires the session if it has served its requests or its time. */
  canOpen(): boolean {
    if (!this.streams.hasSettings || this.#retired || this.#ended || this.streams.isFull) return false;
    const { requests } = this.#plan.pool;
    const isOld = this.#retiresAt > 0 && this.#context.clock.now >= this.#retiresAt;
    if (!isOld && (requests === 0 || this.streams.opened < requests) && !this.streams.isExhausted) return true;
    this.#retire();
    return false;
  }

  /** Its window for bodies of requests is used up, and the endpoint grants hardly any. */
  get isStalled(): boolean {
    return this.#scheduler.isStalled;
  }

  /** It takes no further stream, and ends after the last one. */
  #retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    if (this.streams.isEmpty) this.end();
    else this.#owner.retired(this);
  }

  /** Sends the stream's request. */
  open(stream: ClientStream): void {
    if (this.streams.isEmpty) {
      // It may have lost its path while it was idle.
      const isDoubtful = this.#context.clock.now - this.#receivedAt > this.#plan.timeouts.ping;
      if (isDoubtful && this.#pings.allows(this.streams.received)) this.#sendPing();
      else this.#armNext(true);
    } else if (this.#awaits === AWAITS.life && this.#pings.extend()) this.#armNext();
    this.streams.open(stream);
  }

  // ── Input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number): void {
    if (this.#ended) return;
    this.#receivedAt = this.#context.clock.now;
    const isResponse = this.#awaits === AWAITS.ping;
    this.streams.read(bytes, start, end);
    if (isResponse) this.#pings.responded(this.streams.received);
    if (this.#awaits >= AWAITS.ping) this.#armNext();
    else if (this.#awaits === AWAITS.rest) this.connection.arm(this.#plan.timeouts.connect);
  }

  settingsReceived(isFirst: boolean): void {
    if (isFirst) {
      this.readyAt = performance.now();
      this.#awaits = AWAITS.use;
      this.#armNext();
      this.#owner.ready(this);
    } else this.#owner.freed(this);
  }

  goAway(code: number): void {
    this.#retire();
    this.#owner.goAway(this, code);
  }

  streamClosed(): void {
    if (this.#ended) return;
    if (this.streams.resets >= MAX_RESETS && !this.#retired) {
      this.#owner.replaced(this, this.streams.resets);
      this.#retire();
    }
    if (this.streams.isEmpty) {
      if (this.#retired) return this.end();
      this.#armNext();
    }
    this.#owner.freed(this);
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends the connection because the endpoint violates the protocol. Returns false. */
  fail(code: number, problem: string): false {
    if (this.#ended) return false;
    this.#owner.violated(this, code, problem);
    this.#writer.goAway(0, code);
    this.#close(ERROR.upstreamMalformed, problem);
    return false;
  }

  /** Ends it in order. */
  end(): void {
    if (this.#ended) return;
    if (this.streams.hasSettings) this.#writer.goAway(0, CODE.noError);
    this.#close(null, "closed");
  }

  #closeUnready(error: ProxyError, problem: string, isLocal = false): void {
    if (this.#ended) return;
    this.#ended = true;
    this.connection.destroy();
    this.#owner.closed(this, error, problem, isLocal);
  }

  /** `error`: what its streams fail with; null: as a connection that was lost. */
  #close(error: ProxyError | null, problem: string): void {
    if (this.#ended) return;
    const wasReady = this.streams.hasSettings;
    this.#ended = true;
    this.#writer.flush();
    if (this.connection.alive) {
      this.connection.endBoth();
      // Until the endpoint has read the last frames.
      this.connection.arm(this.#plan.timeouts.connect);
    }
    // Before its streams fail, whose requests may be sent again.
    this.#owner.closed(this, wasReady ? null : (error ?? ERROR.connectFailed), problem, false);
    this.streams.lost(problem, error ?? ERROR.upstreamReset);
  }

  ended(): void {
    this.#close(
      null,
      this.streams.hasSettings ? "the connection ended before the end of the response" : "no HTTP/2: it ended",
    );
  }

  closed(error: Error | null): void {
    if (!this.streams.hasSettings && !this.#ended) {
      const isConnected = this.#awaits === AWAITS.settings;
      const problem = error?.message ?? "closed before SETTINGS";
      return this.#closeUnready(isConnected ? ERROR.connectFailed : connectError(error), problem, isLocalCause(error));
    }
    this.#close(null, error?.message ?? "the connection was closed");
  }

  /** A write has failed: what the endpoint sent before is still read. */
  writeFailed(error: Error): void {
    if (this.streams.isEmpty) return this.#abort(error.message);
    this.#retire();
    this.#writeProblem = error.message;
    this.#awaits = AWAITS.rest;
    this.connection.arm(this.#plan.timeouts.connect);
  }

  broken(error: unknown): void {
    this.#owner.internal(error);
    this.#abort("internal error");
  }

  // ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────

  delayed(): void {
    if (!this.streams.hasSettings || this.#awaits === AWAITS.flush) return;
    this.#awaits = AWAITS.flush;
    this.connection.arm(this.#plan.timeouts.idle);
  }

  flushed(): void {
    if (this.#awaits === AWAITS.flush) {
      this.#awaits = AWAITS.life;
      this.#armNext();
    }
    this.#scheduler.resume();
  }

  /** While it has streams, silence is limited; without, the time until it is used again. */
  #armNext(isUsed = !this.streams.isEmpty): void {
    if (this.#ended || this.#awaits <= AWAITS.rest) return;
    const { timeouts, pool } = this.#plan;
    this.#awaits = isUsed ? AWAITS.life : AWAITS.use;
    this.connection.arm(isUsed ? this.#pings.wait(timeouts.ping, this.streams.received) : pool.idleFor);
  }

  #sendPing(): void {
    this.#writer.ping();
    this.#pings.sent();
    this.#awaits = AWAITS.ping;
    this.connection.arm(this.#plan.timeouts.connect);
  }

  timedOut(): void {
    const { timeouts } = this.#plan;
    if (this.#ended) return this.connection.destroy();
    switch (this.#awaits) {
      case AWAITS.connection:
        return this.#closeUnready(ERROR.connectTimeout, "no connection within timeouts.connect");
      case AWAITS.settings:
        return this.#closeUnready(ERROR.connectTimeout, "no SETTINGS of HTTP/2 within timeouts.connect");
      case AWAITS.flush:
        return this.#abort("the endpoint has read nothing within timeouts.idle");
      case AWAITS.ping:
        return this.#abort(`no response to a PING within ${timeouts.connect} ms`);
      case AWAITS.rest:
        return this.#abort(this.#writeProblem);
      case AWAITS.life:
        return this.#sendPing();
      default:
        this.end();
    }
  }

  #abort(problem: string): void {
    this.connection.destroy();
    this.#close(null, problem);
  }
}
