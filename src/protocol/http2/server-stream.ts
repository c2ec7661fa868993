/** A stream of a client's HTTP/2 connection: one request and its response. */

import { FIELD_WORDS, FLAG, FRAMING, type Head, VALUE_END, VALUE_START } from "../../http/head.ts";
import { DEFAULT_URGENCY, parsePriority } from "../../http/priority.ts";
import type { Scheme } from "../../http/protocol.ts";
import { CODE, MAX_WINDOW } from "../../http2/frames.ts";
import { findFieldProblem } from "../../http2/request-head.ts";
import { BlockBuffer } from "../../net/block-buffer.ts";
import type { Buffers } from "../../net/buffers.ts";
import type { Timed } from "../../net/clock.ts";
import type { Connection } from "../../net/connection.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import type { Received, TunnelConnection } from "../../net/tunnel.ts";
import type { ListenerPlan } from "../../plan/plan.ts";
import type { Downstream } from "../../proxy/downstream.ts";
import { ERROR } from "../../proxy/error.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { PHASE } from "../../proxy/phase.ts";
import type { RequestEvents } from "../../proxy/request-events.ts";
import { costOfCancel } from "./frame-budget.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { isBodiless, lengthOf, NONE } from "./response-fields.ts";
import type { SendingStream, SendScheduler } from "./send-scheduler.ts";
import { TunnelStream } from "./tunnel-stream.ts";

/** What a stream uses of its connection. */
export interface StreamConnection {
  readonly peer: string;
  readonly scheme: Scheme;
  readonly tls: TlsFacts | null;
  readonly connection: Connection;
  readonly forwarded: Buffer;
  readonly alive: boolean;
  readonly requests: RequestEvents;
  readonly buffers: Buffers;
  readonly writer: FrameWriter;
  readonly scheduler: SendScheduler;
  /** The deadline `ms` from now. */
  after(ms: number): number;
  writeHeaders(stream: ServerStream, head: Head, length: number, ends: boolean): void;
  writeTrailers(stream: ServerStream, trailers: Head): void;
  /** Sends RST_STREAM. */
  resetStream(id: number, code: number): void;
  /** Relays between the stream and `Attempt.upgraded`. `received`: what the client sent before. */
  openTunnel(x: Exchange, stream: TunnelConnection, received: Received): void;
  /** Lets the client send `size` more bytes on the connection. */
  credit(size: number): void;
  /** The stream is closed in both directions, or reset. */
  streamClosed(stream: ServerStream): void;
}

const PRIORITY = Buffer.from("priority");
const ACCEPT = Buffer.from("sec-websocket-accept");

export class ServerStream implements Downstream, SendingStream, Timed {
  deadline = 0;
  sweepIndex = -1;
  readonly id: number;
  /** Bytes that may be sent to the client; negative after it has reduced its initial window. */
  window: number;
  priority: number = DEFAULT_URGENCY;
  /** Null once the exchange has ended. */
  exchange: Exchange | null;
  readonly receiveWindow: ReceiveWindow;
  readonly #connection: StreamConnection;
  readonly #listener: ListenerPlan;
  /** Body bytes received, and those that the pipeline has not consumed, whose credit is withheld. */
  #received = 0;
  #unconsumed = 0;
  #paused = false;
  /** Body bytes that exceed the windows. */
  readonly #pending: BlockBuffer;
  /** Whether the end of the stream follows them, with trailers if there are any. */
  #ends = false;
  #trailers: Head | null = null;
  #sentEnd = false;
  #closed = false;
  /** The client has ended its direction. */
  requestEnded = false;
  #isReprioritized = false;
  /** The request is malformed. */
  #isMalformed = false;
  /** The deadline is for the client's window, not for the request body. */
  #awaitsCredit = false;
  /** Of an extended CONNECT (RFC 8441); it is open once the endpoint has switched protocols. */
  #tunnel: TunnelStream | null = null;

  /** `window`: for sending; `receiveWindow`: the size of the other one. */
  constructor(connection: StreamConnection, id: number, window: number, receiveWindow: number, x: Exchange) {
    this.#connection = connection;
    this.id = id;
    this.window = window;
    this.receiveWindow = new ReceiveWindow(receiveWindow);
    this.#pending = new BlockBuffer(connection.buffers);
    this.exchange = x;
    this.#listener = x.listener!.plan;
  }

  get peer(): string {
    return this.#connection.peer;
  }

  get scheme(): Scheme {
    return this.#connection.scheme;
  }

  get tls(): TlsFacts | null {
    return this.#connection.tls;
  }

  get connection(): Connection {
    return this.#connection.connection;
  }

