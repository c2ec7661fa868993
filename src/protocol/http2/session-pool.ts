/**
 * The HTTP/2 connections of this worker to one endpoint, which its streams share, and the streams that wait for one. Older
 * sessions are used first, so that surplus ones become idle and are closed.
 *
 * Bounds: MAX_SESSIONS sessions that take streams; others end with their last stream, so there are fewer than requests in
 * flight. MAX_WAITING streams, each for at most `timeouts.connect`.
 */
import { CODE } from "../../http2/frames.ts";
import { UPSTREAM_CELLS } from "../../observe/series.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";
import type { Connector, UpstreamEvents } from "../../proxy/upstream-stream.ts";
import { ClientConnection } from "../http1/client-connection.ts";
import { ClientSession, type SessionOwner } from "./client-session.ts";
import { ClientStream, type Http2Target, type StreamQueue } from "./client-stream.ts";
import { MAX_STREAMS } from "./client-streams.ts";
import { errorCell, errorName } from "./error-names.ts";

const MAX_SESSIONS = 100;
const MAX_WAITING = 1000;
/** How long it is remembered that an endpoint has selected HTTP/1, ms. */
const HTTP1_TIME = 60_000;

export class SessionPool implements SessionOwner, StreamQueue {
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  /** Those that take streams, or will. */
  readonly #sessions: ClientSession[] = [];
  /** In the order in which they were opened. */
  readonly #waiting = new Set<ClientStream>();
  /** Streams that a session to the endpoint is expected to have. */
  #capacity = MAX_STREAMS;
  /** performance.now() of the last end of a session; one that was ready before may be lost too. */
  #lostAt = 0;
  #closed = false;
  /** The last `#find` skipped a session that another attempt may use. */
  #skipsSome = false;
  /** `#serveRepeats` is scheduled. */
  #isScheduled = false;
  /** The clock's time until which the endpoint is reached by HTTP/1, which ALPN has selected. */
  #http1Until = 0;

  constructor(context: WorkerContext, events: UpstreamEvents) {
    this.#context = context;
    this.#events = events;
  }

  /** The endpoint has selected HTTP/1. Asked again after HTTP1_TIME: it may have been replaced. */
  get isHttp1(): boolean {
    return this.#context.clock.now < this.#http1Until;
  }

