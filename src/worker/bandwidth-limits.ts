/** Makes the limits of bandwidth of client connections and of routes; counts and logs pauses, rate-limited. */
import { Bandwidth, OwnBucket, SharedBucket } from "../net/bandwidth.ts";
import { networkOf } from "../net/client-rows.ts";
import type { RateTable } from "../net/rate-table.ts";
import { BANDWIDTH_LIMITS, WORKER_CELLS } from "../observe/series.ts";
import type { ListenerPlan, RoutePlan } from "../plan/plan.ts";
import type { WorkerContext } from "../proxy/context.ts";
import { isTrusted } from "../proxy/forwarded.ts";
import type { AcceptedConnection } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";

export class BandwidthLimits {
  readonly #context: WorkerContext;
  readonly #rates: RateTable;

  constructor(context: WorkerContext, rates: RateTable) {
    this.#context = context;
    this.#rates = rates;
  }

  /** Of a client's connection: its own, and that of the client; null: none. */
  ofConnection({ peerAddress: client }: AcceptedConnection, state: ListenerState): Bandwidth | null {
    const { name, slot, limits } = state.plan;
    const { connection, client: perClient } = limits.bandwidth ?? {};
    const buckets =
      connection === undefined ? [] : [{ limit: "connection", bucket: new OwnBucket(connection) } as const];
    // A trusted proxy has connections of many clients.
    const isShared = perClient !== undefined && client !== "" && !isTrusted(state, client);
    const bucket = isShared && new SharedBucket(this.#rates, `${slot} ${networkOf(client)}`, perClient);
    const all = bucket === false ? buckets : [...buckets, { limit: "client", bucket } as const];
    if (all.length === 0) return null;
    return new Bandwidth(
      all.map((one) => one.bucket),
      (index) => this.#paused(all[index]!.limit, name, { listener: name, client }),
    );
  }

  /** Of all requests and connections of a route, on the side of the endpoints; null: none. */
  ofRoute({ name: listener }: ListenerPlan, { name: route, bandwidth }: RoutePlan): Bandwidth | null {
    if (bandwidth === undefined) return null;
    const bucket = new SharedBucket(this.#rates, `${listener} ${route}`, bandwidth);
    return new Bandwidth([bucket], () => this.#paused("route", `${listener} ${route}`, { listener, route }));
  }

  #paused(limit: (typeof BANDWIDTH_LIMITS)[number], object: string, fields: Record<string, string>): void {
    const { cells, warnings } = this.#context;
    cells[WORKER_CELLS.bandwidthPauses + BANDWIDTH_LIMITS.indexOf(limit)]!++;
    if (warnings.admits("bandwidth_limited", `${object} ${limit}`))
      warnings.write("a connection pauses: its bandwidth is limited", { limit, ...fields });
  }
}
