/** A client's HTTP/1 connection: heads in, bodies in, answers out, one exchange at a time; pipelined input waits. */

import { FLAG, FRAMING, type Head } from "../http/head.ts";
import { BodyReader } from "../http1/framing.ts";
import { scanRequest } from "../http1/scan.ts";
import { readPeer } from "../net/address.ts";
import { Carry } from "../net/pending-buffer.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import type { Entrant, Judgement } from "./admission.ts";
import { answerBound, frameAnswer, writeAnswer } from "./answer.ts";
import type { ConnectionChoice } from "./connection-choice.ts";
import type { ThreadContext } from "./context.ts";
import type { Downstream } from "./downstream.ts";
import { ERROR, refusalOf } from "./error.ts";
import { type Exchange, PHASE } from "./exchange.ts";
import { UNKNOWN } from "./forwarded.ts";
import { answerHeadBound, makeForwarded, writeInterimHead } from "./headers.ts";
import type { Pipeline } from "./pipeline.ts";
import type { ListenerState } from "./snapshot.ts";
import { type BodyFrame, Wire } from "./wire.ts";

/** A listening address of this thread, as its connections see it. `state` moves with each version. */
export type Port = {
  /** Null until the first version serves. */
  state: ListenerState | null;
  /** The listener was removed or the worker drains: each connection's next response is its last, and says so. */
  retired: boolean;
  /** Once retired: how long a connection may stay silent before it is closed, ms. */
  patience: number;
  readonly clients: Set<Client>;
  /** Called when a connection is gone. */
  readonly closed: (client: Client) => void;
};

/** `judged`: a plugin decides whether it is let in. What it sends meanwhile is kept, and not looked at. */
const STATE = { judged: 0, head: 1, body: 2, waiting: 3, lingering: 4, closed: 5 } as const;

/** Input kept while an answer, or a plugin, is awaited, so that a reset is seen; beyond it the client is not read. */
const MAX_KEPT = 64 * 1024;
/** After an answer to an incomplete request: so long, and so many bytes, are read and thrown away. */
const LINGER_MS = 2000;
const LINGER_BYTES = 1024 * 1024;
/** Requests on one connection, so that long-lived clients spread over threads anew. */
const MAX_REQUESTS = 100_000;

const LF = 10;

export class Client extends Wire implements Downstream, Entrant {
  readonly port: Port;
  readonly #pipeline: Pipeline;
  #state: number = STATE.judged;
  /** While a plugin is waited for that decides whether it is let in. */
  #judgement: Judgement | null = null;
  /** The cluster that its requests begin with. */
  #choice: ConnectionChoice | null = null;
  #exchange: Exchange | null = null;
  /** A partial head, or input that came before its turn. */
  readonly #carry = new Carry();
  #body: BodyReader | null = null;
  #requests = 0;
  /** The connection ends after the present answer. */
  #closing = false;
  #firstByteAt = 0;
  #lingered = 0;
  #peer = "";
  /** A Unix socket cannot be reset: its peer sees the end come too early. */
  #hasReset = false;
  #forwarded: Buffer = Buffer.alloc(0);
  readonly #frame: BodyFrame = { chunked: false, last: false, trailers: null };

  constructor(context: ThreadContext, pipeline: Pipeline, port: Port) {
    super(context);
    this.#pipeline = pipeline;
    this.port = port;
  }

  /** The socket is there: it is judged, at once unless a plugin must be waited for. */
  opened(): void {
    const { remoteAddress = "" } = this.socket;
    this.#hasReset = remoteAddress !== "";
    this.#peer = readPeer(remoteAddress) || UNKNOWN;
    this.#forwarded = makeForwarded(this.#peer);
    this.port.clients.add(this);
    this.#judgement = this.#pipeline.admission.ask(this.port.state!, this);
  }

