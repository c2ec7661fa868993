/** A client's HTTP/1 connection: one exchange at a time; pipelined requests are buffered until their turn. */

// The global is a getter, which costs as much again in the code of every request.
import { performance } from "node:perf_hooks";
import { FLAG, FRAMING, type Head } from "../../http/head.ts";
import { type Scheme, VERSION } from "../../http/protocol.ts";
import type { BodyFrame } from "../../http1/body-frame.ts";
import { BodyReader } from "../../http1/framing.ts";
import { scanRequest } from "../../http1/scan.ts";
import type { Connection } from "../../net/connection.ts";
import { PendingBuffer } from "../../net/pending-buffer.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import type { ConnectionChoice } from "../../proxy/connection-choice.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Downstream } from "../../proxy/downstream.ts";
import { ERROR, refusalOf } from "../../proxy/error.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { makeForwarded, UNKNOWN } from "../../proxy/forwarded.ts";
import { PHASE } from "../../proxy/phase.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { Accepted, AcceptedConnection, Port, ServerHandler } from "../../proxy/port.ts";
import { responseHeadBound, writeInterimHead, writeUpgradeHead } from "./headers.ts";
import { frameResponse, responseBound, writeResponse } from "./response-framing.ts";
import { sendBody } from "./send-body.ts";

const STATE = { head: 0, body: 1, responding: 2, lingering: 3, closed: 4 } as const;

/** Input that is buffered while a response is awaited, so that a reset is detected; with more, the client is not read. */
const MAX_PENDING = 64 * 1024;
/** After a response to an incomplete request, input is read and discarded for this time, up to this size. */
const LINGER_MS = 2000;
const LINGER_BYTES = 1024 * 1024;
/** Requests on one connection; then it is closed, so that long-lived clients are distributed over the workers again. */
const MAX_REQUESTS = 100_000;

const LF = 10;

export class ServerConnection implements Downstream, ServerHandler {
  readonly connection: AcceptedConnection;
  readonly #context: WorkerContext;
  readonly #port: Port;
  readonly #pipeline: Pipeline;
  #state: number = STATE.head;
  /** The cluster that its requests begin with. */
  readonly #choice: ConnectionChoice | null;
  #exchange: Exchange | null = null;
  /** A partial head, or pipelined input. */
  readonly #pending = new PendingBuffer();
  #body: BodyReader | null = null;
  #requests = 0;
  /** The connection is closed after the current response. */
  #closing = false;
  #firstByteAt = 0;
  #lingered = 0;
  readonly peer: string;
  readonly forwarded: Buffer;
  readonly #frame: BodyFrame = { chunked: false, last: false, trailers: null };

  /** `timeouts.head` for the first request begins now. */
  constructor(context: WorkerContext, pipeline: Pipeline, accepted: Accepted) {
    const { connection, port, choice } = accepted;
    this.connection = connection;
    this.#context = context;
    this.#pipeline = pipeline;
    this.#port = port;
    this.#choice = choice;
    this.peer = connection.peerAddress || UNKNOWN;
    this.forwarded = makeForwarded(this.peer, this.scheme, VERSION.http11);
    this.#armIdle(port.state!.plan.timeouts.head);
  }

  get scheme(): Scheme {
    return this.connection.tls === null ? "http" : "https";
  }

  get tls(): TlsFacts | null {
    return this.connection.tls;
  }

  get alive(): boolean {
    return this.connection.alive;
  }

