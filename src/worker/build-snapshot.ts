/** Builds a snapshot from a plan: in a worker, and for a dry run. */
import { Cluster, type Member } from "../cluster/cluster.ts";
import type { EndpointColumns } from "../cluster/columns.ts";
import type { TlsServer, TlsServerOptions } from "../net/tls-server.ts";
import type { ClusterPlan, Plan } from "../plan/plan.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { Snapshot } from "../proxy/snapshot.ts";
import type { Connector } from "../proxy/upstream-stream.ts";
import type { TraceRecord } from "../trace/record.ts";
import { makeTracer } from "../trace/tracer.ts";
import type { BandwidthLimits } from "./bandwidth-limits.ts";
import { listenerState, subrequestStates } from "./listener-state.ts";

export type SnapshotParts = {
  /** By index in the plan. */
  readonly instances: readonly Instance[];
  /** `PluginParts.strategies`. */
  readonly strategies: readonly string[];
  readonly columns: EndpointColumns;
  /** The endpoints of a cluster with their connectors. */
  readonly members: (cluster: ClusterPlan) => Member<Connector>[];
  readonly tls: (options: TlsServerOptions | null) => TlsServer | null;
  /** Null: there are none. */
  readonly bandwidth: BandwidthLimits | null;
  readonly traced: (trace: TraceRecord, dropped: number) => void;
  /** The last exchange has ended after a newer version was committed. */
  readonly dispose: () => void;
};

export function buildSnapshot(plan: Plan, parts: SnapshotParts): Snapshot {
  const { instances, strategies, columns, bandwidth } = parts;
  const clusters = plan.clusters.map(
    (cluster, index) =>
      new Cluster(index, cluster, {
        strategies: cluster.strategies.map(({ instance }) => instances[instance]!),
        members: parts.members(cluster),
        columns,
        checker: cluster.check?.probe.kind === "plugin" ? instances[cluster.check.probe.instance]! : null,
      }),
  );
  const snapshot = new Snapshot(plan.version, clusters, strategies, parts.dispose);
  snapshot.subrequests = subrequestStates(snapshot);
  snapshot.tracer = makeTracer(plan.trace, parts.traced);
  for (const listener of plan.listeners) {
    const tls = parts.tls(listener.tls);
    snapshot.listeners.set(listener.address, listenerState(listener, { snapshot, instances, tls, bandwidth }));
  }
  return snapshot;
}
