import type * as api from "../admin/api.ts";
import {
  describeCertificate,
  describeCluster,
  describeCondition,
  describeEndpoint,
  describeFailedAttempts,
  describeLastFailure,
  describeListener,
  describeManaged,
  describeMatch,
  describeOpenTunnel,
  describeRouteTraffic,
  describeSources,
  describeTarget,
  describeTraffic,
  describeTunnels,
} from "../admin/describe.ts";
import type { PageParts } from "../admin/page.ts";
import { type Admin, callAdmin, findAdmin } from "./admin-client.ts";

/** Tunnels that are printed at most. */
const MAX_TUNNELS = 20;

/** Prints the state of a running proxy; exit code 1 if it is not ready. */
export async function run(args: string[]): Promise<number> {
  const { text, ready } = await readState(await findAdmin(args));
  process.stdout.write(text);
  return ready ? 0 : 1;
}

/** Reads the state of a running proxy as text. @throws Error */
export async function readState(admin: Admin): Promise<{ readonly text: string; readonly ready: boolean }> {
  const read = async <T>(what: string): Promise<T> => {
    const { status, body } = await callAdmin(admin, "GET", `/api/v1/${what}`);
    if (status !== 200) throw new Error(`the admin interface at ${admin.address} returned status ${status}`);
    return body as T;
  };
  const [status, listeners, clusters, plugins, tunnels] = await Promise.all([
    read<api.Status>("status"),
    read<api.ListenerStatus[]>("listeners"),
    read<api.ClusterStatus[]>("clusters"),
    read<api.PluginStatus[]>("plugins"),
    read<api.TunnelList>("tunnels"),
  ]);
  return { text: format({ status, listeners, clusters, plugins, tunnels }), ready: status.ready };
}

function format({ status, listeners, clusters, plugins, tunnels }: PageParts): string {
  const { state, problems, warnings } = describeCondition(status);
  const serving = status.workers.filter((worker) => worker.serving).length;
  const lines = [
    `${state}, version ${status.version}, since ${status.startedAt}, pid ${status.pid}`,
    `${serving} of ${status.workers.length} workers serve, ${status.requestsInFlight} requests in flight`,
    ...problems.map((problem) => `problem: ${problem}`),
    ...warnings.map((warning) => `warning: ${warning}`),
    ...listeners.flatMap(linesOfListener),
    ...status.managedCertificates.map(describeManaged),
    ...linesOfTunnels(tunnels),
    ...clusters.flatMap(linesOfCluster),
    ...plugins.map(lineOfPlugin),
  ];
  for (const { plugin, state, reason, percent, canary } of status.rollouts) {
    const share = state === "watching" ? `, ${percent}% of the requests` : "";
    lines.push(`plugin ${plugin}: canary version ${canary.hash.slice(0, 12)} ${state}${share}: ${reason}`);
  }
  if (status.lastReload?.result === "rejected")
    lines.push("the last reload was rejected:", ...status.lastReload.problems.map((problem) => `  ${problem}`));
  return `${lines.map(tidy).join("\n")}\n`;
}

function linesOfListener(listener: api.ListenerStatus): string[] {
  const { name, tls, chain, unrouted, routes } = listener;
  const none = unrouted.requests > 0 ? [`  without a route: ${describeTraffic(unrouted)}`] : [];
  return [
    `listener ${name}: ${describeListener(listener)}${chainOf(chain)}`,
    ...(tls?.certificates.map((certificate) => `  ${describeCertificate(certificate)}`) ?? []),
    ...routes.map((route) => {
      const { name, chain } = route;
      const match = `route ${name}: ${describeMatch(route)}${chainOf(chain)}`;
      return `  ${match}; to ${describeTarget(route)}; ${describeRouteTraffic(route, listener)}`;
    }),
    ...none,
  ];
}

function linesOfTunnels(list: api.TunnelList): string[] {
  if (list.open === 0 && list.silentWorkers.length === 0) return [];
  return [`tunnels: ${describeTunnels(list, MAX_TUNNELS)}`, ...list.tunnels.slice(0, MAX_TUNNELS).map(lineOfTunnel)];
}

function lineOfTunnel(tunnel: api.OpenTunnelStatus): string {
  const { client, listener, cluster, endpoint } = tunnel;
  return `  ${client} at listener ${listener} to ${endpoint} of cluster ${cluster}: ${describeOpenTunnel(tunnel)}`;
}

function chainOf(chain: readonly string[]): string {
  return chain.length === 0 ? "" : `; chain ${chain.join(" -> ")}`;
}

function linesOfCluster(cluster: api.ClusterStatus): string[] {
  const { name, endpoints, unresolved, traffic, relayed } = cluster;
  const connections = relayed.connected === undefined ? "" : `, ${relayed.connected} connections and sessions`;
  return [
    `cluster ${name}: ${describeCluster(cluster)}, ${describeTraffic(traffic)}${connections}`,
    ...endpoints.map((endpoint) => {
      const { address, weight, inFlight, responses, latency, errorRate } = endpoint;
      const speed = `${(latency * 1000).toFixed(1)} ms, errors ${(errorRate * 100).toFixed(1)}%`;
      const figures = `weight ${weight}, ${inFlight} in flight, ${responses} responses, ${speed}`;
      const failed = describeFailedAttempts(endpoint);
      return `  ${address}: ${describeEndpoint(endpoint)}, ${figures}${failed === "" ? "" : `, failed attempts: ${failed}`}`;
    }),
    ...unresolved.map(({ address, problem }) => `  ${address}: has no address yet (${problem})`),
    ...describeSources(cluster).map((line) => `  ${line}`),
  ];
}

function lineOfPlugin(plugin: api.PluginStatus): string {
  const { name, state, calls, failures, refused } = plugin;
  const last = describeLastFailure(plugin);
  const counts = `${calls} calls, ${failures} failures${refused > 0 ? `, ${refused} refused` : ""}`;
  return `plugin ${name}: ${state}, ${counts}${last === "" ? "" : `, the last logged at ${last}`}`;
}

/** Removes control characters: messages of plugins may contain data of clients. */
function tidy(line: string): string {
  return line.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, " ");
}
