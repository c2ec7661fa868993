/** A stream of an HTTP/2 connection to an endpoint: one attempt, its request and its response. */

import { FLAG, FRAMING, type Head, NAME } from "../../http/head.ts";
import { isWebSocket, type UpgradeProtocol } from "../../http/upgrade.ts";
import { acceptOf, findKey } from "../../http/websocket.ts";
import { CODE, DEFAULT_WINDOW } from "../../http2/frames.ts";
import { findTrailersProblem } from "../../http2/request-head.ts";
import { readResponse } from "../../http2/response-head.ts";
import type { Timed } from "../../net/clock.ts";
import type { Connection } from "../../net/connection.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";
import { REPLAY_LIMIT } from "../../proxy/exchange.ts";
import type { Connector, UpstreamEvents, UpstreamStream } from "../../proxy/upstream-stream.ts";
import type { UpstreamTarget } from "../http1/client-connection.ts";
import { ClientTunnel, type TunnelSession } from "./client-tunnel.ts";
import { HOLD } from "./held-resets.ts";
import { type ReceiveConnection, ReceiveStream } from "./receive-stream.ts";
import { type BodyOwner, ResponseBody } from "./response-body.ts";
import { type SendConnection, type SendOwner, SendStream } from "./send-stream.ts";
import { type BandwidthOwner, StreamBandwidth } from "./stream-bandwidth.ts";
import type { StreamTunnel } from "./stream-tunnel.ts";

const NOTHING = Buffer.alloc(0);
const ACCEPT = Buffer.from("sec-websocket-accept");

/** `waiting`: for a connection. `head`, `body`: of the response, until its end was received or the stream was reset. */
const STATE = { waiting: 0, head: 1, body: 2, closed: 3 } as const;

/** `http1`: opens streams where the endpoint does not select HTTP/2. */
export type Http2Target = UpstreamTarget & { readonly http1: Connector };

/** What a stream uses of its connection. */
export interface StreamSession extends ReceiveConnection, SendConnection, TunnelSession {
  writeRequest(stream: ClientStream, attempt: Attempt, ends: boolean): void;
  /** Calls `flushHead` when the read callback ends. */
  delayHead(stream: ClientStream): void;
  streamClosed(stream: ClientStream | StreamTunnel, code: number): void;
}

/** The streams without a connection. */
export interface StreamQueue {
  remove(stream: ClientStream): void;
  /** Why a stream has waited too long. */
  readonly waitError: ProxyError;
}

export class ClientStream implements UpstreamStream, SendOwner, BandwidthOwner, BodyOwner, Timed {
  deadline = 0;
  sweepIndex = -1;
  id = 0;
  /** Time of the clock before which its reset is held back; 0: the endpoint has processed its HEADERS. */
  heldUntil = 0;
  readonly target: Http2Target;
  /** Both directions, once it has a connection. */
  input!: ReceiveStream;
  output!: SendStream;
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  readonly #queue: StreamQueue;
  /** Null once it has ended. */
  #attempt: Attempt | null;
  #session: StreamSession | null = null;
  #state: number = STATE.waiting;
  /** The deadline limits the time until the endpoint takes more of the request. */
  #stalled = false;
  /** Bytes of interim responses. */
  #interimBytes = 0;
  /** The final response head was received, but not reported. */
  #headDelayed = false;
  /** Length of the response body by its Content-Length, -1: unknown; and bytes received of it. */
  #expected = -1;
  #received = 0;
  readonly #body = new ResponseBody(this);
  /** The limit of the route; null: unlimited. */
  #bandwidth: StreamBandwidth | null = null;

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
    const { bandwidth } = x.route!;
    if (bandwidth !== null) this.#bandwidth = new StreamBandwidth(bandwidth, this);
    this.id = id;
    this.input = new ReceiveStream(session, id, DEFAULT_WINDOW);
    this.output = new SendStream(session, this, id, window);
    this.#state = STATE.head;
    this.heldUntil = this.#context.clock.after(HOLD);
    const isUpgrade = x.upgrade !== null;
    const ends = !isUpgrade && x.requestPassed && x.replayLength === 0 && x.requestTrailers === null;
    session.writeRequest(this, attempt, ends);
    attempt.sent = true;
    attempt.complete = x.requestPassed;
    if (ends) this.output.endedByHeaders();
    const more = ends || isUpgrade || this.#send(attempt, x.replay ?? NOTHING, 0, x.replayLength);
    this.#bandwidth?.sent(x.replayLength, this.output.hasSentEnd);
    if (x.replayLength > REPLAY_LIMIT) x.forgetBody();
    this.#armForResponse(attempt);
    if (more && !this.#isSendingDelayed) this.#events.writable(attempt);
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
    this.#bandwidth?.sent(end - start, this.output.hasSentEnd);
    return more && !this.#isSendingDelayed;
  }

