/**
 * The streams of a client's HTTP/2 connection (RFC 9113): the frames received open them, feed them and reset them. Each
 * stream is an exchange (`server-stream.ts`).
 *
 * Bounds: `http2.maxConcurrentStreams`; of each stream its window; header blocks by `limits.head` and `timeouts.head`;
 * frames without payload for a request by `FrameBudget`.
 */
import { Head, reject } from "../../http/head.ts";
import { parsePriority } from "../../http/priority.ts";
import * as frames from "../../http2/frames.ts";
import { type FrameHandler, FrameReader, readUint32 } from "../../http2/frames.ts";
import { DECODED, HpackDecoder } from "../../http2/hpack-decoder.ts";
import type { HpackEncoder } from "../../http2/hpack-encoder.ts";
import { readRequest } from "../../http2/request-head.ts";
import type { ListenerPlan } from "../../plan/plan.ts";
import type { ConnectionChoice } from "../../proxy/connection-choice.ts";
import { refusalOf } from "../../proxy/error.ts";
import type { ExchangePool } from "../../proxy/exchange-pool.ts";
import type { AcceptedConnection, Port } from "../../proxy/port.ts";
import { ClosedStreams } from "./closed-streams.ts";
import type { ConnectionEnd } from "./connection-end.ts";
import { DataJoiner } from "./data-joiner.ts";
import { COST, type FrameBudget } from "./frame-budget.ts";
import { FrameDispatch, type FrameOwner } from "./frame-dispatch.ts";
import { HeaderBlock } from "./header-block.ts";
import type { ReceiveWindow } from "./receive-window.ts";
import { ServerStream, type StreamConnection } from "./server-stream.ts";
import type { StreamTunnel } from "./stream-tunnel.ts";

const { CODE, FRAME, FRAME_FLAG, MAX_WINDOW } = frames;

/** Requests on one connection; then it ends, so that long-lived clients are distributed over the workers again. */
const MAX_REQUESTS = 100_000;
/** The first byte of the names of pseudo-header fields. */
const COLON = 0x3a;
/** Why a stream is reset: an endpoint would read such frames as another request. */
const AFTER_END = "frames of a request after its end";

/** The fields of the current block. One for the worker suffices, since it is read synchronously. */
const decoded = new Head(8192, 64);

type Stream = ServerStream | StreamTunnel;

/** The connection of the streams. */
export interface StreamsOwner extends StreamConnection {
  readonly connection: AcceptedConnection;
  readonly port: Port;
  /** Of the current version. */
  readonly plan: ListenerPlan;
  readonly receiveWindow: ReceiveWindow;
  readonly end: ConnectionEnd;
  /** Sets the deadline for what the client has to send next. */
  awaitNext(): void;
  /** Ends the connection because of an error of the client. */
  fail(code: number, problem: string): false;
}

export type ServerStreamsOptions = {
  readonly exchanges: ExchangePool;
  /** As announced by SETTINGS: a new version of the configuration does not change it. */
  readonly limits: ListenerPlan["http2"];
  readonly budget: FrameBudget;
  readonly encoder: HpackEncoder;
  /** The initial cluster of the requests. */
  readonly choice: ConnectionChoice | null;
};

export class ServerStreams implements FrameHandler, FrameOwner<Stream> {
  /** The highest stream that is not ignored for a final GOAWAY. */
  lastServed = 0;
  readonly #owner: StreamsOwner;
  readonly #exchanges: ExchangePool;
  readonly #choice: ConnectionChoice | null;
  readonly #limits: ListenerPlan["http2"];
  readonly #reader = new FrameReader(this);
  readonly #joiner = new DataJoiner();
  readonly #decoder: HpackDecoder;
  readonly #frames: FrameDispatch<Stream>;
  readonly #closed = new ClosedStreams();
  /** The highest stream that the client has opened. */
  #lastStream = 0;
  /** A PRIORITY_UPDATE for a stream that was not open yet, and its priority. */
  #nextStream = 0;
  #nextPriority = 0;
  #requestCount = 0;

