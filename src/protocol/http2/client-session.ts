/**
 * An HTTP/2 connection to an endpoint (RFC 9113): frames, settings, flow control, liveness, and bounds on what an endpoint
 * can cost. Each of its streams is an attempt (`client-stream.ts`). Frames are written once for each turn of the event
 * loop.
 *
 * Bounds: MAX_STREAMS streams, each with at most a window of received bytes; control frames by `FrameBudget`; a header
 * block by its size and frames; silence by `timeouts.ping` and `timeouts.connect`; an endpoint that does not read by
 * `timeouts.idle`.
 */

import { Head } from "../../http/head.ts";
import * as frames from "../../http2/frames.ts";
import { type FrameHandler, FrameReader } from "../../http2/frames.ts";
import { DECODED, HpackDecoder } from "../../http2/hpack-decoder.ts";
import { HpackEncoder } from "../../http2/hpack-encoder.ts";
import type { Buffers } from "../../net/buffers.ts";
import { Connection } from "../../net/connection.ts";
import { alpnOf, type DialHandler, dial } from "../../net/dial.ts";
import { ALPN } from "../../net/tls-client.ts";
import type { ClusterPlan } from "../../plan/plan.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import { connectError, isLocalCause } from "../../proxy/connect-error.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";

import { ClientStream, type Http2Target, type StreamSession } from "./client-stream.ts";
import type { ClientTunnel } from "./client-tunnel.ts";
import { COST, FrameBudget } from "./frame-budget.ts";
import { FrameDispatch, type FrameOwner } from "./frame-dispatch.ts";
import { FrameWriter, type WriterOwner } from "./frame-writer.ts";
import { HeaderBlock, MAX_CONTINUATIONS } from "./header-block.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { requestBound, writeRequest } from "./request-fields.ts";
import { responseBound, writeTrailers } from "./response-fields.ts";
import { SendScheduler } from "./send-scheduler.ts";

const { CODE, DEFAULT_WINDOW, FRAME, FRAME_FLAG, MAX_PAYLOAD, MAX_WINDOW, SETTING } = frames;

/** Concurrent streams, even if the endpoint allows more. */
export const MAX_STREAMS = 100;
/**
 * Streams that are reset until the connection is replaced. Endpoints count resets and close a connection with too many,
 * and any client can cause them by cancelling its requests: those of others are to be on another connection by then.
 */
const MAX_RESETS = 50;
/** Bytes of response bodies that an endpoint may send before they are read, over all streams. */
const RECEIVE_WINDOW = 1024 * 1024;
const TABLE_SIZE = 4096;

/** Control frames that an endpoint may send at once, and per second. */
const CONTROL_FRAMES = { burst: 1000, perSecond: 100 };
/** A WINDOW_UPDATE of fewer bytes is charged. */
const LEAST_INCREMENT = 1024;

/** What the deadline of the connection limits. */
const AWAITS = { connection: 0, settings: 1, flush: 2, ping: 3, life: 4, use: 5 } as const;

/** The fields of a block for no stream, or of trailers. One for the worker suffices, since it is read synchronously. */
const decoded = new Head(8192, 64);

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
  /** It is closed. `error`, `problem`: why it was never ready; null: it was. */
  closed(session: ClientSession, error: ProxyError | null, problem: string, isLocal: boolean): void;
  /** It is ended for a violation of the protocol. */
  violated(session: ClientSession, code: number, problem: string): void;
  internal(error: unknown): void;
}

