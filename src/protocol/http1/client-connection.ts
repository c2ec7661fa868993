/** An HTTP/1 connection to an endpoint: one request at a time, pooled between requests, and read while idle too. */
import type { Endpoint } from "../../cluster/endpoint.ts";
import { type Pool, type Poolable, SURPLUS_TIME } from "../../cluster/pool.ts";
import { FLAG, FRAMING } from "../../http/head.ts";
import { keepAliveTimeout } from "../../http/keep-alive.ts";
import { confirmsUpgrade, isWebSocket } from "../../http/upgrade.ts";
import { acceptsKey } from "../../http/websocket.ts";
import { type BodyFrame, writeBody } from "../../http1/body-frame.ts";
import { BodyReader } from "../../http1/framing.ts";
import { scanResponse } from "../../http1/scan.ts";
import { fieldsBound } from "../../http1/write.ts";
import { Connection } from "../../net/connection.ts";
import { type DialHandler, dial } from "../../net/dial.ts";
import { PendingBuffer } from "../../net/pending-buffer.ts";
import { pollBatch } from "../../net/poll-batch.ts";
import { UPSTREAM_CELLS } from "../../observe/series.ts";
import type { ClusterPlan } from "../../plan/plan.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import { connectError, isLocalCause } from "../../proxy/connect-error.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";
import { REPLAY_LIMIT } from "../../proxy/exchange.ts";
import type { UpstreamEvents, UpstreamStream } from "../../proxy/upstream-stream.ts";
import { requestHeadBound, writeRequestHead, writeSubrequestHead } from "./headers.ts";
import { sendBody } from "./send-body.ts";

const LF = 10;
const REQUEST_TIMEOUT = Buffer.from("HTTP/1.1 408 ");
/** How long connections to an endpoint are not reused after it sent an unsolicited response, ms. */
const NO_REUSE_TIME = 10_000;

const STATE = { connecting: 0, idle: 1, head: 2, body: 3, switched: 4, closed: 5 } as const;

/** After a failed write: time limit for a response that the endpoint may have sent before it closed, ms. */
const LATE_RESPONSE_TIMEOUT = 1000;

/** The endpoint as one version has it; the pool outlives versions. */
export type UpstreamTarget = {
  readonly endpoint: Endpoint;
  readonly pool: Pool<ClientConnection>;
  readonly plan: ClusterPlan;
};

export class ClientConnection implements DialHandler, Poolable, UpstreamStream {
  readonly connection: Connection<DialHandler>;
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  readonly #endpoint: Endpoint;
  readonly #pool: Pool<ClientConnection>;
  readonly #plan: ClusterPlan;
  #state: number = STATE.connecting;
  #attempt: Attempt | null = null;
  /** A partial head. */
  readonly #pending = new PendingBuffer();
  readonly #body = new BodyReader();
  #requests = 0;
  /** The clock's time from which it takes no further request; 0: none. */
  readonly #retiresAt: number;
  /** The poll batch in which the current request was written on a reused connection; else -1. */
  #writtenIn = -1;
  /** The poll batch in which the last bytes of the current request's body were written; -1: not yet, or it has none. */
  #bodyEndedIn = -1;
  /** Bytes of interim heads (1xx) of the current request. */
  #interimBytes = 0;
  /** Why a write failed, after which no request can be sent; empty: none did. */
  #writeProblem = "";
  /** The deadline limits a write. */
  #stalled = false;
  /** Longest idle time, ms: `pool.idleFor`, or less if the endpoint's Keep-Alive requires it. */
  #idleFor: number;
  readonly #frame: BodyFrame = { chunked: false, last: false, trailers: null };

  constructor(
    context: WorkerContext,
    events: UpstreamEvents,
    target: UpstreamTarget,
    connection = new Connection<DialHandler>(context, null),
  ) {
    this.#context = context;
    this.connection = connection;
    this.connection.handler = this;
    this.#events = events;
    this.#endpoint = target.endpoint;
    this.#pool = target.pool;
    this.#plan = target.plan;
    this.#idleFor = target.plan.pool.idleFor;
    this.#retiresAt = context.clock.after(target.plan.pool.age);
  }

