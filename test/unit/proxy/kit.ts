/** A data plane in this process: a real listener, pipeline and cluster, with access to its counters. */
import { BoundSocket } from "node:net";
import type { TestContext } from "node:test";
import { HOOK } from "../../../src/abi/abi.ts";
import { Cluster } from "../../../src/cluster/cluster.ts";
import { EndpointColumns } from "../../../src/cluster/columns.ts";
import { Endpoint } from "../../../src/cluster/endpoint.ts";
import { Pool } from "../../../src/cluster/pool.ts";
import { Challenges } from "../../../src/net/acme/challenges.ts";
import { Buffers } from "../../../src/net/buffers.ts";
import { Clock } from "../../../src/net/clock.ts";
import type { Connection } from "../../../src/net/connection.ts";
import { AccessLog } from "../../../src/observe/access-log.ts";
import { REQUEST_CELLS, UPSTREAM_CELLS, WORKER_CELLS } from "../../../src/observe/series.ts";
import { type Report, ThrottledLog } from "../../../src/observe/throttled-log.ts";
import type { ClusterPlan, ListenerPlan, RetryPlan } from "../../../src/plan/plan.ts";
import { OUTCOME } from "../../../src/plugin/host/host.ts";
import type { Instance } from "../../../src/plugin/host/instance.ts";
import type { ClientConnection } from "../../../src/protocol/http1/client-connection.ts";
import { ServerConnection } from "../../../src/protocol/http1/server-connection.ts";
import type { HealthEvent, WorkerContext } from "../../../src/proxy/context.ts";
import type { Exchange } from "../../../src/proxy/exchange.ts";
import { Pipeline } from "../../../src/proxy/pipeline.ts";
import { type ListenerState, Snapshot } from "../../../src/proxy/snapshot.ts";
import type { Connector } from "../../../src/proxy/upstream-stream.ts";
import { Router } from "../../../src/route/match.ts";
import { makeConnector, makePool } from "../../../src/worker/endpoint-pools.ts";
import { Incoming, type IncomingOptions } from "../../../src/worker/incoming.ts";
import { Listener } from "../../../src/worker/listener.ts";
import { WantedCertificates } from "../../../src/worker/wanted-certificates.ts";
import { atEnd } from "../../e2e/program.ts";
import { plainListener } from "../../support/listener.ts";

/** Cells of the counters; tests only check whether gauges return to zero. */
export const CELLS = {
  listener: 100,
  requests: 200,
  durations: 200 + REQUEST_CELLS,
  end: 200 + REQUEST_CELLS + UPSTREAM_CELLS.size,
};

export type Settings = {
  timeouts?: Partial<ListenerPlan["timeouts"]>;
  retry?: Partial<RetryPlan>;
  /** Of the route. */
  timeout?: number;
  cluster?: Partial<Pick<ClusterPlan, "timeouts" | "pool" | "protocol" | "tls">>;
  /** The clock by which pools end a suspension. */
  poolClock?: () => number;
  /** Replaces that of the cluster's protocol. */
  connector?: Connector;
  /** Of the listener and the route. */
  chain?: readonly Instance[];
  routeChain?: readonly Instance[];
};

type Hooks = { [N in keyof typeof HOOK]?: (x: Exchange) => number };

/** A plugin implemented by the test. */
export function makeInstance(index: number, hooks: Hooks, more: Partial<Instance> = {}): Instance {
  const names = Object.keys(hooks) as (keyof typeof HOOK)[];
  return {
    index,
    plugin: `plugin ${index}`,
    hooks: names.reduce((mask, name) => mask | (1 << HOOK[name]), 0),
    bodyLimit: 1024 * 1024,
    refusesTooLarge: true,
    mayChoose: () => true,
    call: (hook, x) => hooks[names.find((name) => HOOK[name] === hook)!]?.(x as Exchange) ?? OUTCOME.continue,
    update: () => true,
    pick: () => -1,
    ...more,
  };
}

/** Suspended calls, and the exchange of each. */
export class Waits {
  readonly calls: { readonly hook: number; readonly x: Exchange; cancelled: boolean }[] = [];
  /** Called with the exchange when a call is cancelled. */
  onCancel: (x: Exchange) => void = () => {};

  /** Begins one, as a plugin's instance would. */
  begin(name: keyof typeof HOOK, x: Exchange): number {
    const call = { hook: HOOK[name], x, cancelled: false };
    this.calls.push(call);
    const cancel = () => {
      call.cancelled = true;
      this.onCancel(x);
    };
    x.suspend(HOOK[name], { cancel });
    return OUTCOME.suspended;
  }
}

export class Plane {
  readonly port: number;
  readonly context: WorkerContext;
  readonly clock = new Clock();
  readonly columns = EndpointColumns.allocate(1);
  readonly pipeline: Pipeline;
  readonly snapshot: Snapshot;
  readonly listener: Listener;
  readonly reports: string[] = [];
  readonly warnings: string[] = [];
  readonly healthEvents: HealthEvent[] = [];
  disposed = false;
  readonly #pools: { close(): void }[] = [];

