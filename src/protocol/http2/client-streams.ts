/**
 * The streams of an HTTP/2 connection to an endpoint (RFC 9113): requests open them, and the frames received feed and reset
 * them. Each stream is an attempt (`client-stream.ts`).
 *
 * Bounds: MAX_STREAMS streams, each with at most a window of received bytes; control frames by `FrameBudget`; a header
 * block by its size and frames.
 */
import { Head } from "../../http/head.ts";
import * as frames from "../../http2/frames.ts";
import { type FrameHandler, FrameReader } from "../../http2/frames.ts";
import { DECODED, HpackDecoder } from "../../http2/hpack-decoder.ts";
import { HpackEncoder } from "../../http2/hpack-encoder.ts";
import type { Buffers } from "../../net/buffers.ts";
import type { Clock } from "../../net/clock.ts";
import type { ClusterPlan } from "../../plan/plan.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { ProxyError } from "../../proxy/error.ts";
import { ClientStream, type StreamSession } from "./client-stream.ts";
import { ClosedStreams } from "./closed-streams.ts";
import { COST, type FrameBudget } from "./frame-budget.ts";
import { FrameDispatch, type FrameOwner } from "./frame-dispatch.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { HeaderBlock, MAX_CONTINUATIONS } from "./header-block.ts";
import { HeldResets } from "./held-resets.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { requestBound, writeRequest } from "./request-fields.ts";
import { responseBound, writeTrailers } from "./response-fields.ts";
import type { SendScheduler } from "./send-scheduler.ts";
import type { StreamTunnel } from "./stream-tunnel.ts";

const { CODE, FRAME, FRAME_FLAG, MAX_PAYLOAD, MAX_WINDOW } = frames;

/** Concurrent streams, even if the endpoint allows more. */
export const MAX_STREAMS = 100;
/** Bytes of response bodies that an endpoint may send before they are read, over all streams. */
export const RECEIVE_WINDOW = 1024 * 1024;
const TABLE_SIZE = 4096;
/** A WINDOW_UPDATE of fewer bytes is charged. */
const LEAST_INCREMENT = 1024;

/** The fields of a block for no stream, or of trailers. One for the worker suffices, since it is read synchronously. */
const decoded = new Head(8192, 64);

type Stream = ClientStream | StreamTunnel;

/** The connection of the streams. */
export interface StreamsOwner {
  readonly hasEnded: boolean;
  settingsReceived(isFirst: boolean): void;
  /** The endpoint accepts no further stream. */
  goAway(code: number): void;
  streamClosed(): void;
  /** Ends the connection because the endpoint violates the protocol. */
  fail(code: number, problem: string): false;
}

type ClientStreamsOptions = {
  readonly clock: Clock;
  readonly buffers: Buffers;
  readonly budget: FrameBudget;
  readonly writer: FrameWriter;
  readonly scheduler: SendScheduler;
  readonly plan: ClusterPlan;
};

export class ClientStreams implements FrameHandler, FrameOwner<Stream>, StreamSession {
  readonly writer: FrameWriter;
  readonly scheduler: SendScheduler;
  readonly buffers: Buffers;
  /** Streams that were opened, and those that were reset from this side. */
  opened = 0;
  resets = 0;
  /** HEADERS and DATA frames received. */
  received = 0;
  readonly #owner: StreamsOwner;
  readonly #limits: ClusterPlan["limits"];
  readonly #isTls: boolean;
  readonly #budget: FrameBudget;
  readonly #reader = new FrameReader(this);
  readonly #decoder = new HpackDecoder(TABLE_SIZE);
  readonly #encoder = new HpackEncoder();
  readonly #receiveWindow = new ReceiveWindow(RECEIVE_WINDOW);
  readonly #frames: FrameDispatch<Stream>;
  /** Streams whose response head was received in the current read. */
  #delayed: ClientStream[] = [];
  #nextId = 1;
  /** The first stream since there were none. */
  #firstId = 1;
  readonly #closed = new ClosedStreams();
  readonly #clock: Clock;
  readonly #held: HeldResets;