export class ClientSession
  implements DialHandler, FrameHandler, FrameOwner<ClientStream | ClientTunnel>, WriterOwner, StreamSession
{
  readonly connection: Connection<DialHandler>;
  readonly writer: FrameWriter;
  readonly scheduler: SendScheduler;
  readonly target: Http2Target;
  /** performance.now() at its creation. */
  readonly openedAt = performance.now();
  readonly #context: WorkerContext;
  readonly #owner: SessionOwner;
  readonly #plan: ClusterPlan;
  readonly #retiresAt: number;
  readonly #reader = new FrameReader(this);
  readonly #decoder = new HpackDecoder(TABLE_SIZE);
  readonly #encoder = new HpackEncoder();
  readonly #budget: FrameBudget;
  readonly #receiveWindow = new ReceiveWindow(RECEIVE_WINDOW);
  readonly #frames: FrameDispatch<ClientStream | ClientTunnel>;
  /** Streams whose response head was received in the current read. */
  #delayed: ClientStream[] = [];
  #nextId = 1;
  #opened = 0;
  #resets = 0;
  /** Bytes that the endpoint may have sent on streams before it received their reset. */
  #inTransit = 0;
  /** It takes no further stream. */
  #retired = false;
  #ended = false;
  #awaits: number = AWAITS.connection;
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
    this.writer = new FrameWriter(this.connection, this, context.buffers);
    this.#budget = new FrameBudget(CONTROL_FRAMES, context.clock.now);
    this.scheduler = new SendScheduler(this.connection, this.writer, this.#budget);
    this.#frames = new FrameDispatch(this, {
      clock: context.clock,
      writer: this.writer,
      scheduler: this.scheduler,
      budget: this.#budget,
      encoder: this.#encoder,
      block: new HeaderBlock(MAX_CONTINUATIONS + Math.ceil(target.plan.limits.head / MAX_PAYLOAD)),
      maxPush: 0,
      // Larger ones pay for themselves: they let the proxy send, and end at the largest window.
      leastIncrement: LEAST_INCREMENT,
      checksDependency: false,
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
    this.writer.preface();
    this.writer.settings([
      [SETTING.enablePush, 0],
      [SETTING.maxHeaderListSize, this.#plan.limits.head],
    ]);
    this.writer.windowUpdate(0, RECEIVE_WINDOW - DEFAULT_WINDOW);
    this.writer.flush();
  }

  // ── Streams ─────────────────────────────────────────────────────────────────────────────────────────────────────

  get isReady(): boolean {
    return this.#frames.hasSettings && !this.#ended;
  }

  get isConnecting(): boolean {
    return !this.#frames.hasSettings && !this.#ended;
  }

  /** It takes streams, now or when one of its own ends. */
  get isOpen(): boolean {
    return this.#frames.hasSettings && !this.#retired && !this.#ended;
  }

  get isIdle(): boolean {
    return this.#frames.streams.size === 0;
  }

  /** Streams that were opened. */
  get served(): number {
    return this.#opened;
  }

  /** Streams that the endpoint allows at once. */
  get limit(): number {
    return Math.min(this.#frames.maxStreams, MAX_STREAMS);
  }

  /** The endpoint accepts extended CONNECT (RFC 8441): its streams can be tunnels. */
  get allowsConnect(): boolean {
    return this.#frames.allowsConnect;
  }

  /** A stream can be opened. Retires the session if it has served its requests or its time. */
  canOpen(): boolean {
    if (!this.#frames.hasSettings || this.#retired || this.#ended || this.#frames.streams.size >= this.limit)
      return false;
    const { requests } = this.#plan.pool;
    const isOld = this.#retiresAt > 0 && this.#context.clock.now >= this.#retiresAt;
    if (!isOld && (requests === 0 || this.#opened < requests) && this.#nextId < MAX_WINDOW) return true;
    this.#retire();
    return false;
  }

  /** It takes no further stream, and ends after the last one. */
  #retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    if (this.#frames.streams.size === 0) this.end();
    else this.#owner.retired(this);
  }

  /** Sends the stream's request. */
  open(stream: ClientStream): void {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#opened++;
    this.#frames.streams.set(id, stream);
    const { now } = this.#context.clock;
    if (this.#frames.streams.size === 1) {
      // It may have lost its path while it was idle.
      const isDoubtful = now - this.#receivedAt > this.#plan.timeouts.ping;
      if (isDoubtful) this.#sendPing();
      else this.#armNext();
    }
    stream.begin(this, id, this.#frames.initialWindow);
  }

  writeRequest(stream: ClientStream, { exchange: x }: Attempt, ends: boolean): void {
    const at = this.writer.beginHeaders(requestBound(x));
    const end = writeRequest(this.#encoder, this.writer.bytes, at, x, this.#plan.tls !== null);
    this.writer.endHeaders(stream.id, end, ends);
  }

  writeTrailers(id: number, trailers: Head): void {
    const at = this.writer.beginHeaders(responseBound(trailers));
    this.writer.endHeaders(id, writeTrailers(this.#encoder, this.writer.bytes, at, trailers), true);
  }

  get buffers(): Buffers {
    return this.#context.buffers;
  }

  /** The credit of the connection was granted when the bytes were received. */
  credit(): void {}

  delayHead(stream: ClientStream): void {
    this.#delayed.push(stream);
  }

  becameTunnel(tunnel: ClientTunnel): void {
    this.#frames.streams.set(tunnel.id, tunnel);
  }

  streamClosed(stream: ClientStream | ClientTunnel, code: number): void {
    if (code >= 0) {
      this.writer.reset(stream.id, code);
      this.#resets++;
    }
    this.#frames.streams.delete(stream.id);
    this.#inTransit = Math.max(0, this.#inTransit) + Math.max(0, stream.input.left);
    this.#budget.earn(COST.response);
    if (this.#ended) return;
    if (this.#resets >= MAX_RESETS) this.#retire();
    if (this.#frames.streams.size === 0) {
      if (this.#retired) return this.end();
      this.#armNext();
    }
    this.#owner.freed(this);
  }

  // ── Input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number): void {
    if (this.#ended) return;
    this.#receivedAt = this.#context.clock.now;
    if (this.#awaits >= AWAITS.ping) this.#armNext();
    this.#reader.read(bytes, start, end);
    if (this.#delayed.length === 0) return;
    const delayed = this.#delayed;
    this.#delayed = [];
    for (const stream of delayed) stream.flushHead();
  }

  frame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    return this.#frames.frame(type, flags, id, bytes, start, end);
  }

  get headLimit(): number {
    return this.#plan.limits.head;
  }

  other(type: number): boolean {
    if (type === FRAME.pushPromise) return this.fail(CODE.protocolError, "PUSH_PROMISE, which was disabled");
    // Unknown frames are ignored (RFC 9113 section 4.1).
    return this.#frames.spend(COST.control);
  }

  data(flags: number, id: number, bytes: Buffer, start: number, end: number, length: number, padding: number): boolean {
    const ends = length >= 0 && (flags & FRAME_FLAG.endStream) !== 0;
    if (!this.#frames.acceptsData(id, length, padding, ends)) return false;
    // Padding is subject to flow control too (RFC 9113 section 6.1).
    const size = end - start + padding;
    if (!this.#receiveWindow.take(size))
      return this.fail(CODE.flowControlError, "more than the window of the connection");
    // At once, so that a stream whose client is slow holds no other.
    this.writer.windowUpdate(0, this.#receiveWindow.credit(size));
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) {
      this.#inTransit -= size;
      return this.#inTransit >= 0 || this.#frames.spend(COST.control);
    }
    if (!stream.input.take(size)) {
      return this.streamFault(stream, CODE.flowControlError, "more than the window of the stream");
    }
    if (padding > 0) stream.input.grant(padding);
    stream.receive(bytes, start, end, ends);
    return !this.#ended;
  }

  blockBegins(id: number): boolean {
    return !this.isUnopened(id) || this.fail(CODE.protocolError, "HEADERS on an idle stream");
  }

  block(id: number, flags: number, bytes: Buffer, start: number, end: number): boolean {
    const stream = this.#frames.streams.get(id);
    const head = stream === undefined ? null : stream.nextHead;
    const target = head ?? decoded;
    target.reset();
    const result = this.#decoder.decode(bytes, start, end, target, this.#plan.limits);
    if (result === DECODED.malformed) return this.fail(CODE.compressionError, "a malformed header block");
    // Frames in transit when the stream was reset.
    if (stream === undefined) return this.#frames.spend(COST.control);
    const ends = (flags & FRAME_FLAG.endStream) !== 0;
    const isTooLarge = result === DECODED.tooLarge;
    if (head !== null && stream instanceof ClientStream) stream.receiveHead(isTooLarge, ends);
    else stream.receiveTrailers(decoded, isTooLarge, ends);
    return !this.#ended;
  }

  settingsReceived(isFirst: boolean): boolean {
    if (isFirst) {
      this.#awaits = AWAITS.use;
      this.#armNext();
      this.#owner.ready(this);
    } else this.#owner.freed(this);
    return !this.#ended;
  }

  reset(id: number, code: number): boolean {
    this.#frames.streams.get(id)?.wasReset(code);
    return this.#frames.spend(COST.control);
  }

  streamFault(stream: ClientStream | ClientTunnel, code: number, problem: string): boolean {
    stream.resetByFault(code, problem);
    return this.#frames.spend(COST.fault);
  }

  /** Streams above the last one that the endpoint names were not processed. It finishes the others. */
  goAway(last: number, code: number): boolean {
    this.#retire();
    this.#owner.goAway(this, code);
    for (const stream of [...this.#frames.streams.values()]) {
      if (stream.id <= last) continue;
      // Most endpoints end connections in this way, which is no failure.
      if (code === CODE.noError && stream.attempt !== null) stream.attempt.reused = true;
      stream.lost(`the endpoint ended the connection with code ${code} before the request`, true);
    }
    return !this.#ended && this.#frames.spend(COST.control);
  }

  /** The stream was never opened: server push is disabled. */
  isUnopened(id: number): boolean {
    return (id & 1) === 0 || id >= this.#nextId;
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  malformed(code: number, problem: string): void {
    this.fail(code, problem);
  }

  /** Ends the connection because the endpoint violates the protocol. Returns false. */
  fail(code: number, problem: string): false {
    if (this.#ended) return false;
    this.#owner.violated(this, code, problem);
    this.writer.goAway(0, code);
    this.#close(ERROR.upstreamMalformed, problem);
    return false;
  }

  /** Ends it in order. */
  end(): void {
    if (this.#ended) return;
    if (this.#frames.hasSettings) this.writer.goAway(0, CODE.noError);
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
    const wasReady = this.#frames.hasSettings;
    this.#ended = true;
    this.writer.flush();
    if (this.connection.alive) {
      this.connection.endBoth();
      // Until the endpoint has read the last frames.
      this.connection.arm(this.#plan.timeouts.connect);
    }
    // Before its streams fail, whose requests may be sent again.
    this.#owner.closed(this, wasReady ? null : (error ?? ERROR.connectFailed), problem, false);
    for (const stream of [...this.#frames.streams.values()]) stream.lost(problem, false, error ?? ERROR.upstreamReset);
  }

  ended(): void {
    this.#close(
      null,
      this.#frames.hasSettings ? "the connection ended before the end of the response" : "no HTTP/2: it ended",
    );
  }

  closed(error: Error | null): void {
    if (!this.#frames.hasSettings && !this.#ended) {
      const isConnected = this.#awaits === AWAITS.settings;
      const problem = error?.message ?? "closed before SETTINGS";
      return this.#closeUnready(isConnected ? ERROR.connectFailed : connectError(error), problem, isLocalCause(error));
    }
    this.#close(null, error?.message ?? "the connection was closed");
  }

  /** A write has failed: what the endpoint sent before is still read. */
  writeFailed(error: Error): void {
    if (this.#frames.streams.size === 0) return this.#abort(error.message);
    this.#retire();
    this.#writeProblem = error.message;
    this.#awaits = AWAITS.ping;
    this.connection.arm(this.#plan.timeouts.connect);
  }

  broken(error: unknown): void {
    this.#owner.internal(error);
    this.#abort("internal error");
  }

  // ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────

  delayed(): void {
    if (!this.#frames.hasSettings || this.#awaits === AWAITS.flush) return;
    this.#awaits = AWAITS.flush;
    this.connection.arm(this.#plan.timeouts.idle);
  }

  flushed(): void {
    if (this.#awaits === AWAITS.flush) {
      this.#awaits = AWAITS.life;
      this.#armNext();
    }
    this.scheduler.resume();
  }

  /** While it has streams, silence is limited; without, the time until it is used again. */
  #armNext(): void {
    if (this.#ended || this.#awaits <= AWAITS.flush) return;
    const { timeouts, pool } = this.#plan;
    const isUsed = this.#frames.streams.size > 0;
    this.#awaits = isUsed ? AWAITS.life : AWAITS.use;
    this.connection.arm(isUsed ? timeouts.ping : pool.idleFor);
  }

  #sendPing(): void {
    this.writer.ping();
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
        return this.#abort(this.#writeProblem || `no response to a PING within ${timeouts.connect} ms`);
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