  constructor(owner: StreamsOwner, { exchanges, limits, budget, encoder, choice }: ServerStreamsOptions) {
    this.#owner = owner;
    this.#exchanges = exchanges;
    this.#choice = choice;
    this.#limits = limits;
    this.#decoder = new HpackDecoder(limits.headerTableSize);
    this.#frames = new FrameDispatch(this, {
      clock: owner.clock,
      writer: owner.writer,
      scheduler: owner.scheduler,
      budget,
      encoder,
      block: new HeaderBlock(),
      maxPush: 1,
      leastIncrement: Number.POSITIVE_INFINITY,
      checksDependency: true,
    });
  }

  get isEmpty(): boolean {
    return this.#frames.streams.size === 0;
  }

  /** A header block or the first SETTINGS are incomplete. */
  get isIncomplete(): boolean {
    return this.#frames.isWithinBlock || !this.#frames.hasSettings;
  }

  /** A header block is incomplete. */
  get isWithinBlock(): boolean {
    return this.#frames.isWithinBlock;
  }

  read(bytes: Buffer, start: number, end: number): void {
    this.#reader.read(bytes, start, end);
    this.#joiner.deliver(false);
  }

  // ── Frames ──────────────────────────────────────────────────────────────────────────────────────────────────────

  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    this.#joiner.deliver(false);
    return this.#frames.frame(type, flags, stream, bytes, start, end);
  }

  other(type: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    if (type === FRAME.priorityUpdate) return this.#priorityUpdate(id, bytes, start, end);
    if (type === FRAME.pushPromise) return this.#owner.fail(CODE.protocolError, "PUSH_PROMISE by a client");
    // Unknown frames are ignored (RFC 9113 section 4.1).
    return this.#frames.spend(COST.control);
  }

  get headLimit(): number {
    return this.#owner.plan.limits.head;
  }

  isUnopened(id: number): boolean {
    return id === 0 || id > this.#lastStream;
  }

  data(flags: number, id: number, bytes: Buffer, start: number, end: number, length: number, padding: number): boolean {
    const ends = length >= 0 && (flags & FRAME_FLAG.endStream) !== 0;
    if (!this.#frames.acceptsData(id, length, padding, ends)) return false;
    // Padding is subject to flow control too (RFC 9113 section 6.1).
    const size = end - start + padding;
    if (!this.#owner.receiveWindow.take(size))
      return this.#owner.fail(CODE.flowControlError, "more than the window of the connection");
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) {
      this.#owner.credit(size);
      if (this.#closed.isClosedByPeer(id)) return this.#owner.fail(CODE.streamClosed, "DATA on a closed stream");
      return this.#closed.take(size) || this.#frames.spend(COST.control);
    }
    if (!stream.input.take(size)) {
      this.#owner.credit(size);
      return this.streamFault(stream, CODE.flowControlError, "more than the window of the stream");
    }
    if (stream.input.hasEnded) {
      this.#owner.credit(size);
      return this.streamFault(stream, CODE.streamClosed, AFTER_END);
    }
    if (padding > 0 && ends) this.#owner.credit(padding);
    else if (padding > 0) stream.input.grant(padding);
    this.#joiner.add(stream, bytes, start, end);
    if (ends) this.#joiner.deliver(true);
    return true;
  }

  blockBegins(id: number, flags: number): boolean {
    if ((id & 1) === 0) return this.#owner.fail(CODE.protocolError, "a stream with an even number");
    if ((flags & FRAME_FLAG.endHeaders) === 0) this.#owner.connection.arm(this.#owner.plan.timeouts.head);
    return true;
  }

  block(id: number, flags: number, bytes: Buffer, start: number, end: number): boolean {
    if ((flags & FRAME_FLAG.endHeaders) !== 0) return this.#readBlock(id, flags, bytes, start, end);
    this.#owner.connection.deadline = 0;
    const continues = this.#readBlock(id, flags, bytes, start, end);
    this.#owner.awaitNext();
    return continues;
  }

  #readBlock(id: number, flags: number, bytes: Buffer, start: number, end: number): boolean {
    decoded.reset();
    const result = this.#decoder.decode(bytes, start, end, decoded, this.#owner.plan.limits);
    if (result === DECODED.malformed) return this.#owner.fail(CODE.compressionError, "a malformed header block");
    const ends = (flags & FRAME_FLAG.endStream) !== 0;
    if (id > this.#lastStream) return this.#open(id, ends, result === DECODED.tooLarge);
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) {
      if (this.#closed.isClosedByPeer(id)) return this.#owner.fail(CODE.streamClosed, "HEADERS on a closed stream");
      // Trailers may follow a reset of ours; a request on a stream that was passed over has to fail (RFC 9113 5.1.1).
      const begins = decoded.count > 0 && decoded.bytes[decoded.fields[0]!] === COLON;
      return begins
        ? this.#owner.fail(CODE.protocolError, "a request on a closed stream")
        : this.#frames.spend(COST.control);
    }
    if (stream.input.hasEnded) return this.streamFault(stream, CODE.streamClosed, AFTER_END);
    if (!ends) return this.streamFault(stream, CODE.protocolError, "trailers that do not end the stream");
    if (result === DECODED.tooLarge) return this.streamFault(stream, CODE.enhanceYourCalm, "trailers over limits.head");
    stream.receiveTrailers(decoded.copy());
    return true;
  }

  /** Sends RST_STREAM. Frames on the stream may be in transit, which cost no budget. */
  #reset(id: number, code: number): void {
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) this.#closed.expect(this.#limits.streamWindow);
    else if (!stream.input.hasEnded) this.#closed.expect(stream.input.left);
    this.#closed.reset(id);
    this.#owner.writer.reset(id, code);
  }

  /** Begins the request of a new stream. */
  #open(id: number, ends: boolean, isTooLarge: boolean): boolean {
    this.#lastStream = id;
    if (this.#owner.end.ignoresStreams) {
      if (!ends) this.#closed.expect(this.#limits.streamWindow);
      return this.#frames.spend(COST.control);
    }
    this.lastServed = id;
    this.#closed.opened(id);
    if (this.#frames.streams.size >= this.#limits.maxConcurrentStreams) {
      this.#reset(id, CODE.refusedStream);
      return this.#frames.spend(COST.control);
    }
    const listener = this.#owner.port.state!;
    const x = this.#exchanges.take();
    const { limits, path } = listener.plan;
    x.listener = listener;
    const stream = new ServerStream(this.#owner, id, this.#frames.initialWindow, this.#limits.streamWindow, x);
    this.#frames.streams.set(id, stream);
    if (id === this.#nextStream) stream.reprioritize(this.#nextPriority);
    this.#owner.clock.add(stream);
    x.client = stream;
    if (this.#choice !== null) this.#choice.apply(x);
    x.headAt = x.startedAt = performance.now();
    x.clientAddress = this.#owner.peer;
    this.#owner.connection.deadline = 0;
    if (++this.#requestCount >= MAX_REQUESTS) this.#owner.end.announce();
    const status = isTooLarge
      ? reject(x.request, 431, `a head over ${limits.head} bytes or ${limits.headers} fields`)
      : readRequest(decoded, x.request, limits, path.form, ends);
    if (ends) stream.endRequest();
    if (status < 0) stream.refuse(refusalOf(-status), x.request.problem);
    else stream.begin();
    return true;
  }

  settingsReceived(): boolean {
    this.#owner.awaitNext();
    return true;
  }

  reset(id: number, code: number): boolean {
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) return this.#frames.spend(COST.control);
    const cost = stream.costOfCancel();
    stream.wasReset(code);
    return this.#frames.spend(cost);
  }

  /** RFC 9218 section 7.1. Of streams that are not open yet, the last update is kept. */
  #priorityUpdate(id: number, bytes: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.#owner.fail(CODE.protocolError, "PRIORITY_UPDATE on a stream");
    if (end - start < 4) return this.#owner.fail(CODE.frameSizeError, "a PRIORITY_UPDATE of fewer than 4 bytes");
    const stream = readUint32(bytes, start) & MAX_WINDOW;
    if ((stream & 1) === 0)
      return this.#owner.fail(CODE.protocolError, "PRIORITY_UPDATE of a stream with an even number");
    const priority = parsePriority(bytes, start + 4, end);
    this.#frames.streams.get(stream)?.reprioritize(priority);
    if (stream > this.#lastStream) {
      this.#nextStream = stream;
      this.#nextPriority = priority;
    }
    return this.#frames.spend(COST.control);
  }

  goAway(): boolean {
    // It concerns streams of the server, which opens none. Those of the client are still served.
    this.#owner.end.finishStreams();
    return this.#frames.spend(COST.control);
  }

  /** The connection continues within its budget. */
  streamFault(stream: Stream, code: number, problem: string): boolean {
    stream.resetByFault(code, problem);
    return this.#frames.spend(COST.fault);
  }

  fail(code: number, problem: string): false {
    return this.#owner.fail(code, problem);
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  replace(tunnel: StreamTunnel): void {
    this.#frames.streams.set(tunnel.id, tunnel);
  }

  /** The stream is closed in both directions (-1), or to be reset with `code`. */
  remove(id: number, code: number): void {
    if (code >= 0) this.#reset(id, code);
    this.#frames.streams.delete(id);
  }

  drain(): void {
    for (const stream of [...this.#frames.streams.values()]) stream.drain();
  }

  /** The client sends nothing more. `keeps`: streams whose request is complete get their response. */
  clientEnded(keeps: boolean): void {
    for (const stream of [...this.#frames.streams.values()])
      if (!keeps || !stream.input.hasEnded) stream.lost("the client ended its side");
  }

  /** The connection ends, and with it all streams. */
  gone(problem: string): void {
    this.#joiner.drop();
    for (const stream of [...this.#frames.streams.values()]) stream.lost(problem);
  }
}