  get forwarded(): Buffer {
    return this.#connection.forwarded;
  }

  get alive(): boolean {
    return !this.#closed && this.#connection.alive;
  }

  /** Begins the exchange: its head is valid. */
  begin(): void {
    const x = this.exchange!;
    const { limits } = this.#listener;
    const { length, framing } = x.request;
    if (limits.body > 0 && framing === FRAMING.length && length > limits.body)
      return this.refuse(ERROR.bodyTooLarge, `a body of ${length} bytes is over the limit of ${limits.body}`);
    const { request } = x;
    const field = request.find(PRIORITY, 0, PRIORITY.length);
    if (field >= 0 && !this.#isReprioritized) {
      const at = field * FIELD_WORDS;
      this.priority = parsePriority(request.bytes, request.fields[at + VALUE_START]!, request.fields[at + VALUE_END]!);
    }
    if ((request.flags & FLAG.connect) !== 0) {
      // All that follows belongs to the tunnel.
      x.requestComplete = true;
      this.#tunnel = new TunnelStream(this);
    }
    if (!x.requestComplete) this.#arm();
    this.#connection.requests.begin(x);
  }

  /** A PRIORITY_UPDATE frame, which applies in place of the field of the request (RFC 9218 section 7). */
  reprioritize(priority: number): void {
    const { scheduler } = this.#connection;
    const waits = scheduler.remove(this);
    this.#isReprioritized = true;
    this.priority = priority;
    if (waits) scheduler.wait(this);
  }

  /** The client has ended its direction. */
  endRequest(): void {
    this.requestEnded = true;
    this.exchange!.requestComplete = true;
  }

  /** The whole response was sent. */
  get isComplete(): boolean {
    return this.#sentEnd;
  }

  /** The cost of a reset by the client now. */
  costOfCancel(): number {
    const x = this.exchange;
    return costOfCancel(x === null || x.headSent, x === null ? 0 : performance.now() - x.startedAt);
  }

