/** A stream of a client's HTTP/2 connection: one request and its response. */

import { FLAG, FRAMING, type Head } from "../../http/head.ts";
import { parsePriority } from "../../http/priority.ts";
import type { Scheme } from "../../http/protocol.ts";
import { CODE } from "../../http2/frames.ts";
import { findTrailersProblem } from "../../http2/request-head.ts";
import type { Timed } from "../../net/clock.ts";
import type { Connection } from "../../net/connection.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import type { ListenerPlan } from "../../plan/plan.ts";
import type { Downstream } from "../../proxy/downstream.ts";
import { ERROR } from "../../proxy/error.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { PHASE } from "../../proxy/phase.ts";
import type { RequestEvents } from "../../proxy/request-events.ts";
import { costOfCancel } from "./frame-budget.ts";
import { type ReceiveConnection, ReceiveStream } from "./receive-stream.ts";
import { isBodiless, lengthOf, NONE } from "./response-fields.ts";
import { type SendConnection, type SendOwner, SendStream } from "./send-stream.ts";
import { StreamTunnel, type StreamTunnelOwner } from "./stream-tunnel.ts";

/** What a stream uses of its connection. */
export interface StreamConnection extends SendConnection, ReceiveConnection, StreamTunnelOwner {
  readonly alive: boolean;
  readonly peer: string;
  readonly scheme: Scheme;
  readonly tls: TlsFacts | null;
  readonly connection: Connection;
  readonly forwarded: Buffer;
  readonly requests: RequestEvents;
  writeHeaders(id: number, head: Head, length: number, ends: boolean): void;
  /** The tunnel takes the place of the stream, and relays between the client and `Attempt.upgraded`. */
  becameTunnel(stream: ServerStream, tunnel: StreamTunnel, x: Exchange): void;
  /** The stream is closed in both directions (-1), or to be reset with `code`. */
  streamClosed(stream: ServerStream | StreamTunnel, code: number): void;
}

const PRIORITY = Buffer.from("priority");
const ACCEPT = Buffer.from("sec-websocket-accept");

export class ServerStream implements Downstream, SendOwner, Timed {
  deadline = 0;
  sweepIndex = -1;
  readonly id: number;
  /** Null once the exchange has ended. */
  exchange: Exchange | null;
  readonly input: ReceiveStream;
  readonly output: SendStream;
  readonly #connection: StreamConnection;
  readonly #listener: ListenerPlan;
  /** Body bytes received. */
  #received = 0;
  #closed = false;
  #isReprioritized = false;
  /** The request is malformed. */
  #isMalformed = false;
  /** The deadline is for the client's window, not for the request body. */
  #awaitsCredit = false;
  /** Of an extended CONNECT (RFC 8441): takes the place of this stream once the endpoint has switched protocols. */
  #tunnel: StreamTunnel | null = null;

