/**
 * Composition root of a dry run: sends one request through the real request pipeline, in a separate thread, with
 * sandboxed guests, separate counters, a copy of the endpoint columns, and an overlay on the key-value store. The
 * response of the endpoint is simulated. It has no effect outside the thread.
 */
import { isIP } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { EndpointColumns } from "../cluster/columns.ts";
import { Endpoint } from "../cluster/endpoint.ts";
import { parseTarget } from "../http/path-text.ts";
import type { Scheme } from "../http/protocol.ts";
import { VERSION } from "../http/protocol.ts";
import { scanRequest, scanResponse } from "../http1/scan.ts";
import { Challenges } from "../net/acme/challenges.ts";
import { Buffers } from "../net/buffers.ts";
import { Clock } from "../net/clock.ts";
import { Connection } from "../net/connection.ts";
import type { TlsFacts } from "../net/tls-facts.ts";
import { AccessLog } from "../observe/access-log.ts";
import { BLOCK_CELLS } from "../observe/series.ts";
import { ThrottledLog } from "../observe/throttled-log.ts";
import type { Plan } from "../plan/plan.ts";
import { pluginParts } from "../plan/plugin-parts.ts";
import { makeDryFetcher, makeSandboxedHost } from "../plugin/host/dry-run.ts";
import { OUTCOME, type PluginHost } from "../plugin/host/host.ts";
import type { AdmissionHandler } from "../proxy/admission.ts";
import type { Attempt } from "../proxy/attempt.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { Downstream } from "../proxy/downstream.ts";
import { refusalOf } from "../proxy/error.ts";
import type { Exchange } from "../proxy/exchange.ts";
import { makeForwarded } from "../proxy/forwarded.ts";
import { Pipeline } from "../proxy/pipeline.ts";
import type { ListenerState, Snapshot } from "../proxy/snapshot.ts";
import type { Connector, UpstreamEvents, UpstreamStream } from "../proxy/upstream-stream.ts";
import { KeyValueStore } from "../state/store.ts";
import { Mask } from "../trace/mask.ts";
import { Trace } from "../trace/trace.ts";
import { buildSnapshot } from "./build-snapshot.ts";
import { refusingList } from "./client-admission.ts";
import { makeConnector, makePool } from "./endpoint-pools.ts";
import { findListener } from "./explained-listener.ts";
import { Origins, Outgoing } from "./fetch.ts";
import type { DryRunInit, DryRunResult, ExplainRequest } from "./messages.ts";

/** Bytes of the store that takes the writes. */
const OVERLAY_STORE = 16 * 1024 * 1024;

const post = (result: DryRunResult): void => parentPort!.postMessage(result);

function run(init: DryRunInit): void {
  const { plan, request } = init;
  const cells = new Float64Array(BLOCK_CELLS);
  const clock = new Clock();
  const context: WorkerContext = {
    worker: 0,
    clock,
    buffers: new Buffers(),
    columns: copyColumns(init),
    challenges: new Challenges(),
    cells,
    accessLog: new AccessLog({ fd: 1, cells }),
    report: () => undefined,
    warnings: new ThrottledLog(
      () => undefined,
      () => clock.now,
    ),
    notifyHealth: () => {},
  };
  const pipeline = new Pipeline(context);
  const plugins = makeSandboxedHost({
    keyValue: { below: new KeyValueStore(init.keyValue, init.worker), own: makeStore() },
  });
  clock.start(
    () => undefined,
    (error) => pipeline.internal(null, error),
  );
  const { listeners } = prepare(plan, { context, pipeline, plugins, request });
  const listener = findListener([...listeners.values()], request);
  begin(pipeline, listener, plan, request);
}

function makeStore(): KeyValueStore {
  return new KeyValueStore(KeyValueStore.allocate(OVERLAY_STORE), 0);
}

function copyColumns({ rows }: DryRunInit): EndpointColumns {
  const columns = EndpointColumns.allocate(1);
  for (const { slot, inFlight, latency, latencyAge, errorRate, health } of rows) {
    columns.addInFlight(0, slot, inFlight);
    columns.setLatency(slot, latency, latencyAge);
    columns.errorRate[slot] = errorRate;
    columns.health[slot] = health;
  }
  return columns;
}