  constructor(upstreams: readonly number[], settings: Settings) {
    const cells = new Float64Array(CELLS.end);
    const report: Report = (_level, message) => this.reports.push(message);
    this.context = {
      worker: 0,
      clock: this.clock,
      buffers: new Buffers(),
      columns: this.columns,
      challenges: new Challenges(),
      cells,
      accessLog: new AccessLog({ fd: 1, cells }),
      report,
      warnings: new ThrottledLog(
        (_level, message) => this.warnings.push(message),
        () => this.clock.now,
      ),
      notifyHealth: (event) => this.healthEvents.push(event),
    };
    const pipeline = new Pipeline(this.context);
    this.pipeline = pipeline;
    const cluster = this.#makeCluster(upstreams, settings);
    this.snapshot = new Snapshot(1, [cluster], [], () => {
      this.disposed = true;
    });
    const incoming: IncomingOptions = {
      context: this.context,
      pipeline,
      makeHandler: (accepted) => new ServerConnection(this.context, pipeline, accepted),
      clients: { admit: () => true },
      bandwidth: { ofConnection: () => null },
      wanted: new WantedCertificates(() => {}),
    };
    this.listener = new Listener("127.0.0.1:0", {
      dispatch: () => false,
      context: this.context,
      admit: () => true,
      opened: (connection, port) => new Incoming(connection, port, incoming).begin(),
      closed: () => {},
      failed: (_address, problem) => this.reports.push(problem),
      acceptFailed: (_port, problem) => this.reports.push(problem),
    });
    const socket = new BoundSocket({ host: "127.0.0.1", port: 0 });
    this.port = socket.address().port;
    this.listener.addSocket(socket);
    this.listener.serve(makeState(this.snapshot, settings), 1);
  }

  get inFlight(): number {
    return this.context.cells[WORKER_CELLS.requestsInFlight]!;
  }

  /** The connections of clients, in order of arrival. */
  get clients(): Connection[] {
    return [...this.listener.port.connections];
  }

  #makeCluster(upstreams: readonly number[], settings: Settings): Cluster<Connector> {
    const plan = makeClusterPlan(upstreams, settings);
    const members = plan.set.endpoints.map((endpointPlan) => {
      const endpoint = new Endpoint(endpointPlan);
      const { attempts } = this.pipeline;
      const pool = new Pool<ClientConnection>(plan.pool.idle, settings.poolClock);
      const { sessions } = makePool(this.context, attempts, plan);
      this.#pools.push(pool);
      if (sessions !== null) this.#pools.push(sessions);
      const connector = settings.connector ?? makeConnector(this.context, attempts, { endpoint, pool, sessions, plan });
      return { endpoint, connector };
    });
    return new Cluster<Connector>(0, plan, { strategies: [], members, columns: this.columns });
  }

  close(): void {
    this.listener.close();
    for (const pool of this.#pools) pool.close();
    this.clock.close();
  }
}

function makeClusterPlan(upstreams: readonly number[], { cluster }: Settings): ClusterPlan {
  return {
    name: "app",
    key: "app",
    tls: null,
    protocol: "http1",
    proxyProtocol: null,
    strategies: [],
    set: {
      version: 1,
      endpoints: upstreams.map((port, slot) => ({
        address: `127.0.0.1:${port}`,
        host: "127.0.0.1",
        port,
        path: "",
        weight: 1,
        zone: "",
        slot,
        cells: CELLS.durations,
      })),
    },
    timeouts: { connect: 5000, response: 5000, idle: 5000, ping: 5000, tunnel: 5000 },
    limits: { head: 65536, headers: 256 },
    pool: { idle: 64, idleFor: 5000, connections: 0, requests: 0, age: 0 },
    retryCell: 90,
    passive: null,
    check: null,
    ...cluster,
  };
}

function makeState(snapshot: Snapshot, settings: Settings): ListenerState {
  const plan: ListenerPlan = {
    ...plainListener,
    timeouts: { ...plainListener.timeouts, ...settings.timeouts },
    cells: CELLS.listener,
    requestCells: CELLS.requests,
    durationCells: CELLS.durations,
  };
  const once = { attempts: 1, connect: true, reset: false, timeout: false, statuses: [] };
  const { routeChain = [], chain = [] } = settings;
  const hooksOf = (of: readonly Instance[]) => of.reduce((mask, instance) => mask | instance.hooks, 0);
  const route = {
    name: "all",
    chain: routeChain,
    hooks: hooksOf(routeChain),
    action: { kind: "cluster", cluster: 0 } as const,
    router: null,
    timeout: settings.timeout ?? 0,
    retry: { grpc: 0, ...once, ...settings.retry },
    upgrades: [],
    passthrough: false,
    bandwidth: null,
    requestCells: Int32Array.of(CELLS.requests),
    noClusterCells: CELLS.requests,
    durationCells: CELLS.durations,
  };
  return {
    plan,
    tls: null,
    snapshot,
    chain,
    hooks: hooksOf(chain),
    router: new Router([{ match: {} }]),
    routes: [route],
    relay: null,
    trusted: null,
    proxies: null,
    grpcMethods: null,
    allowed: null,
    denied: null,
  };
}

/** A data plane before those upstreams, gone with the test. */
export function startPlane(t: TestContext, upstreams: readonly number[], settings: Settings = {}): Plane {
  const plane = new Plane(upstreams, settings);
  plane.clock.start(
    () => {},
    (error) => plane.pipeline.internal(null, error),
  );
  atEnd(t, () => plane.close());
  return plane;
}
