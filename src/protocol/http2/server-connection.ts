/**
 * A client's HTTP/2 connection (RFC 9113): its preface and settings, what its streams share, its deadlines and its end.
 * Frames are read by `server-streams.ts`, and written once for each turn of the event loop.
 */

import type { Head } from "../../http/head.ts";
import type { Scheme } from "../../http/protocol.ts";
import { VERSION } from "../../http/protocol.ts";
import { CODE, DEFAULT_WINDOW, PREFACE, SETTING } from "../../http2/frames.ts";
import { HpackEncoder } from "../../http2/hpack-encoder.ts";
import type { Buffers } from "../../net/buffers.ts";
import type { Clock } from "../../net/clock.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import { LISTENER_CELLS } from "../../observe/series.ts";
import type { ListenerPlan } from "../../plan/plan.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { makeForwarded, UNKNOWN } from "../../proxy/forwarded.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { Accepted, AcceptedConnection, Port, ServerHandler } from "../../proxy/port.ts";
import type { RequestEvents } from "../../proxy/request-events.ts";
import { ConnectionEnd, type EndingConnection } from "./connection-end.ts";
import { errorCell, errorName } from "./error-names.ts";
import { COST, FrameBudget } from "./frame-budget.ts";
import { FrameWriter, type WriterOwner } from "./frame-writer.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { responseBound, writeResponse, writeTrailers } from "./response-fields.ts";
import { SendScheduler } from "./send-scheduler.ts";
import type { ServerStream } from "./server-stream.ts";
import { ServerStreams, type StreamsOwner } from "./server-streams.ts";
import type { StreamTunnel } from "./stream-tunnel.ts";

export class Http2Connection implements ServerHandler, StreamsOwner, WriterOwner, EndingConnection {
  readonly peer: string;
  readonly forwarded: Buffer;
  readonly requests: RequestEvents;
  readonly writer: FrameWriter;
  readonly scheduler: SendScheduler;
  readonly connection: AcceptedConnection;
  readonly port: Port;
  readonly receiveWindow: ReceiveWindow;
  readonly end: ConnectionEnd;
  readonly #context: WorkerContext;
  readonly #pipeline: Pipeline;
  readonly #encoder = new HpackEncoder();
  readonly #budget: FrameBudget;
  readonly #streams: ServerStreams;
  /** Octets of the preface received. */
  #preface = 0;
  #failed = false;