  /** Opens a stream for the attempt: now, or when there is a session. A repeat waits for the end of the current read. */
  open(attempt: Attempt, target: Http2Target): void {
    const session = attempt.noReuse ? null : this.#find(attempt);
    const isUnsupported = session !== null && !session.streams.allowsConnect && attempt.exchange.upgrade !== null;
    if (isUnsupported && target.plan.protocol === "auto") return target.http1.open(attempt);
    const stream = new ClientStream(this.#context, this.#events, { target, queue: this }, attempt);
    if (isUnsupported) {
      setImmediate(() => this.#refuseUpgrade(stream));
      return;
    }
    attempt.reused = session !== null;
    if (session !== null) return session.open(stream);
    stream.wait();
    this.#waiting.add(stream);
    if (this.#waiting.size > MAX_WAITING) {
      const reject = (): void => stream.failWith(ERROR.streamLimit, `${MAX_WAITING} requests wait for a stream`);
      setImmediate(reject);
      return;
    }
    if (!attempt.noReuse) return this.#dial(target);
    // A refusal may be followed by GOAWAY.
    if (!this.#isScheduled) setImmediate(() => this.#serveRepeats());
    this.#isScheduled = true;
  }

  #serveRepeats(): void {
    this.#isScheduled = false;
    try {
      this.#serve();
    } catch (error) {
      this.internal(error);
    }
  }

  #find({ noReuse, exchange: x }: Attempt): ClientSession | null {
    const sessions = this.#sessions;
    this.#skipsSome = noReuse;
    for (let i = 0; i < sessions.length; i++) {
      const session = sessions[i]!;
      if (noReuse && session.readyAt < this.#lostAt) continue;
      if (session.isStalled && (x.upgrade !== null || !x.requestPassed || x.replayLength > 0)) {
        this.#skipsSome = true;
        continue;
      }
      if (session.canOpen()) return session;
      // It was retired, and is not in the list any more.
      if (sessions[i] !== session) i--;
    }
    return null;
  }

  /** Opens a session unless those that are connecting suffice for the waiting streams. */
  #dial(target: Http2Target): void {
    let expected = 0;
    let newest: ClientSession | null = null;
    for (const session of this.#sessions) {
      if (session.isConnecting) expected += this.#capacity;
      else newest = session;
    }
    // The endpoint has let the last one take nothing from its start: more would not help.
    if (newest !== null && newest.streams.limit === 0 && newest.streams.opened === 0) return;
    if (this.#waiting.size <= expected || this.#sessions.length >= MAX_SESSIONS) return;
    const session = new ClientSession(this.#context, this, target);
    this.#sessions.push(session);
    session.connect();
  }

  /** Gives waiting streams to sessions, and opens another session if some are left. */
  #serve(): void {
    for (const stream of this.#waiting) {
      const attempt = stream.attempt!;
      const session = this.#find(attempt);
      if (session === null) {
        this.#dial(stream.target);
        if (this.#skipsSome) continue;
        return;
      }
      this.#waiting.delete(stream);
      if (attempt.exchange.upgrade !== null && !session.streams.allowsConnect) {
        if (stream.target.plan.protocol === "auto") stream.target.http1.open(stream.release());
        else this.#refuseUpgrade(stream);
        continue;
      }
      attempt.reused = session.openedAt < attempt.startedAt;
      session.open(stream);
    }
  }

  #refuseUpgrade(stream: ClientStream): void {
    stream.failWith(ERROR.upgradeUnsupported, "an upgrade to an endpoint without SETTINGS_ENABLE_CONNECT_PROTOCOL");
  }

  // ── Streams ─────────────────────────────────────────────────────────────────────────────────────────────────────

  remove(stream: ClientStream): void {
    this.#waiting.delete(stream);
  }

  get waitError(): ProxyError {
    return this.#sessions.some((session) => session.isReady) ? ERROR.streamLimit : ERROR.connectTimeout;
  }

  // ── Sessions ────────────────────────────────────────────────────────────────────────────────────────────────────

  selectedHttp1(session: ClientSession): boolean {
    const { target, connection } = session;
    if (target.plan.protocol !== "auto") return false;
    this.#http1Until = this.#context.clock.now + HTTP1_TIME;
    this.#drop(session);
    new ClientConnection(this.#context, this.#events, target, connection).adopt();
    for (const stream of [...this.#waiting]) stream.target.http1.open(stream.release());
    return true;
  }

  ready(session: ClientSession): void {
    this.#count(session, 1);
    if (session.streams.limit > 0) this.#capacity = session.streams.limit;
    this.#serve();
    this.#closeIdle(session);
  }

  freed(session: ClientSession): void {
    if (this.#waiting.size > 0) this.#serve();
    if (session.streams.isEmpty) this.#closeIdle(session);
  }

  /** Closes an idle session that is not to be kept. */
  #closeIdle(session: ClientSession): void {
    if (!session.streams.isEmpty || !session.isReady) return;
    const idle = this.#sessions.filter(({ streams, isReady }) => streams.isEmpty && isReady).length;
    if (this.#closed || idle > session.target.plan.pool.idle) session.end();
  }

  goAway(session: ClientSession, code: number): void {
    const { endpoint, plan } = session.target;
    this.#context.cells[endpoint.cells + UPSTREAM_CELLS.goAways]!++;
    const { warnings } = this.#context;
    if (code !== CODE.noError && warnings.admits("http2_goaway", `${plan.name} ${endpoint.address}`))
      warnings.write("an endpoint ended an HTTP/2 connection for an error", {
        cluster: plan.name,
        endpoint: endpoint.address,
        code,
      });
    if (this.#waiting.size > 0) this.#serve();
  }

  retired(session: ClientSession): void {
    this.#drop(session);
  }

  replaced({ target: { endpoint, plan } }: ClientSession, resets: number): void {
    this.#context.cells[endpoint.cells + UPSTREAM_CELLS.replaced]!++;
    const { warnings } = this.#context;
    if (warnings.admits("http2_replaced", `${plan.name} ${endpoint.address}`))
      warnings.write("an HTTP/2 connection to an endpoint is replaced because of cancelled requests", {
        cluster: plan.name,
        endpoint: endpoint.address,
        resets,
      });
  }

  #drop(session: ClientSession): void {
    const at = this.#sessions.indexOf(session);
    if (at >= 0) this.#sessions.splice(at, 1);
  }

  closed(session: ClientSession, error: ProxyError | null, problem: string, isLocal: boolean): void {
    this.#drop(session);
    if (error === null) {
      this.#lostAt = performance.now();
      this.#count(session, -1);
    }
    if (this.#waiting.size === 0) return;
    if (session.streams.opened > 0) return this.#serve();
    // One that served nothing gives no reason to expect that another will: no further one is opened for these streams.
    if (this.#sessions.some(({ isConnecting }) => isConnecting)) return;
    const canWait = this.#sessions.some(({ isOpen }) => isOpen);
    for (const stream of [...this.#waiting]) {
      if (canWait && !stream.attempt!.noReuse) continue;
      stream.attempt!.local = isLocal;
      stream.failWith(error ?? ERROR.upstreamReset, problem);
    }
  }

  violated({ target: { endpoint, plan } }: ClientSession, code: number, cause: string): void {
    this.#context.cells[endpoint.cells + UPSTREAM_CELLS.http2Errors + errorCell(code)]!++;
    const { warnings } = this.#context;
    const error = errorName(code);
    if (warnings.admits("upstream_http2_error", `${plan.name} ${endpoint.address} ${error}`))
      warnings.write("HTTP/2 connection to an endpoint ended", {
        cluster: plan.name,
        endpoint: endpoint.address,
        error,
        cause,
      });
  }

  /** `by`: 1 when a session is established, -1 when it ends. */
  #count({ target: { endpoint } }: ClientSession, by: number): void {
    this.#context.cells[endpoint.cells + UPSTREAM_CELLS.sessions]! += by;
  }

  internal(error: unknown): void {
    this.#events.internal(null, error);
  }

  /** No version uses it any more: its sessions end when they are idle. */
  close(): void {
    this.#closed = true;
    for (const session of [...this.#sessions]) this.#closeIdle(session);
  }
}

/** Opens streams to an endpoint by HTTP/2, or by HTTP/1 where ALPN selects that. */
export class Http2Connector implements Connector {
  readonly #sessions: SessionPool;
  readonly #target: Http2Target;

  constructor(sessions: SessionPool, target: Http2Target) {
    this.#sessions = sessions;
    this.#target = target;
  }

  open(attempt: Attempt): void {
    if (this.#sessions.isHttp1) this.#target.http1.open(attempt);
    else this.#sessions.open(attempt, this.#target);
  }
}