  constructor(owner: StreamsOwner, { clock, buffers, budget, writer, scheduler, plan }: ClientStreamsOptions) {
    this.#owner = owner;
    this.writer = writer;
    this.scheduler = scheduler;
    this.buffers = buffers;
    this.#limits = plan.limits;
    this.#isTls = plan.tls !== null;
    this.#budget = budget;
    this.#clock = clock;
    this.#held = new HeldResets(clock, (ids) => this.#sendHeld(ids));
    this.#frames = new FrameDispatch(this, {
      clock,
      writer,
      scheduler,
      budget,
      encoder: this.#encoder,
      block: new HeaderBlock(MAX_CONTINUATIONS + Math.ceil(plan.limits.head / MAX_PAYLOAD)),
      maxPush: 0,
      // Larger ones pay for themselves: they let the proxy send, and end at the largest window.
      leastIncrement: LEAST_INCREMENT,
      checksDependency: false,
    });
  }

  /** The endpoint's first SETTINGS were received. */
  get hasSettings(): boolean {
    return this.#frames.hasSettings;
  }

  get isEmpty(): boolean {
    return this.#frames.streams.size === 0;
  }

  /** Streams that the endpoint allows at once. */
  get limit(): number {
    return Math.min(this.#frames.maxStreams, MAX_STREAMS);
  }

  get isFull(): boolean {
    return this.#frames.streams.size + this.#held.size >= this.limit;
  }

  /** No number is left for a further stream. */
  get isExhausted(): boolean {
    return this.#nextId >= MAX_WINDOW;
  }

  /** The endpoint accepts extended CONNECT (RFC 8441): streams can be tunnels. */
  get allowsConnect(): boolean {
    return this.#frames.allowsConnect;
  }

  /** Sends the stream's request. */
  open(stream: ClientStream): void {
    const id = this.#nextId;
    this.#nextId += 2;
    this.opened++;
    if (this.isEmpty) this.#firstId = id;
    this.#frames.streams.set(id, stream);
    this.#closed.opened(id);
    stream.begin(this, id, this.#frames.initialWindow);
  }

  /** The connection has ended. */
  lost(problem: string, error: ProxyError): void {
    this.#held.close();
    for (const stream of [...this.#frames.streams.values()]) stream.lost(problem, false, error);
  }

  // ── What the streams use ────────────────────────────────────────────────────────────────────────────────────────

  writeRequest(stream: ClientStream, { exchange: x }: Attempt, ends: boolean): void {
    const at = this.writer.beginHeaders(requestBound(x));
    const end = writeRequest(this.#encoder, this.writer.bytes, at, x, this.#isTls);
    this.writer.endHeaders(stream.id, end, ends);
  }

  writeTrailers(id: number, trailers: Head): void {
    const at = this.writer.beginHeaders(responseBound(trailers));
    this.writer.endHeaders(id, writeTrailers(this.#encoder, this.writer.bytes, at, trailers), true);
  }

  /** The credit of the connection was granted when the bytes were received. */
  credit(): void {}

  delayHead(stream: ClientStream): void {
    this.#delayed.push(stream);
  }

  becameTunnel(tunnel: StreamTunnel): void {
    this.#frames.streams.set(tunnel.id, tunnel);
  }

  streamClosed(stream: Stream, code: number): void {
    if (code >= 0) {
      if (code === CODE.cancel && this.#isHeld(stream)) this.#held.hold(stream.id, stream.heldUntil);
      else this.writer.reset(stream.id, code);
      this.resets++;
      this.#expectInTransit(stream);
    }
    this.#frames.streams.delete(stream.id);
    this.#budget.earn(COST.response);
    this.#owner.streamClosed();
  }

  #isHeld(stream: Stream): stream is ClientStream {
    return stream instanceof ClientStream && stream.heldUntil > this.#clock.now && !this.#owner.hasEnded;
  }

  #sendHeld(ids: readonly number[]): void {
    for (const id of ids) this.writer.reset(id, CODE.cancel);
    this.#owner.streamClosed();
  }

  /** The endpoint may have sent frames on the stream before it knows that it is closed. */
  #expectInTransit({ id, input }: Stream): void {
    this.#closed.reset(id);
    this.#closed.expect(input.left);
  }

  // ── Frames of the endpoint ──────────────────────────────────────────────────────────────────────────────────────

  read(bytes: Buffer, start: number, end: number): void {
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
    return this.#limits.head;
  }

  other(type: number): boolean {
    if (type === FRAME.pushPromise) return this.#owner.fail(CODE.protocolError, "PUSH_PROMISE, which was disabled");
    // Unknown frames are ignored (RFC 9113 section 4.1).
    return this.#frames.spend(COST.control);
  }

  data(flags: number, id: number, bytes: Buffer, start: number, end: number, length: number, padding: number): boolean {
    const ends = length >= 0 && (flags & FRAME_FLAG.endStream) !== 0;
    if (!this.#frames.acceptsData(id, length, padding, ends)) return false;
    this.received++;
    // Padding is subject to flow control too (RFC 9113 section 6.1).
    const size = end - start + padding;
    if (!this.#receiveWindow.take(size))
      return this.#owner.fail(CODE.flowControlError, "more than the window of the connection");
    // At once, so that a stream whose client is slow holds no other.
    this.writer.windowUpdate(0, this.#receiveWindow.credit(size));
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) {
      if (this.#closed.isClosedByPeer(id)) return this.#owner.fail(CODE.streamClosed, "DATA on a closed stream");
      return this.#closed.take(size) || this.#frames.spend(COST.control);
    }
    if (!stream.input.take(size))
      return this.streamFault(stream, CODE.flowControlError, "more than the window of the stream");
    // Of a tunnel; a stream is closed by then.
    if (stream.input.hasEnded) return this.streamFault(stream, CODE.streamClosed, "DATA after the end of the stream");
    if (padding > 0 && !ends) stream.input.grant(padding);
    stream.receive(bytes, start, end, ends);
    return !this.#owner.hasEnded;
  }

  blockBegins(id: number): boolean {
    return !this.isUnopened(id) || this.#owner.fail(CODE.protocolError, "HEADERS on an idle stream");
  }

  block(id: number, flags: number, bytes: Buffer, start: number, end: number): boolean {
    this.received++;
    const stream = this.#frames.streams.get(id);
    const head = stream instanceof ClientStream ? stream.nextHead : null;
    const target = head ?? decoded;
    target.reset();
    const result = this.#decoder.decode(bytes, start, end, target, this.#limits);
    if (result === DECODED.malformed) return this.#owner.fail(CODE.compressionError, "a malformed header block");
    if (stream === undefined) {
      if (this.#closed.isClosedByPeer(id)) return this.#owner.fail(CODE.streamClosed, "HEADERS on a closed stream");
      // In transit when the stream was reset.
      return this.#frames.spend(COST.control);
    }
    const ends = (flags & FRAME_FLAG.endStream) !== 0;
    const isTooLarge = result === DECODED.tooLarge;
    if (head !== null && stream instanceof ClientStream) stream.receiveHead(isTooLarge, ends);
    else stream.receiveTrailers(decoded, isTooLarge, ends);
    return !this.#owner.hasEnded;
  }

  settingsReceived(isFirst: boolean): boolean {
    this.#owner.settingsReceived(isFirst);
    return !this.#owner.hasEnded;
  }

  reset(id: number, code: number): boolean {
    this.#frames.streams.get(id)?.wasReset(code);
    return this.#frames.spend(COST.control);
  }

  streamFault(stream: Stream, code: number, problem: string): boolean {
    stream.resetByFault(code, problem);
    return this.#frames.spend(COST.fault);
  }

  /** Streams above the last one that the endpoint names were not processed. It finishes the others. */
  goAway(last: number, code: number): boolean {
    this.#owner.goAway(code);
    for (const stream of [...this.#frames.streams.values()]) {
      if (stream.id <= last) continue;
      // Most endpoints end connections in this way, which is no failure.
      if (code === CODE.noError && stream instanceof ClientStream) {
        stream.attempt!.reused = true;
        stream.attempt!.othersProcessed = last >= this.#firstId;
      }
      this.#expectInTransit(stream);
      stream.lost(`the endpoint ended the connection with code ${code} before the request`, true);
    }
    return !this.#owner.hasEnded && this.#frames.spend(COST.control);
  }

  /** The stream was never opened: server push is disabled. */
  isUnopened(id: number): boolean {
    return (id & 1) === 0 || id >= this.#nextId;
  }

  fail(code: number, problem: string): false {
    return this.#owner.fail(code, problem);
  }
}