  /** Sends what the windows allow, and keeps the rest. Returns false if there is a rest. */
  #send({ exchange: x }: Attempt, bytes: Buffer, start: number, end: number): boolean {
    const { requestPassed } = x;
    return this.output.send(bytes, start, end, requestPassed, requestPassed ? x.requestTrailers : null);
  }

  get #isSendingDelayed(): boolean {
    return this.#bandwidth?.delaysSending ?? false;
  }

  sendingResumed(): void {
    if (this.#attempt !== null && this.output.unsent === 0) this.#events.writable(this.#attempt);
  }

  /** Without progress the deadline stays. */
  progressed(): void {
    if (this.#state === STATE.head) this.#armForResponse(this.#attempt!);
  }

  drained(): void {
    const attempt = this.#attempt;
    if (attempt === null) return;
    if (this.#state === STATE.head) this.#armForResponse(attempt);
    if (!this.output.hasSentEnd && !this.#isSendingDelayed) this.#events.writable(attempt);
  }

  openWindow(change: number): boolean {
    return this.output.openWindow(change);
  }

  // ── The response ────────────────────────────────────────────────────────────────────────────────────────────────

  /** The head that the next header block is decoded into; null: it is a trailer section. */
  get nextHead(): Head | null {
    return this.#state === STATE.head ? this.#attempt!.head : null;
  }

  /** `nextHead` was decoded. */
  receiveHead(isTooLarge: boolean, ends: boolean): void {
    this.heldUntil = 0;
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
    this.#bandwidth?.close();
    const { tunnel } = (attempt.stream = new ClientTunnel(this.#context, this.#events, this.#session!, this, attempt));
    this.#attempt = null;
    this.#state = STATE.closed;
    this.deadline = 0;
    this.#context.clock.remove(this);
    attempt.upgraded = tunnel;
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
    const problem = findTrailersProblem(trailers);
    if (problem !== "") return this.#fault(problem);
    this.#attempt!.trailers = trailers.copy();
    this.receive(NOTHING, 0, 0, true);
  }

  /** More of the response's body; `ends`: the last of it. */
  receive(bytes: Buffer, start: number, end: number, ends: boolean): void {
    if (this.#state === STATE.head) return this.#fault("a body before the response's head");
    this.#received += end - start;
    this.input.withhold(end - start);
    if (this.#expected >= 0) {
      if (this.#received > this.#expected) return this.#fault("a body longer than Content-Length");
      if (ends && this.#received < this.#expected) return this.#fault("a body shorter than Content-Length");
    }
    const pause = this.#bandwidth === null ? 0 : this.#bandwidth.received(end - start);
    if (end > start || ends) this.#take(bytes, start, end, ends);
    if (this.deadline > 0) this.deadline += pause;
  }

  #take(bytes: Buffer, start: number, end: number, ends: boolean): void {
    if (ends) this.#close(this.output.hasSentEnd ? -1 : CODE.cancel);
    const isDelivered = this.#body.take(bytes, start, end, ends);
    // The rest of the request is discarded: some clients read the response only after they have sent all of it.
    if (!isDelivered && ends && !this.output.hasSentEnd) this.#events.writable(this.#attempt!);
  }

  /** The read callback ends: reports a head that no body followed. */
  flushHead(): void {
    if (this.#headDelayed && this.#state === STATE.body) this.deliver(NOTHING, 0, 0, false);
  }

  deliver(bytes: Buffer, start: number, end: number, ends: boolean): void {
    const attempt = this.#attempt;
    if (attempt === null) return;
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
    this.creditResumed();
  }

  pauseBody(): void {
    this.#body.isPaused = true;
    if (this.#state === STATE.body) this.deadline = 0;
  }

  resumeBody(): void {
    if (!this.#body.isPaused) return;
    this.#body.resume();
    this.creditResumed();
    if (this.#state === STATE.body) this.#arm(this.target.plan.timeouts.idle);
  }

  creditResumed(): void {
    if (!this.#body.isPaused && !this.#bandwidth?.delaysCredit) this.input.release();
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
    if (isWaiting) return this.#queue.remove(this);
    this.#bandwidth?.close();
    this.input.close();
    this.output.close();
    this.#session!.streamClosed(this, code);
  }

  // ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** While the request is being sent only a stalled write has a deadline; after it the response head has. */
  #armForResponse({ complete }: Attempt): void {
    const { timeouts } = this.target.plan;
    this.#stalled = this.output.unsent > 0;
    this.#arm(this.#stalled ? timeouts.idle : complete ? timeouts.response : 0);
  }

  #arm(ms: number): void {
    this.deadline = this.#context.clock.after(ms);
    if (this.#state > STATE.head) return;
    const { deadline } = this.#attempt!.exchange;
    if (deadline > 0 && (this.deadline === 0 || deadline < this.deadline)) this.deadline = deadline;
  }

  expire(): void {
    this.guard(() => this.#timedOut());
  }

  guard(run: () => void): void {
    const exchange = this.#attempt?.exchange ?? null;
    try {
      run();
    } catch (error) {
      this.#events.internal(exchange, error);
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