  /** `header`: what is sent first, before TLS; null: nothing. */
  connect(header: Buffer | null): void {
    dial(this.connection, this.#endpoint, this.#plan.tls, undefined, header);
    this.#arm(this.#plan.timeouts.connect);
  }

  /** Its connection is established already: it is idle. */
  adopt(): void {
    this.#becomeIdle(this.#idleFor);
  }

  /** Pools it for at most `ms`, or closes it. */
  #becomeIdle(ms: number): void {
    this.#state = STATE.idle;
    if (!this.#pool.give(this)) return this.close();
    this.#arm(this.#pool.hasSurplus ? Math.min(ms, SURPLUS_TIME) : ms);
  }

  get alive(): boolean {
    return this.connection.alive;
  }

  /** Sends the attempt's request, at once or when the connection is established. */
  begin(attempt: Attempt): void {
    this.#attempt = attempt;
    this.connection.bandwidth = attempt.exchange.route!.bandwidth;
    this.#interimBytes = 0;
    if (this.#state === STATE.idle) this.#sendRequest(attempt);
    else this.#arm(this.#plan.timeouts.connect);
  }

  connected(): void {
    if (this.#state !== STATE.connecting) return;
    this.#state = STATE.idle;
    if (this.#attempt !== null) this.#sendRequest(this.#attempt);
    else this.close();
  }

  #sendRequest(attempt: Attempt): void {
    const { exchange: x } = attempt;
    this.#state = STATE.head;
    if (this.#requests++ > 0) this.#writtenIn = pollBatch();
    this.#bodyEndedIn = -1;
    const trailers = x.requestPassed ? x.requestTrailers : null;
    const bound = requestHeadBound(x) + x.replayLength + 64 + (trailers === null ? 0 : fieldsBound(trailers));
    const out = this.#context.buffers.outFor(bound);
    let at = x.isSubrequest ? writeSubrequestHead(out, x) : writeRequestHead(out, x);
    const chunked = x.request.framing === FRAMING.chunked;
    if (x.replay !== null || chunked) {
      const frame = this.#frame;
      frame.chunked = chunked;
      frame.last = x.requestPassed;
      frame.trailers = trailers;
      at = writeBody(out, at, x.replay ?? out, 0, x.replayLength, frame);
    }
    attempt.sent = true;
    attempt.complete = x.requestPassed;
    const more = this.connection.send(out, at);
    // Only an idempotent request can be repeated.
    if (!x.idempotent || x.replayLength > REPLAY_LIMIT) x.forgetBody();
    this.#armForResponse(attempt);
    if (more) this.#events.writable(attempt);
  }

  /** The endpoint has closed the connection. A response that it sent before is read next. */
  writeFailed(error: Error): void {
    this.#writeProblem = error.message;
    const attempt = this.#attempt;
    if (attempt === null) return this.close();
    if (this.#state === STATE.head) this.#armForResponse(attempt);
    // The rest of the body is discarded: some clients read the response only after they have sent all of it.
    this.#events.writable(attempt);
  }

  sendBody(source: Connection | null, bytes: Buffer, start: number, end: number): boolean {
    const attempt = this.#attempt!;
    const { exchange: x } = attempt;
    x.keepSent(bytes, start, end);
    const frame = this.#frame;
    frame.chunked = x.request.framing === FRAMING.chunked;
    frame.last = x.requestPassed;
    frame.trailers = x.requestTrailers;
    attempt.complete = x.requestPassed;
    if (x.requestPassed) this.#bodyEndedIn = pollBatch();
    if (this.#writeProblem !== "") return true;
    const more = sendBody(this.connection, this.#context.buffers, source, bytes, start, end, frame);
    if (this.#state === STATE.head) this.#armForResponse(attempt);
    return more;
  }

  receive(bytes: Buffer, start: number, end: number): void {
    switch (this.#state) {
      case STATE.head:
        // Received before the endpoint can have read the request: it responds to none, or to another one.
        if (this.#writtenIn >= 0 && this.#writtenIn === pollBatch()) {
          this.#noteUnsolicited("with the request", isTimeout(bytes, start));
          return this.#fail(ERROR.unsolicitedResponse, "the endpoint sent bytes before it can have read the request");
        }
        this.#head(bytes, start, end);
        break;
      case STATE.body:
        this.#readBody(bytes, start, end);
        break;
      default:
        this.#noteUnsolicited("while idle", isTimeout(bytes, start));
        this.close();
        return;
    }
    // A request that was written from within this read is the only one of its batch.
    this.#writtenIn = -1;
  }

  /**
   * Counts and logs it; the caller closes the connection. Some of these responses cannot be distinguished from real ones:
   * unless it is `harmless`, connections to the endpoint are not reused for NO_REUSE_TIME.
   */
  #noteUnsolicited(when: string, harmless: boolean): void {
    if (!harmless) this.#pool.suspend(NO_REUSE_TIME);
    const { cells, address } = this.#endpoint;
    this.#context.cells[cells + UPSTREAM_CELLS.unsolicited]!++;
    const { warnings } = this.#context;
    if (warnings.admits("unsolicited_response", `${this.#plan.name} ${address}`))
      warnings.write("an endpoint sent bytes without a request", {
        cluster: this.#plan.name,
        endpoint: address,
        when,
      });
  }

  #head(bytes: Buffer, start: number, end: number): void {
    const attempt = this.#attempt!;
    const { head } = attempt;
    const { limits } = this.#plan;
    const pending = this.#pending;
    if (pending.length > 0) {
      pending.append(bytes, start, end);
      // Scanned again only after the end of a line, so that single bytes do not cost quadratic time.
      if (bytes.subarray(start, end).indexOf(LF) < 0 && pending.length < limits.head) return;
      ({ bytes, start, end } = pending);
      pending.drop();
    }
    for (;;) {
      const at = scanResponse(bytes, start, end, head, attempt.isHead, limits);
      if (at === 0) {
        pending.append(bytes, start, end);
        return;
      }
      if (at < 0) return this.#fail(ERROR.upstreamMalformed, head.problem);
      if (head.status >= 200) return this.#respond(attempt, bytes, at, end);
      if (head.status === 101) return this.#switch(attempt, bytes, at, end);
      // The response timeout limits their time.
      this.#interimBytes += at - start;
      if (this.#interimBytes > limits.head)
        return this.#fail(ERROR.upstreamMalformed, `interim responses over ${limits.head} bytes`);
      this.#events.interim(attempt);
      if (at === end) return;
      start = at;
    }
  }

  /** The endpoint has switched protocols: all further bytes are read by the tunnel that takes over the connection. */
  #switch(attempt: Attempt, bytes: Buffer, start: number, end: number): void {
    const { upgrade } = attempt.exchange;
    if (upgrade === null) return this.#fail(ERROR.upstreamMalformed, "a 101 to a request without Upgrade");
    if (!confirmsUpgrade(attempt.head, upgrade))
      return this.#fail(ERROR.upstreamMalformed, "a 101 without the requested protocol");
    const { request } = attempt.exchange;
    // The key is ours, so the client does not check what is made of it.
    if ((request.flags & FLAG.connect) !== 0 && isWebSocket(upgrade) && !acceptsKey(request, attempt.head))
      return this.#fail(ERROR.upstreamMalformed, "a 101 without the Sec-WebSocket-Accept of the request");
    this.#state = STATE.switched;
    this.pauseBody();
    attempt.upgraded = this.connection;
    attempt.body = bytes;
    attempt.bodyStart = start;
    attempt.bodyEnd = end;
    this.#events.responded(attempt);
  }

  #respond(attempt: Attempt, bytes: Buffer, start: number, end: number): void {
    const { head } = attempt;
    const body = this.#body;
    body.begin(head.framing, head.length, true);
    const at = body.read(bytes, start, end);
    if (body.problem !== "") return this.#fail(ERROR.upstreamMalformed, body.problem);
    this.#state = STATE.body;
    attempt.body = bytes;
    attempt.bodyStart = body.dataStart;
    attempt.bodyEnd = body.dataEnd;
    attempt.bodyDone = body.done;
    if (body.done) this.#finish(attempt, at === end);
    else {
      this.connection.stream(true);
      this.#arm(this.#plan.timeouts.idle);
    }
    this.#events.responded(attempt);
  }

  #readBody(bytes: Buffer, start: number, end: number): void {
    const attempt = this.#attempt!;
    const body = this.#body;
    const at = body.read(bytes, start, end);
    if (body.problem !== "") return this.#fail(ERROR.upstreamBroken, body.problem);
    this.#bodyArrived(attempt, bytes, at === end);
  }

  #bodyArrived(attempt: Attempt, bytes: Buffer, clean: boolean): void {
    const body = this.#body;
    attempt.bodyStart = body.dataStart;
    attempt.bodyEnd = body.dataEnd;
    attempt.bodyDone = body.done;
    if (body.done) this.#finish(attempt, clean);
    else this.#arm(this.#plan.timeouts.idle);
    if (!this.#events.responseBody(attempt, this.connection, bytes) && !body.done) this.pauseBody();
  }

  /** The response is complete: returns the connection to the pool or closes it. `clean`: no bytes followed. */
  #finish(attempt: Attempt, clean: boolean): void {
    const { flags } = attempt.head;
    if (!clean && !this.connection.hasEnded) this.#noteUnsolicited("behind a response", false);
    attempt.trailers = this.#body.trailers;
    this.#attempt = null;
    this.connection.stream(false);
    // Endpoints that respond before they have received the whole request often close the connection.
    const isEarly = !attempt.complete || this.connection.unsent > 0 || this.#endedInThisBatch;
    const reusable = clean && (flags & FLAG.keepAlive) !== 0 && !isEarly;
    const limit = this.#plan.pool.requests;
    if (!reusable || (limit > 0 && this.#requests >= limit) || this.#isOld) return this.close();
    this.#becomeIdle(Math.min(this.#idleFor, keepAliveTimeout(attempt.head)));
  }

  get #isOld(): boolean {
    return this.#retiresAt > 0 && this.#context.clock.now >= this.#retiresAt;
  }

  /** The response was received before the last bytes of the request's body were written. */
  get #endedInThisBatch(): boolean {
    return this.#bodyEndedIn >= 0 && this.#bodyEndedIn === pollBatch();
  }

  pauseBody(): void {
    this.connection.pause();
    this.connection.deadline = 0;
  }

  /** The client can take more of the response. */
  resumeBody(): void {
    if (this.#state !== STATE.body || !this.connection.paused) return;
    this.#arm(this.#plan.timeouts.idle);
    this.connection.resume();
  }

  /** The exchange continues without this connection. */
  cancel(): void {
    this.#attempt = null;
    this.close();
  }

  close(): void {
    if (this.#state === STATE.closed) return;
    if (this.#state === STATE.idle) this.#pool.drop(this);
    this.#state = STATE.closed;
    this.#attempt = null;
    this.connection.destroy();
  }

  #fail(error: ProxyError, problem: string): void {
    const attempt = this.#attempt;
    this.close();
    if (attempt !== null) this.#events.failed(attempt, error, problem);
  }

  ended(): void {
    if (this.#state === STATE.switched) return; // the tunnel looks at it when it begins
    if (this.#state === STATE.body && this.#body.finish()) {
      const attempt = this.#attempt!;
      this.#body.dataStart = this.#body.dataEnd = 0;
      this.#bodyArrived(attempt, this.#context.buffers.shared.bytes, false);
    } else if (this.#state === STATE.body) this.#fail(ERROR.upstreamBroken, "the connection ended inside the body");
    else this.#fail(ERROR.upstreamReset, "the connection ended before the response head");
  }

  closed(error: Error | null): void {
    switch (this.#state) {
      case STATE.connecting:
        if (this.#attempt !== null) this.#attempt.local = isLocalCause(error);
        return this.#fail(connectError(error), error?.message ?? "closed");
      case STATE.switched:
      case STATE.head:
        return this.#fail(ERROR.upstreamReset, error?.message ?? "closed before the response head");
      case STATE.body:
        return this.#fail(ERROR.upstreamBroken, error?.message ?? "closed inside the body");
      default:
        this.close();
    }
  }

  flushed(): void {
    const attempt = this.#attempt;
    if (attempt === null) return;
    if (this.#state === STATE.head) this.#armForResponse(attempt);
    this.#events.writable(attempt);
  }

  broken(error: unknown): void {
    const attempt = this.#attempt;
    this.close();
    this.#events.internal(attempt === null ? null : attempt.exchange, error);
  }

  timedOut(): void {
    switch (this.#state) {
      case STATE.connecting:
        return this.#fail(ERROR.connectTimeout, "no connection within the time limit");
      case STATE.head:
        return this.#responseTimedOut(this.#attempt!);
      case STATE.body:
        return this.#fail(ERROR.upstreamBroken, "no body bytes within timeouts.idle");
      default:
        this.close();
    }
  }

  #responseTimedOut(attempt: Attempt): void {
    const { exchange: x } = attempt;
    const over = x.deadline > 0 && x.deadline <= this.#context.clock.now;
    if (this.#writeProblem !== "") this.#fail(ERROR.upstreamReset, this.#writeProblem);
    else if (over && this.connection.unsent === 0 && !attempt.complete) this.#events.requestLate(attempt);
    else if (over) this.#fail(ERROR.responseTimeout, "no response headers within the route's timeout");
    else if (this.#stalled) this.#fail(ERROR.responseTimeout, "the request was not read within timeouts.idle");
    else this.#fail(ERROR.responseTimeout, "no response headers within timeouts.response");
  }

  /** While the request is being sent only a stalled write has a deadline; after it the response head has. */
  #armForResponse(attempt: Attempt): void {
    const { exchange: x } = attempt;
    const { timeouts } = this.#plan;
    this.#stalled = this.connection.unsent > 0;
    if (this.#writeProblem !== "") this.#arm(LATE_RESPONSE_TIMEOUT);
    else this.#arm(this.#stalled ? timeouts.idle : attempt.complete ? timeouts.response : 0);
    if (x.deadline > 0 && (this.connection.deadline === 0 || x.deadline < this.connection.deadline))
      this.connection.deadline = x.deadline;
  }

  #arm(ms: number): void {
    this.connection.arm(ms);
    if (this.#state !== STATE.connecting || this.#attempt === null) return;
    const { deadline } = this.#attempt.exchange;
    if (deadline > 0 && deadline < this.connection.deadline) this.connection.deadline = deadline;
  }
}

/** A 408 reports that the endpoint closes a connection on which it received no request (RFC 9110 section 15.5.9). */
function isTimeout(bytes: Buffer, start: number): boolean {
  return bytes.subarray(start, start + REQUEST_TIMEOUT.length).equals(REQUEST_TIMEOUT);
}