  get #isIdle(): boolean {
    return this.#state === STATE.head && this.#pending.length === 0;
  }

  /** An idle connection is closed only after `Port.drainIdle`, because its next request may already be on its way. */
  drain(): void {
    if (!this.#isIdle) return;
    const { connection } = this;
    const end = this.#context.clock.after(this.#port.drainIdle);
    if (connection.deadline === 0 || end < connection.deadline) connection.deadline = end;
  }

  reset(): void {
    this.#state = STATE.closed;
    this.connection.reset();
  }

  receive(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      switch (this.#state) {
        case STATE.head:
          at = this.#head(bytes, at, end);
          break;
        case STATE.body:
          at = this.#readBody(bytes, at, end);
          break;
        case STATE.responding:
          this.#pending.append(bytes, at, end);
          if (this.#pending.length >= MAX_PENDING) this.connection.pause();
          return;
        case STATE.lingering:
          this.#lingered += end - at;
          // If read further, the client would continue to send; if destroyed, it would lose the unread response.
          if (this.#lingered > LINGER_BYTES) this.connection.pause();
          return;
        default:
          return;
      }
    }
  }

  /** Reads a request's head and begins its exchange. Returns the first byte not consumed. */
  #head(bytes: Buffer, start: number, end: number): number {
    if (this.#pending.length > 0) {
      this.#pending.append(bytes, start, end);
      const limit = this.#port.state!.plan.limits.head;
      // Scanned again only after the end of a line, so that single bytes do not cost quadratic time.
      if (bytes.subarray(start, end).indexOf(LF) >= 0 || this.#pending.length > limit) this.#scanPending();
      return end;
    }
    const listener = this.#port.state!;
    const x = this.#pipeline.exchanges.take();
    const { limits, path } = listener.plan;
    const at = scanRequest(bytes, start, end, x.request, limits, path.form);
    if (at === 0) {
      this.#pipeline.exchanges.giveBack(x);
      if (this.#firstByteAt === 0) {
        this.#firstByteAt = performance.now();
        this.connection.arm(listener.plan.timeouts.head);
      }
      this.#pending.append(bytes, start, end);
      return end;
    }
    this.#exchange = x;
    x.client = this;
    x.listener = listener;
    if (this.#choice !== null) this.#choice.apply(x);
    x.headAt = performance.now();
    x.startedAt = this.#firstByteAt === 0 ? x.headAt : this.#firstByteAt;
    this.#firstByteAt = 0;
    this.#requests++;
    this.connection.deadline = 0;
    x.clientAddress = this.peer;
    if (at < 0) {
      this.#state = STATE.responding;
      this.#pipeline.requests.refuse(x, refusalOf(-at), x.request.problem);
      return end;
    }
    return this.#begin(x, bytes, at, end);
  }

  /** Scans the pending input. */
  #scanPending(): void {
    const { bytes, start, end } = this.#pending;
    this.#pending.drop();
    for (let at = start; at < end; ) {
      if (this.#state === STATE.head) at = this.#head(bytes, at, end);
      else if (this.#state === STATE.body) at = this.#readBody(bytes, at, end);
      else {
        // Not copied: a copy for each pipelined request would cost quadratic time.
        if (this.#state === STATE.responding) this.#pending.put(bytes, at, end);
        return;
      }
    }
  }

  /** The head is complete: reads the received part of the body, and begins the exchange. */
  #begin(x: Exchange, bytes: Buffer, start: number, end: number): number {
    const head = x.request;
    const limit = x.listener!.plan.limits.body;
    if ((head.flags & FLAG.keepAlive) === 0 || this.#requests >= MAX_REQUESTS) this.#closing = true;
    let at = start;
    if (head.framing === FRAMING.none) {
      x.requestComplete = true;
      this.#state = STATE.responding;
    } else if (limit > 0 && head.framing === FRAMING.length && head.length > limit) {
      this.#state = STATE.responding;
      this.#pipeline.requests.refuse(
        x,
        ERROR.bodyTooLarge,
        `a body of ${head.length} bytes is over the limit of ${limit}`,
      );
      return end;
    } else {
      const body = (this.#body ??= new BodyReader());
      body.begin(head.framing, head.length, false);
      at = body.read(bytes, at, end);
      if (this.#bodyRefused(x, body)) return end;
      if (body.dataEnd > body.dataStart) x.keep(bytes, body.dataStart, body.dataEnd);
      x.bytesReceived = body.received;
      this.#bodyRead(x, body);
    }
    this.#pipeline.requests.begin(x);
    return at;
  }

  #bodyRead(x: Exchange, body: BodyReader): void {
    if (body.done) {
      x.requestComplete = true;
      x.takeTrailers(body.trailers);
      this.#state = STATE.responding;
      this.connection.stream(false);
    } else {
      this.#state = STATE.body;
      this.connection.stream(true);
    }
    this.#armForExchange(x);
  }

  /** Rejects a malformed or oversized body; true if it did. */
  #bodyRefused(x: Exchange, body: BodyReader): boolean {
    const limit = x.listener!.plan.limits.body;
    const tooLarge = limit > 0 && body.received > limit;
    if (body.problem === "" && !tooLarge) return false;
    this.#state = STATE.responding;
    if (tooLarge) this.#pipeline.requests.refuse(x, ERROR.bodyTooLarge, `the body is over the limit of ${limit} bytes`);
    else this.#pipeline.requests.refuse(x, ERROR.malformed, body.problem);
    return true;
  }

  #readBody(bytes: Buffer, start: number, end: number): number {
    const x = this.#exchange!;
    const body = this.#body!;
    let at = body.read(bytes, start, end);
    if (this.#bodyRefused(x, body)) return end;
    x.bytesReceived = body.received;
    const { dataStart, dataEnd } = body;
    if (body.done && at < end) {
      // Chunk framing is written around the data in place: what follows the body is copied first.
      this.#pending.append(bytes, at, end);
      at = end;
    }
    this.#bodyRead(x, body);
    // Reading continues after the body, so that a closed connection is detected.
    if (!this.#pipeline.requests.body(x, this.connection, bytes, dataStart, dataEnd) && this.#state === STATE.body) {
      this.connection.pause();
      this.#armForExchange(x);
    }
    return at;
  }

  /** Sends the response head with the body bytes received so far. False: the source pauses until `RequestEvents.drained`. */
  sendHeaders(): boolean {
    const x = this.#exchange!;
    const frame = frameResponse(x);
    if (frame.untilClose || !x.requestComplete || this.#port.draining) this.#closing = true;
    frame.close = this.#closing;
    frame.date = this.#context.clock.date();
    this.#frame.chunked = frame.chunked;
    this.#frame.last = x.attempt.bodyDone;
    this.#frame.trailers = x.responseTrailers;
    const out = this.#context.buffers.outFor(responseBound(x));
    const size = writeResponse(out, x, frame, this.#frame);
    x.headSent = true;
    return this.#sent(this.connection.send(out, size));
  }

  /** Sends more of the response body. False: the source pauses until `RequestEvents.drained`. */
  sendBody(source: Connection | null, bytes: Buffer): boolean {
    const x = this.#exchange!;
    const frame = this.#frame;
    frame.last = x.attempt.bodyDone;
    frame.trailers = x.responseTrailers;
    const { bodyStart, bodyEnd } = x.attempt;
    x.bytesSent += bodyEnd - bodyStart;
    const { buffers } = this.#context;
    return this.#sent(sendBody(this.connection, buffers, source, bytes, bodyStart, bodyEnd, frame));
  }

  sendInterim(head: Head): void {
    const out = this.#context.buffers.outFor(responseHeadBound(head));
    this.#sent(this.connection.send(out, writeInterimHead(out, head)));
  }

  openTunnel(): void {
    const x = this.#exchange!;
    const out = this.#context.buffers.outFor(responseHeadBound(x.response));
    this.connection.send(out, writeUpgradeHead(out, x.response, x.upgrade!));
    x.headSent = true;
    this.#state = STATE.closed;
    this.#exchange = null;
    this.#pipeline.tunnels.open(x, this.connection, this.#port, this.#pending);
  }

  #sent(more: boolean): boolean {
    const { plan } = this.#exchange!.listener!;
    if (this.connection.unsent > 0) this.connection.arm(plan.timeouts.write);
    else if (this.#state !== STATE.body) this.connection.deadline = 0;
    return more;
  }

  /** The exchange has ended; the next request follows. */
  finished(): void {
    const x = this.#exchange;
    this.#exchange = null;
    if (x === null || this.#state === STATE.closed) return;
    if (this.#closing || !x.requestComplete) {
      this.#finishWriting();
      return;
    }
    const { timeouts } = x.listener!.plan;
    if (this.connection.isBackedUp) {
      // Responses to a client that does not read must not accumulate: its next request waits.
      this.#state = STATE.responding;
      this.connection.arm(timeouts.write);
    } else {
      this.#armIdle(timeouts.idle);
      this.#next();
    }
  }

  /** Begins the next request, with pending input first. */
  #next(): void {
    this.#state = STATE.head;
    this.connection.resume();
    if (this.#pending.length > 0) this.#scanPending();
    if (this.#state === STATE.responding && this.#pending.length >= MAX_PENDING) this.connection.pause();
  }

  /** Ends the write direction, then reads and discards for a time, so that the peer gets the response and not a reset. */
  #finishWriting(): void {
    this.#state = STATE.lingering;
    this.#pending.drop();
    this.connection.stream(false);
    this.connection.resume();
    // Limits writing what is left; after it the peer's end is awaited for LINGER_MS.
    this.connection.arm(this.#port.state?.plan.timeouts.write ?? LINGER_MS);
    this.connection.end(() => {
      if (this.#state === STATE.lingering) this.connection.arm(LINGER_MS);
    });
  }

  ended(): void {
    switch (this.#state) {
      case STATE.body:
        this.#pipeline.requests.gone(this.#exchange!, "the client ended its side before the request was complete");
        return;
      case STATE.responding: {
        const x = this.#exchange;
        this.#closing = true;
        if (x === null) this.#finishWriting();
        else if (!x.listener!.plan.halfClose)
          // Without a response to write, no failing write would report that the client has gone.
          this.#pipeline.requests.gone(x, "the client ended its side before the response was complete");
        return;
      }
      case STATE.lingering:
        this.connection.endBoth();
        return;
      default:
        this.#state = STATE.closed;
        this.connection.endBoth();
    }
  }

  closed(error: Error | null): void {
    this.#state = STATE.closed;
    const x = this.#exchange;
    if (x !== null && x.phase !== PHASE.done)
      this.#pipeline.requests.gone(x, error?.message ?? "the connection closed");
  }

  flushed(): void {
    const x = this.#exchange;
    if (x !== null) {
      this.#armForExchange(x);
      this.#pipeline.requests.drained(x);
    } else if (this.#state === STATE.responding) {
      if (this.#closing) return this.#finishWriting();
      this.#armIdle(this.#port.state!.plan.timeouts.idle);
      this.#next();
    }
  }

  resumeBody(): void {
    if (this.#state !== STATE.body || !this.connection.paused) return;
    this.connection.resume();
    this.#armForExchange(this.#exchange!);
  }

  broken(error: unknown): void {
    this.#closing = true;
    this.#pipeline.internal(this.#exchange, error);
    if (this.#state !== STATE.lingering) this.connection.destroy();
  }

  timedOut(): void {
    const x = this.#exchange;
    if (x !== null) this.#exchangeTimedOut(x);
    else if (this.#state === STATE.responding) this.reset();
    else if (this.#state !== STATE.head) this.connection.destroy();
    else if (this.#pending.length > 0) this.#refuseLateHead();
    else this.#finishWriting();
  }

  #exchangeTimedOut(x: Exchange): void {
    if (this.connection.unsent > 0)
      this.#pipeline.requests.gone(x, "the client did not read the response within timeouts.write");
    // The deadline of a body that is no longer awaited.
    else if (this.#state !== STATE.body || this.connection.paused) return;
    else if (x.headSent) this.#pipeline.requests.gone(x, "the request body was not received within timeouts.body");
    else {
      this.#state = STATE.responding;
      this.#pipeline.requests.refuse(x, ERROR.requestTimeout, "the request body was not received within timeouts.body");
    }
  }

  #refuseLateHead(): void {
    const x = this.#pipeline.exchanges.take();
    x.client = this;
    x.listener = this.#port.state!;
    x.startedAt = this.#firstByteAt;
    x.clientAddress = this.peer;
    x.request.reset();
    this.#exchange = x;
    this.#state = STATE.responding;
    this.#pipeline.requests.refuse(x, ERROR.requestTimeout, "the request head was not complete within timeouts.head");
  }

  /** Sets the deadline for what is awaited of this client; for a response the endpoint's connection has one. */
  #armForExchange(x: Exchange): void {
    const { timeouts } = x.listener!.plan;
    if (this.connection.unsent > 0) this.connection.arm(timeouts.write);
    else if (this.#state === STATE.body && !this.connection.paused) this.connection.arm(timeouts.body);
    else this.connection.deadline = 0;
  }

  /** Sets the deadline for the beginning of the next request. */
  #armIdle(ms: number): void {
    this.connection.arm(this.#port.idleLimit(ms));
  }
}
