/**
 * A client's HTTP/2 connection (RFC 9113): frames, settings, flow control, and bounds on what a client can cost. Each of
 * its streams is an exchange (`server-stream.ts`). Frames are written once for each turn of the event loop.
 */

import { Head, reject } from "../../http/head.ts";
import { parsePriority } from "../../http/priority.ts";
import type { Scheme } from "../../http/protocol.ts";
import { VERSION } from "../../http/protocol.ts";
import * as frames from "../../http2/frames.ts";
import { type FrameHandler, FrameReader, readUint32 } from "../../http2/frames.ts";
import { DECODED, HpackDecoder } from "../../http2/hpack-decoder.ts";
import { HpackEncoder } from "../../http2/hpack-encoder.ts";
import { readRequest } from "../../http2/request-head.ts";
import type { Buffers } from "../../net/buffers.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import { LISTENER_CELLS } from "../../observe/series.ts";
import type { ListenerPlan } from "../../plan/plan.ts";
import type { ConnectionChoice } from "../../proxy/connection-choice.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { refusalOf } from "../../proxy/error.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { makeForwarded, UNKNOWN } from "../../proxy/forwarded.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { Accepted, AcceptedConnection, Port, ServerHandler } from "../../proxy/port.ts";
import type { RequestEvents } from "../../proxy/request-events.ts";
import { ConnectionEnd, type EndingConnection } from "./connection-end.ts";
import { DataJoiner } from "./data-joiner.ts";
import { errorCell, errorName } from "./error-names.ts";
import { COST, FrameBudget } from "./frame-budget.ts";
import { FrameDispatch, type FrameOwner } from "./frame-dispatch.ts";
import { FrameWriter, type WriterOwner } from "./frame-writer.ts";
import { HeaderBlock } from "./header-block.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { RecentStreams } from "./recent-streams.ts";
import { responseBound, writeResponse, writeTrailers } from "./response-fields.ts";
import { SendScheduler } from "./send-scheduler.ts";
import { ServerStream, type StreamConnection } from "./server-stream.ts";
import type { ServerTunnel } from "./server-tunnel.ts";

const { CODE, DEFAULT_WINDOW, FRAME, FRAME_FLAG, MAX_WINDOW, PREFACE, SETTING } = frames;

/** Requests on one connection; then it ends, so that long-lived clients are distributed over the workers again. */
const MAX_REQUESTS = 100_000;
/** The first byte of the names of pseudo-header fields. */
const COLON = 0x3a;
/** Why a stream is reset: an endpoint would read such frames as another request. */
const AFTER_END = "frames of a request after its end";

/** The fields of the current block. One for the worker suffices, since it is read synchronously. */
const decoded = new Head(8192, 64);
/** Smallest size that a DATA frame in transit counts as, so that their number is bounded too: 1,024 of a stream. */
const MIN_IN_TRANSIT = 64;

