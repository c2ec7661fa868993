/** A stream of an HTTP/2 connection to an endpoint: one attempt, its request and its response. */

import { FIELD_WORDS, FLAG, FRAMING, type Head, NAME } from "../../http/head.ts";
import { DEFAULT_URGENCY } from "../../http/priority.ts";
import { isWebSocket, type UpgradeProtocol } from "../../http/upgrade.ts";
import { acceptOf, findKey } from "../../http/websocket.ts";
import { CODE, DEFAULT_WINDOW, MAX_WINDOW } from "../../http2/frames.ts";
import { findFieldProblem } from "../../http2/request-head.ts";
import { readResponse } from "../../http2/response-head.ts";
import { type Bandwidth, RECEIVED, SENT } from "../../net/bandwidth.ts";
import type { Timed } from "../../net/clock.ts";
import type { Connection } from "../../net/connection.ts";
import { PendingBuffer } from "../../net/pending-buffer.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";
import { REPLAY_LIMIT } from "../../proxy/exchange.ts";
import type { Connector, UpstreamEvents, UpstreamStream } from "../../proxy/upstream-stream.ts";
import type { UpstreamTarget } from "../http1/client-connection.ts";
import { ClientTunnel, type TunnelSession } from "./client-tunnel.ts";
import { ReceiveWindow } from "./receive-window.ts";
import type { SendingStream } from "./send-scheduler.ts";

const NOTHING = Buffer.alloc(0);
const COLON = 0x3a;
const ACCEPT = Buffer.from("sec-websocket-accept");

/** `waiting`: for a connection. `head`, `body`: of the response, until its end was received or the stream was reset. */
const STATE = { waiting: 0, head: 1, body: 2, closed: 3 } as const;

/** `http1`: opens streams where the endpoint does not select HTTP/2. */
export type Http2Target = UpstreamTarget & { readonly http1: Connector };

/** What a stream uses of its connection. */
export interface StreamSession extends TunnelSession {
  writeRequest(stream: ClientStream, attempt: Attempt, ends: boolean): void;
  writeTrailers(stream: ClientStream, trailers: Head): void;
  /** Calls `flushHead` when the read callback ends. */
  delayHead(stream: ClientStream): void;
}

/** The streams without a connection. */
export interface StreamQueue {
  remove(stream: ClientStream): void;
  /** Why a stream has waited too long. */
  readonly waitError: ProxyError;
}

export class ClientStream implements UpstreamStream, SendingStream, Timed {
  deadline = 0;
  sweepIndex = -1;
  id = 0;
  /** Bytes that may be sent to the endpoint; negative after it has reduced its initial window. */
  window = 0;
  readonly priority = DEFAULT_URGENCY;
  readonly target: Http2Target;
  readonly receiveWindow = new ReceiveWindow(DEFAULT_WINDOW);
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  readonly #queue: StreamQueue;
  /** Null once it has ended. */
  #attempt: Attempt | null;
  #session: StreamSession | null = null;
  #state: number = STATE.waiting;
  /** Request body bytes that exceed the windows, and whether the request was sent to its end. */
  readonly #unsent = new PendingBuffer();
  #requestEnded = false;
  /** The deadline limits the time until the endpoint takes more of the request. */
  #stalled = false;
  /** Bytes of interim responses. */
  #interimBytes = 0;
  /** The final response head was received, but not reported. */
  #headDelayed = false;
  /** Length of the response body by its Content-Length, -1: unknown; and bytes received of it. */
  #expected = -1;
  #received = 0;
  /** Its consumer is slow: what is received meanwhile, at most a window, is kept. */
  #paused = false;
  #delivers = false;
  readonly #kept = new PendingBuffer();
  #keptEnd = false;
  /** Bytes whose credit is withheld. */
  #uncredited = 0;
  /**
   * The limit of the route; null: unlimited. While a direction pauses, it gives no credit, or takes no more of the
   * request.
   */
  #bandwidth: Bandwidth | null = null;
  #creditPause: NodeJS.Timeout | null = null;
  #sendPause: NodeJS.Timeout | null = null;

