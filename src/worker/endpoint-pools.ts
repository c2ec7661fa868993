/** The pools of connections to endpoints. Versions share the pool of an endpoint whose cluster has equal settings. */
import type { Member } from "../cluster/cluster.ts";
import { Endpoint } from "../cluster/endpoint.ts";
import { Pool } from "../cluster/pool.ts";
import { makeProxyHeader } from "../net/proxy-header.ts";
import type { ClusterPlan, EndpointPlan } from "../plan/plan.ts";
import type { ClientConnection } from "../protocol/http1/client-connection.ts";
import { UpstreamConnector } from "../protocol/http1/connector.ts";
import { Http2Connector, SessionPool } from "../protocol/http2/session-pool.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { Connector, UpstreamEvents } from "../proxy/upstream-stream.ts";

/** Of HTTP/1 connections, and of HTTP/2 ones where the cluster may have them. */
type EndpointPool = { readonly pool: Pool<ClientConnection>; readonly sessions: SessionPool | null };

export class EndpointPools {
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  /** `users`: number of versions that use it. */
  readonly #pools = new Map<string, { readonly pools: EndpointPool; users: number }>();

  constructor(context: WorkerContext, events: UpstreamEvents) {
    this.#context = context;
    this.#events = events;
  }

  /** The endpoints of a cluster with their connectors. Adds the keys of their pools to `used`, those of the version. */
  members(plan: ClusterPlan, used: Set<string>): Member<Connector>[] {
    return plan.set.endpoints.map((endpointPlan) => {
      const key = poolKey(plan, endpointPlan);
      const entry = this.#pools.getOrInsertComputed(key, () => {
        return { pools: makePool(this.#context, this.#events, plan), users: 0 };
      });
      if (!used.has(key)) entry.users++;
      used.add(key);
      const header = plan.proxyProtocol === null ? null : makeProxyHeader(plan.proxyProtocol, null);
      const endpoint = new Endpoint(endpointPlan, plan.tls, header);
      return { endpoint, connector: makeConnector(this.#context, this.#events, { endpoint, plan, ...entry.pools }) };
    });
  }

  /** A version does not use these pools any more: closes those without another user. */
  release(keys: Iterable<string>): void {
    for (const key of keys) {
      const entry = this.#pools.get(key);
      if (entry === undefined || --entry.users > 0) continue;
      entry.pools.pool.close();
      entry.pools.sessions?.close();
      this.#pools.delete(key);
    }
  }
}

/** Without TLS, `auto` is HTTP/1. */
export function makePool(context: WorkerContext, events: UpstreamEvents, plan: ClusterPlan): EndpointPool {
  const isHttp1 = plan.protocol === "http1" || (plan.protocol === "auto" && plan.tls === null);
  return { pool: new Pool(plan.pool.idle), sessions: isHttp1 ? null : new SessionPool(context, events) };
}

/** The connector of an endpoint, as one version has it. */
export function makeConnector(
  context: WorkerContext,
  events: UpstreamEvents,
  { sessions, ...target }: EndpointPool & { readonly endpoint: Endpoint; readonly plan: ClusterPlan },
): Connector {
  const http1 = new UpstreamConnector(context, events, target);
  return sessions === null ? http1 : new Http2Connector(sessions, { ...target, http1 });
}

export function poolKey({ key }: ClusterPlan, { address }: EndpointPlan): string {
  return `${key}|${address}`;
}