  /** `timeouts.head` for the preface begins now. */
  constructor(context: WorkerContext, pipeline: Pipeline, { connection, port, choice }: Accepted) {
    const { http2: limits, timeouts } = port.state!.plan;
    this.connection = connection;
    this.port = port;
    this.requests = pipeline.requests;
    this.#context = context;
    this.#pipeline = pipeline;
    this.writer = new FrameWriter(connection, this, context.buffers);
    this.end = new ConnectionEnd(connection, this.writer, this);
    this.receiveWindow = new ReceiveWindow(limits.connectionWindow);
    this.#budget = new FrameBudget(limits.controlFrames, context.clock.now);
    this.scheduler = new SendScheduler(connection, this.writer, this.#budget, context.clock);
    this.#streams = new ServerStreams(this, {
      exchanges: pipeline.exchanges,
      limits,
      budget: this.#budget,
      encoder: this.#encoder,
      choice,
    });
    this.peer = connection.peerAddress || UNKNOWN;
    this.forwarded = makeForwarded(this.peer, this.scheme, VERSION.http2);
    connection.arm(timeouts.head);
    this.#sendSettings(limits);
    if (port.draining) this.drain();
  }

  get scheme(): Scheme {
    return this.connection.tls === null ? "http" : "https";
  }

  get tls(): TlsFacts | null {
    return this.connection.tls;
  }

  get buffers(): Buffers {
    return this.#context.buffers;
  }

  get alive(): boolean {
    return this.connection.alive;
  }

  /** Of the current version. */
  get plan(): ListenerPlan {
    return this.port.state!.plan;
  }

  get hasStreams(): boolean {
    return !this.#streams.isEmpty;
  }

  get lastServed(): number {
    return this.#streams.lastServed;
  }

  get writeTimeout(): number {
    return this.plan.timeouts.write;
  }

  get clock(): Clock {
    return this.#context.clock;
  }

  // ── Input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number): void {
    let at = start;
    for (; this.#preface < PREFACE.length && at < end; at++)
      if (bytes[at] !== PREFACE[this.#preface++]) {
        this.fail(CODE.protocolError, "no preface of HTTP/2");
        return;
      }
    this.#streams.read(bytes, at, end);
    if (this.connection.isBackedUp) this.connection.pause();
  }

  /** Ends the connection because of an error of the client. Returns false. */
  fail(code: number, problem: string): false {
    if (this.#failed) return false;
    this.#failed = true;
    const { name: listener, cells } = this.plan;
    const error = errorName(code);
    this.#context.cells[cells + LISTENER_CELLS.http2Errors + errorCell(code)]!++;
    const { warnings } = this.#context;
    if (warnings.admits("http2_error", `${listener} ${error}`))
      warnings.write("HTTP/2 connection ended", { listener, client: this.peer, error, cause: problem });
    this.writer.goAway(this.lastServed, code);
    this.writer.flush();
    this.#streams.gone(problem);
    this.end.finish();
    return false;
  }

  // ── Output ──────────────────────────────────────────────────────────────────────────────────────────────────────

  writeHeaders(id: number, head: Head, length: number, ends: boolean): void {
    const at = this.writer.beginHeaders(responseBound(head));
    const date = this.#context.clock.date();
    const end = writeResponse(this.#encoder, this.writer.bytes, at, head, length, date, ends);
    this.writer.endHeaders(id, end, ends);
  }

  writeTrailers(id: number, trailers: Head): void {
    const at = this.writer.beginHeaders(responseBound(trailers));
    const end = writeTrailers(this.#encoder, this.writer.bytes, at, trailers);
    this.writer.endHeaders(id, end, true);
  }

  credit(size: number): void {
    this.writer.windowUpdate(0, this.receiveWindow.credit(size));
  }

  #sendSettings(limits: ListenerPlan["http2"]): void {
    const { maxConcurrentStreams, streamWindow, connectionWindow, headerTableSize } = limits;
    this.writer.settings([
      [SETTING.headerTableSize, headerTableSize],
      [SETTING.maxConcurrentStreams, maxConcurrentStreams],
      [SETTING.initialWindowSize, streamWindow],
      [SETTING.maxHeaderListSize, this.plan.limits.head],
      [SETTING.enableConnectProtocol, 1],
      [SETTING.noRfc7540Priorities, 1],
    ]);
    this.writer.windowUpdate(0, connectionWindow - DEFAULT_WINDOW);
  }

  // ── Ends of streams ─────────────────────────────────────────────────────────────────────────────────────────────

  becameTunnel(stream: ServerStream, tunnel: StreamTunnel, x: Exchange): void {
    this.clock.remove(stream);
    this.#streams.replace(tunnel);
    tunnel.open();
    const { early } = tunnel;
    this.#pipeline.tunnels.open(x, tunnel, this.port, early);
    early.drop();
  }

  streamClosed(stream: ServerStream | StreamTunnel, code: number): void {
    this.clock.remove(stream);
    this.#streams.remove(stream.id, code);
    if (stream.output.hasSentEnd) this.#budget.earn(COST.response);
    if (!this.#failed) this.end.streamClosed();
    this.awaitNext();
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  drain(): void {
    this.end.announce();
    this.#streams.drain();
  }

  /** Sets the deadline for what the client has to send next. Unsent bytes have their own. */
  awaitNext(): void {
    const { connection } = this;
    if (this.end.hasEnded || connection.unsent > 0) return;
    const { timeouts } = this.plan;
    if (this.#streams.isIncomplete) {
      // Streams that end meanwhile do not extend it.
      if (connection.deadline === 0) connection.arm(timeouts.head);
    } else if (this.#streams.isEmpty) connection.arm(timeouts.idle);
  }

  ended(): void {
    const keeps = this.plan.halfClose && !this.end.hasEnded;
    this.#streams.clientEnded(keeps);
    // What is kept has the windows that the client has given until now, and `timeouts.write`.
    if (keeps) this.end.finishStreams();
    else this.connection.endBoth();
  }

  closed(error: Error | null): void {
    this.#streams.gone(error?.message ?? "the connection closed");
  }

  delayed(): void {
    this.connection.arm(this.plan.timeouts.write);
  }

  flushed(): void {
    this.connection.deadline = 0;
    this.awaitNext();
    if (!this.end.hasEnded) this.connection.resume();
    this.scheduler.resume();
  }

  broken(error: unknown): void {
    this.#pipeline.internal(null, error);
    this.connection.destroy();
  }

  timedOut(): void {
    if (this.end.hasEnded || this.connection.unsent > 0) return this.connection.reset();
    if (!this.#streams.isEmpty) {
      if (this.#streams.isWithinBlock)
        this.fail(CODE.enhanceYourCalm, "a header block was not complete within timeouts.head");
      return;
    }
    if (this.#streams.isIncomplete) {
      this.fail(CODE.enhanceYourCalm, "nothing complete was received within timeouts.head");
      return;
    }
    this.end.finishWith(CODE.noError);
  }
}
