import type { ClusterStatus, EndpointStatus, Status } from "../control/status.ts";
import { callAdmin, findAdmin } from "./admin-client.ts";

/** Prints the state of a running proxy; exit code 1 when it is not ready. */
export async function run(args: string[]): Promise<number> {
  const admin = await findAdmin(args);
  const [status, clusters] = await Promise.all([
    callAdmin(admin, "GET", "/api/v1/status"),
    callAdmin(admin, "GET", "/api/v1/clusters"),
  ]);
  if (status.status !== 200) throw new Error(`the admin interface at ${admin.address} answers ${status.status}`);
  const state = status.body as unknown as Status;
  process.stdout.write(describe(state, clusters.body as unknown as ClusterStatus[]));
  return state.ready ? 0 : 1;
}

function describeOut({ health, ejection }: EndpointStatus): string {
  if (ejection !== null) return `ejected since ${ejection.since} until ${ejection.until} (${ejection.cause})`;
  if (health?.state !== "unhealthy") return "out of service";
  return `unhealthy since ${health.since} (${health.problem})`;
}

function describe(state: Status, clusters: readonly ClusterStatus[]): string {
  const condition = state.draining ? "draining" : state.ready ? "ready" : "not ready";
  const lines = [
    `${condition}, version ${state.version}, since ${state.startedAt}, pid ${state.pid}`,
    `${state.threads.filter((thread) => thread.serving).length} of ${state.threads.length} threads serve, ${state.requestsInFlight} requests in flight`,
    ...state.listeners.map(
      ({ name, address, connections }) => `listener ${name}: ${address}, ${connections} connections`,
    ),
  ];
  for (const plugin of state.quarantined) lines.push(`plugin ${plugin}: quarantined`);
  for (const { plugin, state: stage, why, percent, new: next } of state.rollouts)
    lines.push(`plugin ${plugin}: version ${next.hash.slice(0, 12)} ${stage}, ${percent}% of its requests: ${why}`);
  for (const { name, strategies, endpoints, unresolved } of clusters) {
    lines.push(`cluster ${name}: ${strategies.join(", ")}`);
    for (const endpoint of endpoints) {
      const { address, weight, healthy, inFlight, latency } = endpoint;
      const state = healthy ? "healthy" : describeOut(endpoint);
      lines.push(`  ${address}: ${state}, weight ${weight}, ${inFlight} in flight, ${(latency * 1000).toFixed(1)} ms`);
    }
    for (const { address, problem } of unresolved) lines.push(`  ${address}: has no address yet (${problem})`);
  }
  if (state.lastReload?.result === "rejected")
    lines.push("the last reload was refused:", ...state.lastReload.problems.map((problem) => `  ${problem}`));
  return `${lines.join("\n")}\n`;
}