type Parts = { context: WorkerContext; pipeline: Pipeline; plugins: PluginHost; request: ExplainRequest };

function prepare(plan: Plan, { context, pipeline, plugins, request }: Parts): Snapshot {
  const outgoing = request.allowFetch ? new Outgoing(pipeline, new Origins(() => {})) : null;
  const parts = { ...pluginParts(plan), fetcher: outgoing ?? makeDryFetcher(request.fetchStatus) };
  const { attempts } = pipeline;
  const snapshot = buildSnapshot(plan, {
    instances: plugins.prepare(parts).instances,
    strategies: parts.strategies,
    columns: context.columns,
    members: (cluster) =>
      cluster.set.endpoints.map((endpointPlan) => {
        const endpoint = new Endpoint(endpointPlan, cluster.tls);
        const pool = makePool(context, attempts, cluster);
        const real = makeConnector(context, attempts, { endpoint, plan: cluster, ...pool });
        return { endpoint, connector: new DryConnector(context, attempts, request.status, real) };
      }),
    tls: () => null,
    bandwidth: null,
    traced: (trace) => post({ trace }),
    dispose: () => undefined,
  });
  if (outgoing !== null) outgoing.snapshot = snapshot;
  return snapshot;
}

// ── The request ─────────────────────────────────────────────────────────────────────────────────────────────────

/** Runs admission, then the request. @throws Error if the request is not valid HTTP. */
function begin(pipeline: Pipeline, listener: ListenerState, plan: Plan, request: ExplainRequest): void {
  const x = pipeline.exchanges.take();
  const head = writeHead(request);
  const { limits, path } = listener.plan;
  const end = scanRequest(head, 0, head.length, x.request, limits, path.form);
  if (end !== head.length) {
    const { status } = refusalOf(end < 0 ? -end : 400);
    throw new Error(`the request is rejected with ${status} before any plugin runs: ${x.request.problem || "no head"}`);
  }
  const body = Buffer.from(request.body);
  x.client = new DryDownstream(x, request, listener);
  x.listener = listener;
  x.headAt = x.startedAt = performance.now();
  x.clientAddress = request.client;
  if (body.length > 0) x.keep(body, 0, body.length);
  x.bytesReceived = body.length;
  x.requestComplete = true;
  const trace = new Trace(x, {
    id: "",
    why: "explain",
    mask: new Mask([...plan.trace.mask, plan.trace.header]),
    isDryRun: true,
    ended: (record) => post({ trace: record }),
    instant: !request.allowFetch,
    ...(request.allowFetch ? {} : { fetchStatus: request.fetchStatus }),
  });
  x.trace = trace;
  const list = refusingList(listener, request.client);
  if (list !== null) {
    x.listenerName = listener.plan.name;
    return post({ trace: trace.recordDenied(`the connection is refused: its address is refused by ${list}`) });
  }
  const handler: AdmissionHandler = {
    peer: request.client,
    proxied: null,
    admitted(choice) {
      choice?.apply(x);
      useRelayRoutes(x, listener);
      pipeline.requests.begin(x);
    },
    denied(outcome) {
      x.listenerName = listener.plan.name;
      const problem =
        outcome === OUTCOME.reject ? "a plugin denied the connection" : "a plugin failed on the connection";
      post({ trace: trace.recordDenied(problem) });
    },
    guard: (run) => run(),
  };
  pipeline.admission.evaluate(listener, handler, trace);
}

/** Of a connection that is relayed, the request is not seen: its routes are those of connections, without plugins. */
function useRelayRoutes(x: Exchange, listener: ListenerState): void {
  const { relay, plan } = listener;
  if (relay === null) return;
  const at = relay.router.match(x, 0);
  if (plan.protocol !== "tcp" && (at < 0 || x.tls === null || !relay.routes[at]!.passthrough)) return;
  x.request.version = VERSION.tcp;
  x.listener = { ...listener, ...relay, chain: [] };
}