  /** `sendWindow`, `receiveWindow`: their initial sizes. */
  constructor(connection: StreamConnection, id: number, sendWindow: number, receiveWindow: number, x: Exchange) {
    this.#connection = connection;
    this.id = id;
    this.output = new SendStream(connection, this, id, sendWindow);
    this.input = new ReceiveStream(connection, id, receiveWindow);
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
    if (field >= 0 && !this.#isReprioritized)
      this.output.priority = parsePriority(request.bytes, request.valueStart(field), request.valueEnd(field));
    if ((request.flags & FLAG.connect) !== 0) {
      // All that follows belongs to the tunnel.
      x.requestComplete = true;
      this.#tunnel = new StreamTunnel(this.#connection, this, null);
    }
    if (!x.requestComplete) this.#arm();
    this.#connection.requests.begin(x);
  }

  /** A PRIORITY_UPDATE frame, which applies in place of the field of the request (RFC 9218 section 7). */
  reprioritize(priority: number): void {
    this.#isReprioritized = true;
    this.output.reprioritize(priority);
  }

  /** The client has ended its direction. */
  endRequest(): void {
    this.input.hasEnded = true;
    this.exchange!.requestComplete = true;
  }

  /** The cost of a reset by the client now. */
  costOfCancel(): number {
    const x = this.exchange;
    return costOfCancel(x === null || x.headSent, x === null ? 0 : performance.now() - x.startedAt);
  }

  /** Changes the window for sending; false if it exceeds the largest window. */
  openWindow(change: number): boolean {
    return this.output.openWindow(change);
  }

  // ── The request ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** More of the request's body; `ends`: the last of it, or of the request. */
  receive(bytes: Buffer, start: number, end: number, ends: boolean): void {
    const x = this.exchange;
    const size = end - start;
    if (x !== null && this.#tunnel !== null) return this.#tunnel.receive(bytes, start, end, ends);
    if (ends) this.input.hasEnded = true;
    // Padding alone is no progress.
    else if (size === 0) return;
    // The response is complete without the rest of the request.
    if (x === null || x.phase === PHASE.done) return this.input.grant(size);
    this.#received += size;
    x.bytesReceived = this.#received;
    const problem = this.#findBodyProblem(x, ends);
    if (problem !== "") return this.refuse(ERROR.malformed, problem);
    const limit = this.#listener.limits.body;
    if (limit > 0 && this.#received > limit)
      return this.refuse(ERROR.bodyTooLarge, `the body is over the limit of ${limit} bytes`);
    if (ends) x.requestComplete = true;
    this.input.withhold(size);
    const more = this.#connection.requests.body(x, null, bytes, start, end);
    this.input.pause(!more && !ends);
    this.#arm();
  }

  /** The trailers of the request, which end it. */
  receiveTrailers(trailers: Head): void {
    const x = this.exchange;
    // RFC 9113 section 8.5.
    if (this.#tunnel !== null) return this.resetByFault(CODE.protocolError, "HEADERS in a tunnel");
    if (x === null || x.phase === PHASE.done) return;
    const problem = findTrailersProblem(trailers);
    if (problem !== "") return this.refuse(ERROR.malformed, problem);
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
    this.input.release();
    this.#connection.requests.refuse(this.exchange!, error, problem);
  }

  /** More of the request's body can be taken. */
  resumeBody(): void {
    // The bytes for a tunnel are kept until it is open.
    if (!this.input.isPaused || this.#tunnel !== null) return;
    this.input.pause(false);
    this.#arm();
  }

  /** The client has reset the stream. */
  wasReset(): void {
    this.lost("the client reset the stream");
  }

  /** The client has violated the protocol on this stream. */
  resetByFault(code: number, problem: string): void {
    this.#close(code);
    this.lost(problem);
  }

  /** The stream or its connection has ended. */
  lost(problem: string): void {
    this.#close(-1);
    if (this.exchange !== null) this.#connection.requests.gone(this.exchange, problem);
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
    this.#connection.writeHeaders(this.id, x.response, length, ends);
    x.headSent = true;
    if (ends) {
      this.output.endedByHeaders();
      this.#ended();
      return true;
    }
    if (!isEmpty) x.bytesSent = end - start;
    this.output.isConstant = isLocal && x.responseBody === null;
    return this.#send(body ?? x.response.bytes, isEmpty ? 0 : start, isEmpty ? 0 : end, isDone, x.responseTrailers);
  }

  sendBody(_source: Connection | null, bytes: Buffer): boolean {
    const x = this.exchange!;
    const { bodyStart, bodyEnd, bodyDone } = x.attempt;
    x.bytesSent += bodyEnd - bodyStart;
    return this.#send(bytes, bodyStart, bodyEnd, bodyDone, x.responseTrailers);
  }

  sendInterim(head: Head): void {
    this.#connection.writeHeaders(this.id, head, -1, false);
  }

  /** RFC 8441 section 5: 200 in place of 101, without Sec-WebSocket-Accept. */
  openTunnel(): void {
    const x = this.exchange!;
    const { response } = x;
    const accept = response.find(ACCEPT, 0, ACCEPT.length);
    if (accept >= 0) response.removeAt(accept);
    response.status = 200;
    this.#connection.writeHeaders(this.id, response, NONE, false);
    // Logs show the upgrade as with HTTP/1.
    response.status = 101;
    x.headSent = true;
    this.exchange = null;
    this.#closed = true;
    this.#connection.becameTunnel(this, this.#tunnel!, x);
  }

  /** A drain affects tunnels: requests end by themselves. */
  drain(): void {}

  /** Returns false if some of it is kept. */
  #send(bytes: Buffer, start: number, end: number, ends: boolean, trailers: Head | null): boolean {
    const { output } = this;
    if (output.hasSentEnd) return true;
    const isSent = output.send(bytes, start, end, ends, trailers);
    if (!isSent) this.#arm();
    else if (output.hasSentEnd) this.#ended();
    return isSent;
  }

  progressed(): void {
    this.deadline = 0;
    this.#arm();
  }

  drained(): void {
    this.#arm();
    if (this.output.hasSentEnd) this.#ended();
    else if (this.exchange !== null) this.#connection.requests.drained(this.exchange);
  }

  #ended(): void {
    if (this.exchange === null) this.#closeAfterEnd();
  }

  /** The exchange has ended; what of its response is pending is still sent. */
  finished(): void {
    this.exchange = null;
    if (this.#closed) return;
    this.input.release();
    if (this.output.hasSentEnd) this.#closeAfterEnd();
    else this.#arm();
  }

  /**
   * RFC 9113 section 8.1: a reset without error asks the client to stop sending a body that is not needed. A malformed
   * request is an error of the stream, after the response to it (section 8.1.1).
   */
  #closeAfterEnd(): void {
    if (this.#isMalformed) this.#close(CODE.protocolError);
    else this.#close(this.input.hasEnded ? -1 : CODE.noError);
  }

  /** Aborts the response, so that the client can detect that it is incomplete. */
  reset(): void {
    this.#close(this.#isMalformed ? CODE.protocolError : CODE.internalError);
  }

  /** Closes the stream, by a reset with `code`; -1: without one. */
  #close(code: number): void {
    if (this.#closed) return;
    this.#closed = true;
    this.output.close();
    this.input.close();
    this.#connection.streamClosed(this, code);
  }

  // ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Sets the deadline for what is awaited of the client: credit for a response, or more of the request's body. */
  #arm(): void {
    const x = this.exchange;
    const { timeouts } = this.#listener;
    if (this.output.unsent > 0) {
      if (this.deadline === 0 || !this.#awaitsCredit) this.deadline = this.#connection.clock.after(timeouts.write);
      this.#awaitsCredit = true;
      return;
    }
    this.#awaitsCredit = false;
    const awaitsBody = x !== null && !x.requestComplete && !this.input.isPaused;
    this.deadline = awaitsBody ? this.#connection.clock.after(timeouts.body) : 0;
  }

  expire(): void {
    this.#connection.connection.guard(() => this.#timedOut());
  }

  #timedOut(): void {
    const x = this.exchange;
    if (this.#awaitsCredit) {
      this.#close(CODE.cancel);
      if (x !== null)
        this.#connection.requests.gone(x, "the client did not allow the response to be sent within timeouts.write");
    } else if (x !== null && !x.requestComplete) {
      const problem = "the request body was not received within timeouts.body";
      if (x.headSent) this.#connection.requests.gone(x, problem);
      else this.refuse(ERROR.requestTimeout, problem);
    }
  }
}