  /** Changes the window for sending; false if it exceeds the largest window. */
  openWindow(change: number): boolean {
    this.window += change;
    if (this.window > MAX_WINDOW) return false;
    if (this.window > 0 && this.#pending.length > 0) this.sendMore();
    return true;
  }

  // ── The request ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** More of the request's body; `ends`: the last of it, or of the request. */
  receive(bytes: Buffer, start: number, end: number, ends: boolean): void {
    const x = this.exchange;
    const size = end - start;
    if (ends) this.requestEnded = true;
    // Padding alone is no progress.
    else if (size === 0) return;
    if (this.#tunnel !== null) return this.#receiveForTunnel(this.#tunnel, bytes, start, end);
    // The response is complete without the rest of the request.
    if (x === null || x.phase === PHASE.done) return this.credit(size);
    this.#received += size;
    x.bytesReceived = this.#received;
    const problem = this.#findBodyProblem(x, ends);
    if (problem !== "") return this.refuse(ERROR.malformed, problem);
    const limit = this.#listener.limits.body;
    if (limit > 0 && this.#received > limit)
      return this.refuse(ERROR.bodyTooLarge, `the body is over the limit of ${limit} bytes`);
    if (ends) x.requestComplete = true;
    this.#unconsumed += size;
    const more = this.#connection.requests.body(x, null, bytes, start, end);
    this.#paused = !more && !ends;
    if (!this.#paused) this.#releaseCredit();
    this.#arm();
  }

  #receiveForTunnel(tunnel: TunnelStream, bytes: Buffer, start: number, end: number): void {
    if (this.exchange === null && !tunnel.isOpen) return this.credit(end - start);
    this.#unconsumed += end - start;
    tunnel.received(bytes, start, end);
    if (!this.#paused) this.#releaseCredit();
  }

  /** The trailers of the request, which end it. */
  receiveTrailers(trailers: Head): void {
    if (this.#tunnel !== null) {
      // RFC 9113 section 8.5.
      this.abort(CODE.protocolError);
      return this.gone("HEADERS in a tunnel");
    }
    const x = this.exchange;
    if (x === null || x.phase === PHASE.done) return;
    for (let i = 0; i < trailers.count; i++) {
      const problem = findTrailerProblem(trailers, i);
      if (problem !== "") return this.refuse(ERROR.malformed, problem);
    }
    x.takeTrailers(trailers);
    this.receive(trailers.bytes, 0, 0, true);
  }

  #findBodyProblem({ request }: Exchange, ends: boolean): string {
    if (request.framing !== FRAMING.length) return "";
    if (this.#received > request.length) return "a body longer than Content-Length";
    return ends && this.#received < request.length ? "a body shorter than Content-Length" : "";
  }

  /** Rejects the request, whose head or body is invalid. */
  refuse(error: (typeof ERROR)[keyof typeof ERROR], problem: string): void {
    this.#isMalformed = error === ERROR.malformed;
    this.#releaseCredit();
    this.#connection.requests.refuse(this.exchange!, error, problem);
  }

  /** More of the request's body can be taken. */
  resumeBody(): void {
    // A tunnel has no request body; it grants credit itself.
    if (!this.#paused || this.#tunnel !== null) return;
    this.#paused = false;
    this.#releaseCredit();
    this.#arm();
  }

  #releaseCredit(): void {
    const size = this.#unconsumed;
    this.#unconsumed = 0;
    if (size > 0) this.credit(size);
  }

  /** Lets the client send `size` more bytes, on the stream unless it or the request has ended. */
  credit(size: number): void {
    this.#connection.credit(size);
    if (!this.#closed && !this.requestEnded)
      this.#connection.writer.windowUpdate(this.id, this.receiveWindow.credit(size));
  }

  resetByClient(code: number): void {
    // After the end of its direction it only stops to read.
    if (this.#tunnel?.isOpen && this.requestEnded && code === CODE.noError) return this.closeTunnel();
    this.gone("the client reset the stream");
  }

  /** The stream or its connection has ended. */
  gone(problem: string): void {
    this.#close();
    const x = this.exchange;
    if (x !== null) this.#connection.requests.gone(x, problem);
    else this.#tunnel?.closed(new Error(problem));
  }

  // ── The response ────────────────────────────────────────────────────────────────────────────────────────────────

  sendHeaders(): boolean {
    const x = this.exchange!;
    const { attempt } = x;
    const length = lengthOf(x);
    const isLocal = x.localStatus !== 0;
    const isDone = isLocal || attempt.bodyDone;
    const body = isLocal ? x.localBody : attempt.body;
    const start = isLocal ? 0 : attempt.bodyStart;
    const end = isLocal ? (body?.length ?? 0) : attempt.bodyEnd;
    const bodiless = isBodiless(x);
    const isEmpty = bodiless || body === null || end === start;
    const ends = bodiless || (isDone && isEmpty && x.responseTrailers === null);
    this.#connection.writeHeaders(this, x.response, length, ends);
    x.headSent = true;
    if (ends) return this.#ended();
    if (!isEmpty) x.bytesSent = end - start;
    return this.#send(body ?? x.response.bytes, isEmpty ? 0 : start, isEmpty ? 0 : end, isDone, x.responseTrailers);
  }

  sendBody(_source: Connection | null, bytes: Buffer): boolean {
    const x = this.exchange!;
    const { bodyStart, bodyEnd, bodyDone } = x.attempt;
    x.bytesSent += bodyEnd - bodyStart;
    return this.#send(bytes, bodyStart, bodyEnd, bodyDone, x.responseTrailers);
  }

  sendInterim(head: Head): void {
    this.#connection.writeHeaders(this, head, -1, false);
  }

  /** RFC 8441 section 5: 200 in place of 101, without Sec-WebSocket-Accept. */
  openTunnel(): void {
    const x = this.exchange!;
    const { response } = x;
    const accept = response.find(ACCEPT, 0, ACCEPT.length);
    if (accept >= 0) response.removeAt(accept);
    response.status = 200;
    this.#connection.writeHeaders(this, response, NONE, false);
    // Logs show the upgrade as with HTTP/1.
    response.status = 101;
    x.headSent = true;
    const tunnel = this.#tunnel!;
    tunnel.isOpen = true;
    this.exchange = null;
    this.#connection.openTunnel(x, tunnel, tunnel.early);
    tunnel.early.drop();
  }

  /** Ends the tunnel in order: the listener drains. */
  drain(): void {
    if (this.#tunnel?.isOpen) this.#tunnel.handler.drain();
  }

  get peerEnded(): boolean {
    return this.requestEnded;
  }

  get unsent(): number {
    return this.#pending.length;
  }

  after(ms: number): number {
    return this.#connection.after(ms);
  }

  sendBytes(bytes: Buffer, start: number, end: number, ends: boolean): boolean {
    return this.#send(bytes, start, end, ends, null);
  }

  pauseBytes(paused: boolean): void {
    this.#paused = paused;
    if (!paused) this.#releaseCredit();
  }

  closeTunnel(): void {
    this.#close();
    this.#tunnel!.closed(null);
  }

  /** Sends what the windows allow, and keeps the rest. Returns false if there is a rest. */
  #send(bytes: Buffer, start: number, end: number, ends: boolean, trailers: Head | null): boolean {
    if (this.#sentEnd || this.#closed) return true;
    this.#ends = ends;
    const pending = this.#pending;
    if (pending.length > 0) {
      pending.append(bytes, start, end);
      if (ends && trailers !== null) this.#trailers = trailers.copy();
      return false;
    }
    const sent = start + this.#connection.scheduler.send(this, bytes, start, end, ends && trailers === null);
    if (sent === end) {
      if (!ends) return true;
      if (trailers !== null) this.#connection.writeTrailers(this, trailers);
      return this.#ended();
    }
    pending.append(bytes, sent, end);
    if (ends && trailers !== null) this.#trailers = trailers.copy();
    this.#await();
    return false;
  }

  /** Sends of the rest what the windows allow now. */
  sendMore(): void {
    const pending = this.#pending;
    if (this.#closed || pending.length === 0) return;
    const { bytes, start, end } = pending;
    const sent = this.#connection.scheduler.send(this, bytes, start, end, this.#ends && this.#trailers === null);
    pending.start += sent;
    if (pending.length > 0) {
      if (sent > 0 && !this.#tunnel?.isOpen) this.deadline = 0;
      return this.#await();
    }
    pending.drop();
    this.#arm();
    if (!this.#ends) {
      if (this.exchange !== null) this.#connection.requests.drained(this.exchange);
      else this.#tunnel?.drained();
      return;
    }
    if (this.#trailers !== null) this.#connection.writeTrailers(this, this.#trailers);
    this.#ended();
  }

  #await(): void {
    if (this.window > 0) this.#connection.scheduler.wait(this);
    this.#arm();
  }

  #ended(): boolean {
    this.#sentEnd = true;
    if (this.#tunnel?.isOpen) this.#tunnel.sentEnd();
    else if (this.exchange === null) this.#closeAfterEnd();
    return true;
  }

  /** The exchange has ended; what of its response is pending is still sent. */
  finished(): void {
    if (this.#tunnel?.isOpen) return;
    this.exchange = null;
    this.#releaseCredit();
    if (this.#sentEnd) this.#closeAfterEnd();
    else this.#arm();
  }

  /**
   * RFC 9113 section 8.1: a reset without error asks the client to stop sending a body that is not needed. A malformed
   * request is an error of the stream, after the response to it (section 8.1.1).
   */
  #closeAfterEnd(): void {
    if (this.#closed) return;
    if (this.#isMalformed) this.#connection.resetStream(this.id, CODE.protocolError);
    else if (!this.requestEnded) this.#connection.resetStream(this.id, CODE.noError);
    this.#close();
  }

  /** Aborts the response, so that the client can detect that it is incomplete. */
  reset(): void {
    this.abort(this.#isMalformed ? CODE.protocolError : CODE.internalError);
  }

  /** Resets the stream. */
  abort(code: number): void {
    if (this.#closed) return;
    this.#connection.resetStream(this.id, code);
    this.#close();
    if (this.exchange === null) this.#tunnel?.closed(null);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pending.drop();
    this.#releaseCredit();
    this.#connection.streamClosed(this);
  }

  // ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Sets the deadline for what is awaited of the client: credit for a response, or more of the request's body. */
  #arm(): void {
    if (this.#tunnel?.isOpen) return;
    const x = this.exchange;
    const { timeouts } = this.#listener;
    if (this.#pending.length > 0) {
      if (this.deadline === 0 || !this.#awaitsCredit) this.deadline = this.#connection.after(timeouts.write);
      this.#awaitsCredit = true;
      return;
    }
    this.#awaitsCredit = false;
    const awaitsBody = x !== null && !x.requestComplete && !this.#paused;
    this.deadline = awaitsBody ? this.#connection.after(timeouts.body) : 0;
  }

  expire(): void {
    this.deadline = 0;
    const x = this.exchange;
    if (this.#tunnel?.isOpen) return this.#tunnel.expired();
    if (this.#awaitsCredit) {
      this.abort(CODE.cancel);
      if (x !== null)
        this.#connection.requests.gone(x, "the client did not allow the response to be sent within timeouts.write");
    } else if (x !== null && !x.requestComplete) {
      const problem = "the request body was not received within timeouts.body";
      if (x.headSent) this.#connection.requests.gone(x, problem);
      else this.refuse(ERROR.requestTimeout, problem);
    }
  }
}

/** RFC 9110 section 6.5.1: trailers neither frame nor route the message. */
function findTrailerProblem(trailers: Head, index: number): string {
  if (trailers.bytes[trailers.fields[index * FIELD_WORDS]!] === 0x3a) return "a pseudo-header field in trailers";
  return findFieldProblem(trailers, index);
}