function writeHead({ method, url, headers, body }: ExplainRequest): Buffer {
  const { host, target } = parseTarget(url);
  const has = (name: string) => headers.some(([given]) => given.toLowerCase() === name);
  const lines = [`${method} ${target} HTTP/1.1`];
  if (!has("host")) lines.push(`Host: ${host}`);
  for (const [name, value] of headers) lines.push(`${name}: ${value}`);
  const length = Buffer.byteLength(body);
  if (length > 0 && !has("content-length") && !has("transfer-encoding")) lines.push(`Content-Length: ${length}`);
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

/** Simulates the response of an endpoint. Subrequests, where they are allowed, use the real connector. */
class DryConnector implements Connector {
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  readonly #status: number | null;
  readonly #real: Connector;

  constructor(context: WorkerContext, events: UpstreamEvents, status: number | null, real: Connector) {
    this.#context = context;
    this.#events = events;
    this.#status = status;
    this.#real = real;
  }

  open(attempt: Attempt): void {
    if (attempt.exchange.isSubrequest) return this.#real.open(attempt);
    attempt.stream = DRY_STREAM;
    attempt.sent = true;
    attempt.complete = true;
    setImmediate(() => this.#respond(attempt));
  }

  #respond(attempt: Attempt): void {
    if (attempt.stream === null) return;
    const { upgrade } = attempt.exchange;
    const switches = upgrade !== null && this.#status === null;
    const head = Buffer.from(
      switches
        ? `HTTP/1.1 101 \r\nconnection: upgrade\r\nupgrade: ${upgrade.text.toString("latin1")}\r\n\r\n`
        : `HTTP/1.1 ${this.#status ?? 200} \r\ncontent-length: 0\r\n\r\n`,
      "latin1",
    );
    scanResponse(head, 0, head.length, attempt.head, attempt.isHead);
    if (switches) attempt.upgraded = new Connection(this.#context, null);
    else attempt.bodyDone = true;
    this.#events.responded(attempt);
  }
}

const DRY_STREAM: UpstreamStream = {
  sendBody: () => true,
  pauseBody() {},
  resumeBody() {},
  cancel() {},
};

class DryDownstream implements Downstream {
  readonly #exchange: Exchange;
  readonly peer: string;
  readonly scheme: Scheme;
  readonly tls: TlsFacts | null;
  readonly connection = null;
  readonly forwarded: Buffer;
  readonly alive = true;

  constructor(x: Exchange, { client: peer, url }: ExplainRequest, { plan }: ListenerState) {
    this.#exchange = x;
    const { protocol, hostname } = parseTarget(url);
    const scheme = protocol === "https:" ? "https" : "http";
    this.peer = peer;
    this.scheme = scheme;
    const readsHello = plan.tls !== null || plan.relay?.readsHello === true;
    this.tls = scheme === "https" && readsHello ? simulateTls(hostname) : null;
    this.forwarded = makeForwarded(peer, scheme, VERSION.http11);
  }

  sendHeaders(): boolean {
    const x = this.#exchange;
    const { bodyStart, bodyEnd } = x.attempt;
    x.headSent = true;
    x.bytesSent = x.localStatus !== 0 ? (x.localBody?.length ?? 0) : bodyEnd - bodyStart;
    return true;
  }

  sendBody(): boolean {
    const x = this.#exchange;
    x.bytesSent += x.attempt.bodyEnd - x.attempt.bodyStart;
    return true;
  }

  openTunnel(): void {
    this.#exchange.headSent = true;
  }

  sendInterim(): void {}
  resumeBody(): void {}
  reset(): void {}
  finished(): void {}
}

/** The facts of a handshake of a current client, without a client certificate. */
function simulateTls(hostname: string): TlsFacts {
  return {
    // Clients do not send addresses.
    serverName: hostname.startsWith("[") || isIP(hostname) !== 0 ? "" : hostname,
    version: "TLSv1.3",
    cipher: "TLS_AES_128_GCM_SHA256",
    protocol: "http/1.1",
    clientSubject: "",
    clientNames: "",
    clientFingerprint: "",
  };
}

try {
  run(workerData as DryRunInit);
} catch (error) {
  post({ problem: error instanceof Error ? error.message : String(error) });
}