  /** Its first head may take `timeouts.head` from now on. What came before is read now. */
  admitted(choice: ConnectionChoice | null): void {
    this.#judgement = null;
    this.#choice = choice;
    this.#armIdle(this.port.state!.plan.timeouts.head);
    if (this.#closing && this.#carry.length === 0) return this.#finishWriting();
    this.#next();
    // That it had ended its side was seen when it was too early to say what that cuts off.
    if (this.socket.readableEnded && (this.#state === STATE.head || this.#state === STATE.body)) this.ended();
  }

  denied(): void {
    this.#judgement = null;
    this.reset();
  }

  get peer(): string {
    return this.#peer;
  }

  get idle(): boolean {
    return this.#state === STATE.head && this.#carry.length === 0;
  }

  /**
   * `port.retired` is set: its next response says `Connection: close`. An idle one is closed only after a silence,
   * because its client may have sent the next request already.
   */
  retire(): void {
    if (!this.idle) return;
    const end = this.context.clock.after(this.port.patience);
    if (this.deadline === 0 || end < this.deadline) this.deadline = end;
  }

  /** Ends it at once; the peer sees it broken. */
  reset(): void {
    this.#state = STATE.closed;
    this.#leaveJudgement();
    // After a shutdown a reset is refused, and the handle would stay open.
    if (this.#hasReset && !this.socket.writableEnded) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  #leaveJudgement(): void {
    this.#judgement?.cancel();
    this.#judgement = null;
  }

  protected receive(bytes: Buffer, start: number, end: number): void {
    this.context.cells[this.port.state!.plan.cells + LISTENER_CELLS.bytesReceived]! += end - start;
    let at = start;
    while (at < end) {
      switch (this.#state) {
        case STATE.head:
          at = this.#head(bytes, at, end);
          break;
        case STATE.body:
          at = this.#readBody(bytes, at, end);
          break;
        case STATE.judged:
        case STATE.waiting:
          this.#carry.append(bytes, at, end);
          if (this.#carry.length >= MAX_KEPT) this.pause();
          return;
        case STATE.lingering:
          this.#lingered += end - at;
          // Read on, it would send on; destroyed, it would lose a response that it has not read.
          if (this.#lingered > LINGER_BYTES) this.pause();
          return;
        default:
          return;
      }
    }
  }

  /** Reads a request's head and begins its exchange. Returns the first byte not consumed. */
  #head(bytes: Buffer, start: number, end: number): number {
    if (this.#carry.length > 0) {
      this.#carry.append(bytes, start, end);
      const limit = this.port.state!.plan.limits.head;
      // A head is scanned again only when a line ended, so that single bytes cost no quadratic time.
      if (bytes.subarray(start, end).indexOf(LF) >= 0 || this.#carry.length > limit) this.#takeCarry();
      return end;
    }
    const listener = this.port.state!;
    const x = this.#pipeline.exchanges.take();
    const { limits, path } = listener.plan;
    const at = scanRequest(bytes, start, end, x.request, limits, path.form);
    if (at === 0) {
      this.#pipeline.exchanges.giveBack(x);
      if (this.#firstByteAt === 0) {
        this.#firstByteAt = performance.now();
        this.#arm(listener.plan.timeouts.head);
      }
      this.#carry.append(bytes, start, end);
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
    this.deadline = 0;
    x.clientAddress = this.#peer;
    x.clientForwarded = this.#forwarded;
    if (at < 0) {
      this.#state = STATE.waiting;
      this.#pipeline.requests.refuse(x, refusalOf(-at), x.request.problem);
      return end;
    }
    return this.#begin(x, bytes, at, end);
  }

  /** Scans what was carried, as input of its own. */
  #takeCarry(): void {
    const { bytes, start, end } = this.#carry;
    this.#carry.drop();
    for (let at = start; at < end; ) {
      if (this.#state === STATE.head) at = this.#head(bytes, at, end);
      else if (this.#state === STATE.body) at = this.#readBody(bytes, at, end);
      else {
        // Left where it is: copied for each request of a pipeline it would cost quadratic time.
        if (this.#state === STATE.waiting) this.#carry.put(bytes, at, end);
        return;
      }
    }
  }

  /** The head is there: reads what came of the body, and lets the exchange run. */
  #begin(x: Exchange, bytes: Buffer, start: number, end: number): number {
    const head = x.request;
    const limit = x.listener!.plan.limits.body;
    if ((head.flags & FLAG.keepAlive) === 0 || this.#requests >= MAX_REQUESTS) this.#closing = true;
    let at = start;
    if (head.framing === FRAMING.none) {
      x.requestComplete = true;
      this.#state = STATE.waiting;
    } else if (limit > 0 && head.framing === FRAMING.length && head.length > limit) {
      this.#state = STATE.waiting;
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
      this.#state = STATE.waiting;
      this.stream(false);
    } else {
      this.#state = STATE.body;
      this.stream(true);
    }
    this.#armForExchange(x);
  }

  /** Answers a malformed or oversized body; true when it did. */
  #bodyRefused(x: Exchange, body: BodyReader): boolean {
    const limit = x.listener!.plan.limits.body;
    const tooLarge = limit > 0 && body.received > limit;
    if (body.problem === "" && !tooLarge) return false;
    this.#state = STATE.waiting;
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
      // Chunk framing is written around the data in place: what follows the body is saved first.
      this.#carry.append(bytes, at, end);
      at = end;
    }
    this.#bodyRead(x, body);
    // Once its body is complete the client is read on, so that its leaving is seen.
    if (!this.#pipeline.requests.body(x, this, bytes, dataStart, dataEnd) && this.#state === STATE.body) {
      this.pause();
      this.#armForExchange(x);
    }
    return at;
  }

  /** The answer's head, and the body bytes that came with it. False: the source waits for `RequestEvents.drained`. */
  sendHeaders(x: Exchange): boolean {
    const frame = frameAnswer(x);
    if (frame.untilClose || !x.requestComplete || this.port.retired) this.#closing = true;
    frame.close = this.#closing;
    frame.date = this.context.clock.date();
    this.#frame.chunked = frame.chunked;
    this.#frame.last = x.attempt.bodyDone;
    this.#frame.trailers = x.responseTrailers;
    const out = this.context.buffers.outFor(answerBound(x));
    const size = writeAnswer(out, x, frame, this.#frame);
    x.headSent = true;
    return this.#sent(this.send(out, size), size);
  }

  /** More of the answer's body. False: the source pauses until `RequestEvents.drained`. */
  sendBody(source: Wire | null, bytes: Buffer, x: Exchange): boolean {
    const frame = this.#frame;
    frame.last = x.attempt.bodyDone;
    frame.trailers = x.responseTrailers;
    const size = x.attempt.bodyEnd - x.attempt.bodyStart;
    x.bytesSent += size;
    return this.#sent(this.relay(source ?? this, bytes, x.attempt.bodyStart, x.attempt.bodyEnd, frame), size);
  }

  /** A 1xx answer, for clients that know it. */
  sendInterim(head: Head): void {
    const out = this.context.buffers.outFor(answerHeadBound(head));
    const size = writeInterimHead(out, head);
    this.#sent(this.send(out, size), size);
  }

  #sent(more: boolean, size: number): boolean {
    const { plan } = this.#exchange!.listener!;
    this.context.cells[plan.cells + LISTENER_CELLS.bytesSent]! += size;
    if (this.unsent > 0) this.#arm(plan.timeouts.write);
    else if (this.#state !== STATE.body) this.deadline = 0;
    return more;
  }

  /** The exchange is over; the next head may come. */
  finished(x: Exchange): void {
    this.#exchange = null;
    if (this.#state === STATE.closed) return;
    if (this.#closing || !x.requestComplete) {
      this.#finishWriting();
      return;
    }
    const { timeouts } = x.listener!.plan;
    if (this.socket.writableNeedDrain) {
      // A client that sends on and reads nothing must not have its answers pile up here: its next request waits.
      this.#state = STATE.waiting;
      this.#arm(timeouts.write);
    } else {
      this.#armIdle(timeouts.idle);
      this.#next();
    }
  }

  /** Takes the next request, from what was carried first. */
  #next(): void {
    this.#state = STATE.head;
    this.resume();
    if (this.#carry.length > 0) this.#takeCarry();
    if (this.#state === STATE.waiting && this.#carry.length >= MAX_KEPT) this.pause();
  }

  /** Ends our direction, then reads and discards for a while, so that the peer sees the answer and not a reset. */
  #finishWriting(): void {
    this.#state = STATE.lingering;
    this.#carry.drop();
    this.stream(false);
    this.resume();
    // What is still to be written may take its time; the peer's end is then awaited for a little.
    this.#arm(this.port.state?.plan.timeouts.write ?? LINGER_MS);
    this.socket.end(() => {
      if (this.#state === STATE.lingering) this.#arm(LINGER_MS);
    });
  }

  protected ended(): void {
    switch (this.#state) {
      case STATE.judged:
        this.#closing = true;
        // What it has sent may be a whole request, of which the answer is waited for.
        if (!this.port.state!.plan.halfClose || this.#carry.length === 0) this.reset();
        return;
      case STATE.body:
        this.#pipeline.requests.gone(this.#exchange!, "the client ended its side before the request was complete");
        return;
      case STATE.waiting: {
        const x = this.#exchange;
        this.#closing = true;
        if (x === null) this.#finishWriting();
        else if (!x.listener!.plan.halfClose)
          // While the endpoint is silent nothing is written that would show whether the client still reads.
          this.#pipeline.requests.gone(x, "the client ended its side before the response was complete");
        return;
      }
      case STATE.lingering:
        this.socket.destroySoon();
        return;
      default:
        this.#state = STATE.closed;
        this.socket.end();
        this.socket.destroySoon();
    }
  }

  protected closed(error: Error | null): void {
    this.#state = STATE.closed;
    this.#leaveJudgement();
    this.port.clients.delete(this);
    const x = this.#exchange;
    try {
      if (x !== null && x.phase !== PHASE.done)
        this.#pipeline.requests.gone(x, error?.message ?? "the connection closed");
    } finally {
      this.port.closed(this);
    }
  }

  protected drained(): void {
    const x = this.#exchange;
    if (x !== null) {
      this.#armForExchange(x);
      this.#pipeline.requests.drained(x);
    } else if (this.#state === STATE.waiting) {
      if (this.#closing) return this.#finishWriting();
      this.#armIdle(this.port.state!.plan.timeouts.idle);
      this.#next();
    }
  }

  /** The endpoint can take more of the request's body. */
  resumeBody(): void {
    if (this.#state !== STATE.body) return;
    this.resume();
    this.#armForExchange(this.#exchange!);
  }

  protected broken(error: unknown): void {
    this.#closing = true;
    this.#pipeline.internal(this.#exchange, error);
    if (this.#state !== STATE.lingering) this.socket.destroy();
  }

  protected timedOut(): void {
    const x = this.#exchange;
    if (x !== null) this.#exchangeTimedOut(x);
    else if (this.#state === STATE.waiting) this.reset();
    else if (this.#state !== STATE.head) this.socket.destroy();
    else if (this.#carry.length > 0) this.#refuseLateHead();
    else this.#finishWriting();
  }

  #exchangeTimedOut(x: Exchange): void {
    if (this.unsent > 0) this.#pipeline.requests.gone(x, "the client did not take the answer in time");
    // The client has taken what was written: that is told only where the writer had to wait.
    else if (this.#state !== STATE.body || this.paused) return;
    else if (x.headSent) this.#pipeline.requests.gone(x, "the body did not come in time");
    else {
      this.#state = STATE.waiting;
      this.#pipeline.requests.refuse(x, ERROR.requestTimeout, "the body did not come in time");
    }
  }

  #refuseLateHead(): void {
    const x = this.#pipeline.exchanges.take();
    x.client = this;
    x.listener = this.port.state!;
    x.startedAt = this.#firstByteAt;
    x.clientAddress = this.#peer;
    x.request.reset();
    this.#exchange = x;
    this.#state = STATE.waiting;
    this.#pipeline.requests.refuse(x, ERROR.requestTimeout, "the head was not finished in time");
  }

  /** What this connection is waited for has its time; for an answer that is to come the endpoint's connection has. */
  #armForExchange(x: Exchange): void {
    const { timeouts } = x.listener!.plan;
    if (this.unsent > 0) this.#arm(timeouts.write);
    else if (this.#state === STATE.body && !this.paused) this.#arm(timeouts.body);
    else this.deadline = 0;
  }

  /** For the next request to begin. */
  #armIdle(ms: number): void {
    const { retired, patience } = this.port;
    this.#arm(retired && (ms === 0 || ms > patience) ? patience : ms);
  }

  #arm(ms: number): void {
    this.deadline = this.context.clock.after(ms);
  }
}