export class Http2Connection
  implements
    ServerHandler,
    FrameHandler,
    FrameOwner<ServerStream | ServerTunnel>,
    StreamConnection,
    WriterOwner,
    EndingConnection
{
  readonly peer: string;
  readonly forwarded: Buffer;
  readonly requests: RequestEvents;
  readonly writer: FrameWriter;
  readonly scheduler: SendScheduler;
  readonly #connection: AcceptedConnection;
  readonly #context: WorkerContext;
  readonly #pipeline: Pipeline;
  readonly #port: Port;
  /** The initial cluster of its requests. */
  readonly #choice: ConnectionChoice | null;
  readonly #reader = new FrameReader(this);
  /** As announced by SETTINGS: a new version of the configuration does not change it. */
  readonly #limits: ListenerPlan["http2"];
  readonly #decoder: HpackDecoder;
  readonly #encoder = new HpackEncoder();
  readonly #budget: FrameBudget;
  readonly #frames: FrameDispatch<ServerStream | ServerTunnel>;
  readonly #recent = new RecentStreams();
  /** Bytes that the client may have sent on streams before it received our reset, or the final GOAWAY. */
  #inTransit = 0;
  readonly #joiner = new DataJoiner();
  /** The highest stream that the client has opened, and the highest that is not ignored for a final GOAWAY. */
  #lastStream = 0;
  lastServed = 0;
  /** A PRIORITY_UPDATE for a stream that was not open yet, and its priority. */
  #nextStream = 0;
  #nextPriority = 0;
  #requestCount = 0;
  /** Octets of the preface received. */
  #preface = 0;
  readonly #receiveWindow: ReceiveWindow;
  readonly #end: ConnectionEnd;
  #failed = false;

  /** `timeouts.head` for the preface begins now. */
  constructor(context: WorkerContext, pipeline: Pipeline, { connection, port, choice }: Accepted) {
    this.#connection = connection;
    this.#context = context;
    this.#pipeline = pipeline;
    this.requests = pipeline.requests;
    this.#port = port;
    this.#choice = choice;
    this.writer = new FrameWriter(connection, this, context.buffers);
    this.#end = new ConnectionEnd(connection, this.writer, this);
    this.#limits = port.state!.plan.http2;
    this.#decoder = new HpackDecoder(this.#limits.headerTableSize);
    this.#receiveWindow = new ReceiveWindow(this.#limits.connectionWindow);
    this.#budget = new FrameBudget(this.#limits.controlFrames, context.clock.now);
    this.scheduler = new SendScheduler(connection, this.writer, this.#budget);
    this.#frames = new FrameDispatch(this, {
      clock: context.clock,
      writer: this.writer,
      scheduler: this.scheduler,
      budget: this.#budget,
      encoder: this.#encoder,
      block: new HeaderBlock(),
      maxPush: 1,
      leastIncrement: Number.POSITIVE_INFINITY,
      checksDependency: true,
    });
    this.peer = connection.peerAddress || UNKNOWN;
    this.forwarded = makeForwarded(this.peer, this.scheme, VERSION.http2);
    connection.arm(port.state!.plan.timeouts.head);
    this.#sendSettings();
    if (port.draining) this.drain();
  }

  get scheme(): Scheme {
    return this.#connection.tls === null ? "http" : "https";
  }

  get tls(): TlsFacts | null {
    return this.#connection.tls;
  }

  get connection(): AcceptedConnection {
    return this.#connection;
  }

  get buffers(): Buffers {
    return this.#context.buffers;
  }

  get alive(): boolean {
    return this.#connection.alive;
  }

  get hasStreams(): boolean {
    return this.#frames.streams.size > 0;
  }

  get writeTimeout(): number {
    return this.#plan.timeouts.write;
  }

  after(ms: number): number {
    return this.#context.clock.after(ms);
  }

  // ── Input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number): void {
    let at = start;
    for (; this.#preface < PREFACE.length && at < end; at++)
      if (bytes[at] !== PREFACE[this.#preface++]) return this.malformed(CODE.protocolError, "no preface of HTTP/2");
    this.#reader.read(bytes, at, end);
    this.#joiner.deliver(false);
    if (this.#connection.isBackedUp) this.#connection.pause();
  }

  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    this.#joiner.deliver(false);
    return this.#frames.frame(type, flags, stream, bytes, start, end);
  }

  other(type: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    if (type === FRAME.priorityUpdate) return this.#priorityUpdate(id, bytes, start, end);
    if (type === FRAME.pushPromise) return this.fail(CODE.protocolError, "PUSH_PROMISE by a client");
    // Unknown frames are ignored (RFC 9113 section 4.1).
    return this.#frames.spend(COST.control);
  }

  get headLimit(): number {
    return this.#plan.limits.head;
  }

  isUnopened(id: number): boolean {
    return id === 0 || id > this.#lastStream;
  }

  data(flags: number, id: number, bytes: Buffer, start: number, end: number, length: number, padding: number): boolean {
    const ends = length >= 0 && (flags & FRAME_FLAG.endStream) !== 0;
    if (!this.#frames.acceptsData(id, length, padding, ends)) return false;
    // Padding is subject to flow control too (RFC 9113 section 6.1).
    const size = end - start + padding;
    if (!this.#receiveWindow.take(size))
      return this.fail(CODE.flowControlError, "more than the window of the connection");
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) {
      this.credit(size);
      if (this.#isClosedByClient(id)) return this.fail(CODE.streamClosed, "DATA on a closed stream");
      this.#inTransit -= Math.max(size, MIN_IN_TRANSIT);
      return this.#inTransit >= 0 || this.#frames.spend(COST.control);
    }
    if (!stream.input.take(size)) {
      this.credit(size);
      return this.streamFault(stream, CODE.flowControlError, "more than the window of the stream");
    }
    if (stream.input.hasEnded) {
      this.credit(size);
      return this.streamFault(stream, CODE.streamClosed, AFTER_END);
    }
    if (padding > 0) stream.input.grant(padding);
    this.#joiner.add(stream, bytes, start, end);
    if (ends) this.#joiner.deliver(true);
    return true;
  }

  blockBegins(id: number, flags: number): boolean {
    if ((id & 1) === 0) return this.fail(CODE.protocolError, "a stream with an even number");
    if ((flags & FRAME_FLAG.endHeaders) === 0) this.#connection.arm(this.#plan.timeouts.head);
    return true;
  }

  block(id: number, flags: number, bytes: Buffer, start: number, end: number): boolean {
    if ((flags & FRAME_FLAG.endHeaders) !== 0) return this.#readBlock(id, flags, bytes, start, end);
    this.#connection.deadline = 0;
    const continues = this.#readBlock(id, flags, bytes, start, end);
    this.#armNext();
    return continues;
  }

  #readBlock(id: number, flags: number, bytes: Buffer, start: number, end: number): boolean {
    decoded.reset();
    const result = this.#decoder.decode(bytes, start, end, decoded, this.#plan.limits);
    if (result === DECODED.malformed) return this.fail(CODE.compressionError, "a malformed header block");
    const ends = (flags & FRAME_FLAG.endStream) !== 0;
    if (id > this.#lastStream) return this.#open(id, ends, result === DECODED.tooLarge);
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) {
      if (this.#isClosedByClient(id)) return this.fail(CODE.streamClosed, "HEADERS on a closed stream");
      // Trailers may follow a reset of ours; a request on a stream that was passed over has to fail (RFC 9113 5.1.1).
      const begins = decoded.count > 0 && decoded.bytes[decoded.fields[0]!] === COLON;
      return begins ? this.fail(CODE.protocolError, "a request on a closed stream") : this.#frames.spend(COST.control);
    }
    if (stream.input.hasEnded) return this.streamFault(stream, CODE.streamClosed, AFTER_END);
    if (!ends) return this.streamFault(stream, CODE.protocolError, "trailers that do not end the stream");
    if (result === DECODED.tooLarge) return this.streamFault(stream, CODE.enhanceYourCalm, "trailers over limits.head");
    stream.receiveTrailers(decoded.copy());
    return true;
  }

  /** Its end, or reset, was not ours: frames cannot be in transit. */
  #isClosedByClient(id: number): boolean {
    return this.#recent.wasOpened(id) && !this.#recent.wasReset(id);
  }

  resetStream(id: number, code: number): void {
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) this.#expectData(this.#limits.streamWindow);
    else if (!stream.input.hasEnded) this.#expectData(stream.input.left);
    this.#recent.reset(id);
    this.writer.reset(id, code);
  }

  /** Up to `size` bytes of a stream that is not served may be in transit: their frames cost no budget. */
  #expectData(size: number): void {
    this.#inTransit = Math.max(0, this.#inTransit) + Math.max(0, size);
  }

  /** Begins the request of a new stream. */
  #open(id: number, ends: boolean, isTooLarge: boolean): boolean {
    this.#lastStream = id;
    if (this.#end.ignoresStreams) {
      if (!ends) this.#expectData(this.#limits.streamWindow);
      return this.#frames.spend(COST.control);
    }
    this.lastServed = id;
    this.#recent.open(id);
    if (this.#frames.streams.size >= this.#limits.maxConcurrentStreams) {
      this.resetStream(id, CODE.refusedStream);
      return this.#frames.spend(COST.control);
    }
    const listener = this.#port.state!;
    const x = this.#pipeline.exchanges.take();
    const { limits, path } = listener.plan;
    x.listener = listener;
    const stream = new ServerStream(this, id, this.#frames.initialWindow, this.#limits.streamWindow, x);
    this.#frames.streams.set(id, stream);
    if (id === this.#nextStream) stream.reprioritize(this.#nextPriority);
    this.#context.clock.add(stream);
    x.client = stream;
    if (this.#choice !== null) this.#choice.apply(x);
    x.headAt = x.startedAt = performance.now();
    x.clientAddress = this.peer;
    this.#connection.deadline = 0;
    if (++this.#requestCount >= MAX_REQUESTS) this.#end.announce();
    const status = isTooLarge
      ? reject(x.request, 431, `a head over ${limits.head} bytes or ${limits.headers} fields`)
      : readRequest(decoded, x.request, limits, path.form, ends);
    if (ends) stream.endRequest();
    if (status < 0) stream.refuse(refusalOf(-status), x.request.problem);
    else stream.begin();
    return true;
  }

  settingsReceived(): boolean {
    this.#armNext();
    return true;
  }

  reset(id: number, code: number): boolean {
    const stream = this.#frames.streams.get(id);
    if (stream === undefined) return this.#frames.spend(COST.control);
    const cost = stream.costOfCancel();
    stream.resetByClient(code);
    return this.#frames.spend(cost);
  }

  /** RFC 9218 section 7.1. Of streams that are not open yet, the last update is kept. */
  #priorityUpdate(id: number, bytes: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.fail(CODE.protocolError, "PRIORITY_UPDATE on a stream");
    if (end - start < 4) return this.fail(CODE.frameSizeError, "a PRIORITY_UPDATE of fewer than 4 bytes");
    const stream = readUint32(bytes, start) & MAX_WINDOW;
    if ((stream & 1) === 0) return this.fail(CODE.protocolError, "PRIORITY_UPDATE of a stream with an even number");
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
    this.#end.finishStreams();
    return this.#frames.spend(COST.control);
  }

  /** The connection continues within its budget. */
  streamFault(stream: ServerStream | ServerTunnel, code: number, problem: string): boolean {
    stream.abort(code);
    stream.gone(problem);
    return this.#frames.spend(COST.fault);
  }

  malformed(code: number, problem: string): void {
    this.fail(code, problem);
  }

  /** Ends the connection because of an error of the client. Returns false. */
  fail(code: number, problem: string): false {
    if (this.#failed) return false;
    this.#failed = true;
    this.#joiner.drop();
    const { name: listener, cells } = this.#plan;
    const error = errorName(code);
    this.#context.cells[cells + LISTENER_CELLS.http2Errors + errorCell(code)]!++;
    const { warnings } = this.#context;
    if (warnings.admits("http2_error", `${listener} ${error}`))
      warnings.write("HTTP/2 connection ended", { listener, client: this.peer, error, cause: problem });
    this.writer.goAway(this.lastServed, code);
    this.writer.flush();
    for (const stream of [...this.#frames.streams.values()]) stream.gone(problem);
    this.#end.finish();
    return false;
  }

  // ── Output ──────────────────────────────────────────────────────────────────────────────────────────────────────

  writeHeaders(id: number, head: Head, length: number, ends: boolean): void {
    const at = this.writer.beginHeaders(responseBound(head));
    const date = this.#context.clock.date();
    const end = writeResponse(this.#encoder, this.writer.bytes, at, head, length, date);
    this.writer.endHeaders(id, end, ends);
  }

  writeTrailers(id: number, trailers: Head): void {
    const at = this.writer.beginHeaders(responseBound(trailers));
    const end = writeTrailers(this.#encoder, this.writer.bytes, at, trailers);
    this.writer.endHeaders(id, end, true);
  }

  becameTunnel(stream: ServerStream, tunnel: ServerTunnel, x: Exchange): void {
    const { clock } = this.#context;
    clock.remove(stream);
    clock.add(tunnel);
    this.#frames.streams.set(stream.id, tunnel);
    tunnel.open();
    const { early } = tunnel.connection;
    this.#pipeline.tunnels.open(x, tunnel.connection, this.#port, early);
    early.drop();
  }

  credit(size: number): void {
    this.writer.windowUpdate(0, this.#receiveWindow.credit(size));
  }

  #sendSettings(): void {
    const { maxConcurrentStreams, streamWindow, connectionWindow, headerTableSize } = this.#limits;
    this.writer.settings([
      [SETTING.headerTableSize, headerTableSize],
      [SETTING.maxConcurrentStreams, maxConcurrentStreams],
      [SETTING.initialWindowSize, streamWindow],
      [SETTING.maxHeaderListSize, this.#plan.limits.head],
      [SETTING.enableConnectProtocol, 1],
      [SETTING.noRfc7540Priorities, 1],
    ]);
    this.writer.windowUpdate(0, connectionWindow - DEFAULT_WINDOW);
  }

  streamClosed(stream: ServerStream | ServerTunnel): void {
    this.#context.clock.remove(stream);
    this.#frames.streams.delete(stream.id);
    if (stream.output.hasSentEnd) this.#budget.earn(COST.response);
    if (!this.#failed) this.#end.streamClosed();
    this.#armNext();
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  get #plan(): ListenerPlan {
    return this.#port.state!.plan;
  }

  drain(): void {
    this.#end.announce();
    for (const stream of [...this.#frames.streams.values()]) stream.drain();
  }

  /** Sets the deadline for what the client has to send next. Unsent bytes have their own. */
  #armNext(): void {
    const connection = this.#connection;
    if (this.#end.hasEnded || connection.unsent > 0) return;
    const { timeouts } = this.#plan;
    if (this.#frames.isWithinBlock || !this.#frames.hasSettings) {
      // Streams that end meanwhile do not extend it.
      if (connection.deadline === 0) connection.arm(timeouts.head);
    } else if (this.#frames.streams.size === 0) connection.arm(timeouts.idle);
  }

  ended(): void {
    for (const stream of [...this.#frames.streams.values()]) stream.gone("the client ended its side");
    this.#connection.endBoth();
  }

  closed(error: Error | null): void {
    for (const stream of [...this.#frames.streams.values()]) stream.gone(error?.message ?? "the connection closed");
  }

  delayed(): void {
    this.#connection.arm(this.#plan.timeouts.write);
  }

  flushed(): void {
    this.#connection.deadline = 0;
    this.#armNext();
    if (!this.#end.hasEnded) this.#connection.resume();
    this.scheduler.resume();
  }

  broken(error: unknown): void {
    this.#pipeline.internal(null, error);
    this.#connection.destroy();
  }

  timedOut(): void {
    if (this.#end.hasEnded || this.#connection.unsent > 0) return this.#connection.reset();
    if (this.#frames.streams.size > 0) {
      if (this.#frames.isWithinBlock)
        this.fail(CODE.enhanceYourCalm, "a header block was not complete within timeouts.head");
      return;
    }
    if (!this.#frames.hasSettings || this.#frames.isWithinBlock) {
      this.fail(CODE.enhanceYourCalm, "nothing complete was received within timeouts.head");
      return;
    }
    this.#end.finishWith(CODE.noError);
  }
}