  constructor(
    context: WorkerContext,
    events: UpstreamEvents,
    { target, queue }: { readonly target: Http2Target; readonly queue: StreamQueue },
    attempt: Attempt,
  ) {
    this.#context = context;
    this.#events = events;
    this.target = target;
    this.#queue = queue;
    this.#attempt = attempt;
    attempt.stream = this;
    context.clock.add(this);
  }

  get attempt(): Attempt | null {
    return this.#attempt;
  }

  // ── The request ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** It is queued: limits the time until it has a connection. */
  wait(): void {
    this.#arm(this.target.plan.timeouts.connect);
  }

  /** Leaves the queue; the attempt continues without this stream. */
  release(): Attempt {
    const attempt = this.#attempt!;
    this.#attempt = null;
    this.#close(-1);
    return attempt;
  }

  /** Sends the request's head and what is kept of its body. */
  begin(session: StreamSession, id: number, window: number): void {
    const attempt = this.#attempt!;
    const { exchange: x } = attempt;
    this.#session = session;
    this.#bandwidth = x.route!.bandwidth;
    this.id = id;
    this.window = window;
    this.#state = STATE.head;
    const isUpgrade = x.upgrade !== null;
    const ends = !isUpgrade && x.requestPassed && x.replayLength === 0 && x.requestTrailers === null;
    session.writeRequest(this, attempt, ends);
    attempt.sent = true;
    attempt.complete = x.requestPassed;
    this.#requestEnded = ends;
    const more = ends || isUpgrade || this.#send(attempt, x.replay ?? NOTHING, 0, x.replayLength);
    if (this.#bandwidth !== null) this.#pauseSending(this.#bandwidth.debit(SENT, x.replayLength));
    if (x.replayLength > REPLAY_LIMIT) x.forgetBody();
    this.#armForResponse(attempt);
    if (more && this.#sendPause === null) this.#events.writable(attempt);
  }

  sendBody(_source: Connection | null, bytes: Buffer, start: number, end: number): boolean {
    const attempt = this.#attempt!;
    const { exchange: x } = attempt;
    x.keepSent(bytes, start, end);
    attempt.complete = x.requestPassed;
    // The end of the response was received, and waits for its consumer.
    if (this.#state === STATE.closed) return true;
    const more = this.#send(attempt, bytes, start, end);
    if (this.#state === STATE.head) this.#armForResponse(attempt);
    if (this.#bandwidth !== null) this.#pauseSending(this.#bandwidth.debit(SENT, end - start));
    return more && this.#sendPause === null;
  }

  #pauseSending(ms: number): void {
    if (ms === 0 || this.#requestEnded) return;
    if (this.#sendPause !== null) clearTimeout(this.#sendPause);
    this.#sendPause = setTimeout(() => {
      this.#sendPause = null;
      if (this.#attempt !== null && this.#unsent.length === 0) this.#events.writable(this.#attempt);
    }, ms);
  }

  /** Sends what the windows allow, and keeps the rest. Returns false if there is a rest. */
  #send(attempt: Attempt, bytes: Buffer, start: number, end: number): boolean {
    const unsent = this.#unsent;
    if (unsent.length > 0) {
      unsent.append(bytes, start, end);
      return false;
    }
    const sent = this.#sendNow(attempt, bytes, start, end);
    if (sent === end) return true;
    unsent.append(bytes, sent, end);
    if (this.window > 0) this.#session!.scheduler.wait(this);
    return false;
  }

  /** Sends what the windows allow, and the end of the request with the last of it. Returns the offset of the rest. */
  #sendNow({ exchange: x }: Attempt, bytes: Buffer, start: number, end: number): number {
    const session = this.#session!;
    const trailers = x.requestPassed ? x.requestTrailers : null;
    const ends = x.requestPassed && trailers === null;
    const sent = start + session.scheduler.send(this, bytes, start, end, ends);
    if (sent < end || !x.requestPassed) return sent;
    if (trailers !== null) session.writeTrailers(this, trailers);
    this.#requestEnded = true;
    return sent;
  }

  sendMore(): void {
    const attempt = this.#attempt;
    const unsent = this.#unsent;
    if (attempt === null || this.#state === STATE.closed || unsent.length === 0) return;
    const before = unsent.start;
    unsent.start = this.#sendNow(attempt, unsent.bytes, unsent.start, unsent.end);
    if (unsent.length > 0) {
      if (this.window > 0) this.#session!.scheduler.wait(this);
      // Without progress the deadline stays.
      if (unsent.start > before && this.#state === STATE.head) this.#armForResponse(attempt);
      return;
    }
    unsent.drop();
    if (this.#state === STATE.head) this.#armForResponse(attempt);
    if (!this.#requestEnded && this.#sendPause === null) this.#events.writable(attempt);
  }

  /** Changes the window for sending; false if it exceeds the largest window. */
  openWindow(change: number): boolean {
    this.window += change;
    if (this.window > MAX_WINDOW) return false;
    if (this.window > 0 && this.#unsent.length > 0) this.sendMore();
    return true;
  }

  // ── The response ────────────────────────────────────────────────────────────────────────────────────────────────

  /** The head that the next header block is decoded into; null: it is a trailer section. */
  get nextHead(): Head | null {
    return this.#state === STATE.head ? this.#attempt!.head : null;
  }

  /** `nextHead` was decoded. */
  receiveHead(isTooLarge: boolean, ends: boolean): void {
    const attempt = this.#attempt!;
    const { head } = attempt;
    const { limits } = this.target.plan;
    if (isTooLarge) return this.#fault(`a head over ${limits.head} bytes or ${limits.headers} fields`);
    const problem = readResponse(head, attempt.isHead, ends);
    if (problem !== "") {
      head.status = 0;
      return this.#fault(problem);
    }
    if (head.status < 200) {
      // The response timeout limits their time.
      this.#interimBytes += head.received;
      if (this.#interimBytes > limits.head) return this.#fault(`interim responses over ${limits.head} bytes`);
      return this.#events.interim(attempt);
    }
    if (attempt.exchange.upgrade !== null && head.status < 300)
      return this.#becomeTunnel(attempt, attempt.exchange.upgrade, ends);
    this.#state = STATE.body;
    this.#expected = head.framing === FRAMING.length ? head.length : head.framing === FRAMING.none ? 0 : -1;
    this.#headDelayed = true;
    if (ends) this.#take(NOTHING, 0, 0, true);
    else this.#session!.delayHead(this);
  }

  /** The endpoint has accepted an extended CONNECT: for the pipeline, as by the 101 of HTTP/1. */
  #becomeTunnel(attempt: Attempt, upgrade: UpgradeProtocol, ends: boolean): void {
    const { head } = attempt;
    const { request } = attempt.exchange;
    head.status = 101;
    head.framing = FRAMING.none;
    for (let at = head.find(ACCEPT, 0, ACCEPT.length); at >= 0; at = head.find(ACCEPT, 0, ACCEPT.length))
      head.removeAt(at);
    // Over HTTP/2 there is neither key nor proof (RFC 8441 section 5): what a client of HTTP/1 needs is made here.
    if (isWebSocket(upgrade) && (request.flags & FLAG.connect) === 0)
      head.add(ACCEPT, Buffer.from(acceptOf(findKey(request))), NAME.other);
    const tunnel = new ClientTunnel(this.#context, this.#events, this.#session!, this, attempt);
    this.#attempt = null;
    this.#state = STATE.closed;
    this.deadline = 0;
    this.#context.clock.remove(this);
    attempt.stream = tunnel;
    attempt.upgraded = tunnel.connection;
    attempt.body = NOTHING;
    attempt.bodyStart = attempt.bodyEnd = 0;
    if (ends) tunnel.receive(NOTHING, 0, 0, true);
    this.#events.responded(attempt);
  }

  /** A header block after the response's head, `trailers`, was decoded. */
  receiveTrailers(trailers: Head, isTooLarge: boolean, ends: boolean): void {
    const { limits } = this.target.plan;
    if (isTooLarge) return this.#fault(`trailers over ${limits.head} bytes or ${limits.headers} fields`);
    if (!ends) return this.#fault("trailers that do not end the stream");
    for (let i = 0; i < trailers.count; i++) {
      const isPseudo = trailers.bytes[trailers.fields[i * FIELD_WORDS]!] === COLON;
      const problem = isPseudo ? "a pseudo-header field in trailers" : findFieldProblem(trailers, i);
      if (problem !== "") return this.#fault(problem);
    }
    this.#attempt!.trailers = trailers.copy();
    this.receive(NOTHING, 0, 0, true);
  }

  /** More of the response's body; `ends`: the last of it. */
  receive(bytes: Buffer, start: number, end: number, ends: boolean): void {
    if (this.#state === STATE.head) return this.#fault("a body before the response's head");
    this.#received += end - start;
    this.#uncredited += end - start;
    if (this.#expected >= 0) {
      if (this.#received > this.#expected) return this.#fault("a body longer than Content-Length");
      if (ends && this.#received < this.#expected) return this.#fault("a body shorter than Content-Length");
    }
    const pause = this.#bandwidth === null ? 0 : this.#bandwidth.debit(RECEIVED, end - start);
    if (pause > 0) this.#pauseCredit(pause);
    if (end > start || ends) this.#take(bytes, start, end, ends);
    if (this.deadline > 0) this.deadline += pause;
  }

  /** The endpoint can send at most the rest of its window meanwhile. */
  #pauseCredit(ms: number): void {
    if (this.#creditPause !== null) clearTimeout(this.#creditPause);
    this.#creditPause = setTimeout(() => {
      this.#creditPause = null;
      if (!this.#paused) this.#releaseCredit();
    }, ms);
  }

  #take(bytes: Buffer, start: number, end: number, ends: boolean): void {
    if (ends) this.#close(this.#requestEnded ? -1 : CODE.cancel);
    if (this.#paused || this.#delivers) {
      this.#kept.append(bytes, start, end);
      this.#keptEnd = ends;
      // The rest of the request is discarded: some clients read the response only after they have sent all of it.
      if (ends && !this.#requestEnded) this.#events.writable(this.#attempt!);
      return;
    }
    this.#deliver(bytes, start, end, ends);
  }

  /** The read callback ends: reports a head that no body followed. */
  flushHead(): void {
    if (this.#headDelayed && this.#state === STATE.body) this.#deliver(NOTHING, 0, 0, false);
  }

  #deliver(bytes: Buffer, start: number, end: number, ends: boolean): void {
    const attempt = this.#attempt!;
    attempt.bodyStart = start;
    attempt.bodyEnd = end;
    attempt.bodyDone = ends;
    if (ends) this.#attempt = null;
    else this.#arm(this.target.plan.timeouts.idle);
    if (this.#headDelayed) {
      this.#headDelayed = false;
      attempt.body = bytes;
      this.#events.responded(attempt);
    } else if (!this.#events.responseBody(attempt, null, bytes)) this.pauseBody();
    if (!this.#paused) this.#releaseCredit();
  }

  pauseBody(): void {
    this.#paused = true;
    if (this.#state === STATE.body) this.deadline = 0;
  }

  resumeBody(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#releaseCredit();
    if (this.#state === STATE.body) this.#arm(this.target.plan.timeouts.idle);
    if (this.#delivers || (this.#kept.length === 0 && !this.#keptEnd)) return;
    // Not now: the exchange is executing a step.
    this.#delivers = true;
    setImmediate(() => this.#deliverKept());
  }

  #deliverKept(): void {
    this.#delivers = false;
    const attempt = this.#attempt;
    if (this.#paused || attempt === null) return;
    const { bytes, start, end } = this.#kept;
    this.#kept.drop();
    try {
      this.#deliver(bytes, start, end, this.#keptEnd);
    } catch (error) {
      this.#events.internal(attempt.exchange, error);
    }
  }

  #releaseCredit(): void {
    if (this.#creditPause !== null) return;
    const size = this.#uncredited;
    this.#uncredited = 0;
    if (size > 0) this.credit(size);
  }

  /** Lets the endpoint send `size` more bytes on the stream. */
  credit(size: number): void {
    if (this.#state !== STATE.closed) this.#session!.writer.windowUpdate(this.id, this.receiveWindow.credit(size));
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  cancel(): void {
    this.#attempt = null;
    this.#close(CODE.cancel);
  }

  /** The endpoint has reset the stream. */
  wasReset(code: number): void {
    const isRefused = code === CODE.refusedStream && this.#state === STATE.head;
    // The connection is not stale: it carried this reset.
    if (this.#attempt !== null && !isRefused) this.#attempt.reused = false;
    this.lost(`the endpoint reset the stream with code ${code}`, isRefused);
  }

  /** The connection has ended, or will before the stream is processed. */
  lost(problem: string, unprocessed: boolean, error: ProxyError = ERROR.upstreamReset): void {
    this.#close(-1);
    this.failWith(this.#isBegun ? ERROR.upstreamBroken : error, problem, unprocessed);
  }

  /** The endpoint has violated the protocol on this stream. */
  #fault(problem: string): void {
    this.resetByFault(CODE.protocolError, problem);
  }

  resetByFault(code: number, problem: string): void {
    this.#close(code);
    this.failWith(this.#isBegun ? ERROR.upstreamBroken : ERROR.upstreamMalformed, problem);
  }

  /** A response was reported. */
  get #isBegun(): boolean {
    return this.#attempt !== null && this.#attempt.respondedAt > 0;
  }

  /** Ends the attempt with an error. */
  failWith(error: ProxyError, problem: string, unprocessed = false): void {
    const attempt = this.#attempt;
    this.#attempt = null;
    if (this.#state !== STATE.closed) this.#close(CODE.cancel);
    if (attempt !== null) this.#events.failed(attempt, error, problem, unprocessed);
  }

  /** Closes the stream, by a reset with `code`; -1: without one. */
  #close(code: number): void {
    if (this.#state === STATE.closed) return;
    const isWaiting = this.#state === STATE.waiting;
    this.#state = STATE.closed;
    this.deadline = 0;
    this.#context.clock.remove(this);
    this.#unsent.drop();
    if (this.#creditPause !== null) clearTimeout(this.#creditPause);
    if (this.#sendPause !== null) clearTimeout(this.#sendPause);
    if (isWaiting) return this.#queue.remove(this);
    this.#session!.streamClosed(this, code);
  }

  // ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** While the request is being sent only a stalled write has a deadline; after it the response head has. */
  #armForResponse({ complete }: Attempt): void {
    const { timeouts } = this.target.plan;
    this.#stalled = this.#unsent.length > 0;
    this.#arm(this.#stalled ? timeouts.idle : complete ? timeouts.response : 0);
  }

  #arm(ms: number): void {
    this.deadline = this.#context.clock.after(ms);
    if (this.#state > STATE.head) return;
    const { deadline } = this.#attempt!.exchange;
    if (deadline > 0 && (this.deadline === 0 || deadline < this.deadline)) this.deadline = deadline;
  }

  expire(): void {
    try {
      this.#timedOut();
    } catch (error) {
      this.#events.internal(this.#attempt?.exchange ?? null, error);
    }
  }

  #timedOut(): void {
    const attempt = this.#attempt;
    if (attempt === null) return;
    if (this.#state === STATE.body) return this.failWith(ERROR.upstreamBroken, "no body bytes within timeouts.idle");
    const { exchange: x } = attempt;
    const isOver = x.deadline > 0 && x.deadline <= this.#context.clock.now;
    if (this.#state === STATE.waiting) {
      const limit = isOver ? "the route's timeout" : "timeouts.connect";
      this.failWith(this.#queue.waitError, `no connection with a free stream within ${limit}`);
    } else if (isOver && !this.#stalled && !attempt.complete) this.#events.requestLate(attempt);
    else if (isOver) this.failWith(ERROR.responseTimeout, "no response headers within the route's timeout");
    else if (this.#stalled) this.failWith(ERROR.responseTimeout, "the request was not read within timeouts.idle");
    else this.failWith(ERROR.responseTimeout, "no response headers within timeouts.response");
  }
}
