/** The pools of connections to endpoints. Versions share the pool of an endpoint whose cluster has equal settings. */
import type { Member } from "../cluster/cluster.ts";
import { Endpoint } from "../cluster/endpoint.ts";
import { Pool } from "../cluster/pool.ts";
import { makeProxyHeader } from "../net/proxy-header.ts";
import type { ClusterPlan, EndpointPlan } from "../plan/plan.ts";
import type { ClientConnection } from "../protocol/http1/client-connection.ts";
import { UpstreamConnector } from "../protocol/http1/connector.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { Connector, UpstreamEvents } from "../proxy/upstream-stream.ts";

export class EndpointPools {
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  /** `users`: number of versions that use it. */
  readonly #pools = new Map<string, { readonly pool: Pool<ClientConnection>; users: number }>();

  constructor(context: WorkerContext, events: UpstreamEvents) {
    this.#context = context;
    this.#events = events;
  }

  /** The endpoints of a cluster with their connectors. `used`: the keys of the version's pools, to which theirs are added. */
  members(plan: ClusterPlan, used: Set<string>): Member<Connector>[] {
    return plan.set.endpoints.map((endpointPlan) => {
      const key = poolKey(plan, endpointPlan);
      let entry = this.#pools.get(key);
      if (entry === undefined) this.#pools.set(key, (entry = { pool: new Pool(plan.pool.idle), users: 0 }));
      if (!used.has(key)) entry.users++;
      used.add(key);
      const header = plan.proxyProtocol === null ? null : makeProxyHeader(plan.proxyProtocol, null);
      const endpoint = new Endpoint(endpointPlan, plan.tls, header);
      const connector = new UpstreamConnector(this.#context, this.#events, { endpoint, pool: entry.pool, plan });
      return { endpoint, connector };
    });
  }

  /** A version does not use these pools any more: closes those without another user. */
  release(keys: Iterable<string>): void {
    for (const key of keys) {
      const entry = this.#pools.get(key);
      if (entry === undefined || --entry.users > 0) continue;
      entry.pool.close();
      this.#pools.delete(key);
    }
  }
}

export function poolKey({ key }: ClusterPlan, { address }: EndpointPlan): string {
  return `${key}|${address}`;
}
