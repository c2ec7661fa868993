/** The status page at `/`, without scripts. */

import type { ClusterStatus, ListenerStatus, PluginStatus, RouteStatus, Status, Traffic, TunnelList } from "./api.ts";
import {
  describeCertificate,
  describeCluster,
  describeCondition,
  describeEndpoint,
  describeFailedAttempts,
  describeLastFailure,
  describeListener,
  describeMatch,
  describeRelayed,
  describeSources,
  describeTarget,
  describeTraffic,
  describeTunnels,
  formatAge,
  formatRate,
} from "./describe.ts";

export type PageParts = {
  readonly status: Status;
  readonly listeners: readonly ListenerStatus[];
  readonly clusters: readonly ClusterStatus[];
  readonly plugins: readonly PluginStatus[];
  readonly tunnels: TunnelList;
};

type Cell = string | number;

/** Maximum rows of a table: the page is rendered every two seconds; the API lists all. */
const MAX_ROWS = 200;
const CLASSES = ["2xx", "3xx", "4xx", "5xx"] as const;

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%;margin-bottom:1.5rem}td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #ddd}
h2{font-size:1.05rem;margin-bottom:.25rem}.good{color:#17692b}.bad{color:#b00020}pre{white-space:pre-wrap}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#333}.good{color:#7bd88f}.bad{color:#ff6b81}}`;

export function renderPage({ status, listeners, clusters, plugins, tunnels }: PageParts): string {
  const { state, problems, warnings } = describeCondition(status);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>sluice: ${state}</title>
<style>${STYLE}</style></head><body>
<h1 class="${state === "ready" ? "good" : "bad"}">${state}</h1>
${problems.map((problem) => `<p class="bad">${escapeHtml(problem)}</p>`).join("\n")}
${warnings.map((warning) => `<p>${escapeHtml(warning)}</p>`).join("\n")}
<p>version ${status.version}, since ${escapeHtml(status.startedAt)}, ${status.requestsInFlight} requests in flight; rates are those of the last ten seconds</p>
${renderReload(status)}
${listeners.map(renderListener).join("\n")}
${clusters.map(renderCluster).join("\n")}
${renderPlugins(plugins)}
${renderTunnels(tunnels)}
${table(
  "Workers",
  ["worker", "serves", "plugin guests", "restarts"],
  status.workers.map(({ worker, serving, guests, restarts }) => [worker, serving ? "yes" : "no", guests, restarts]),
)}
</body></html>
`;
}

function renderReload({ lastReload }: Status): string {
  if (lastReload?.result !== "rejected") return "";
  const problems = escapeHtml(lastReload.problems.join("\n"));
  return `<p class="bad">The last reload (${escapeHtml(lastReload.at)}) was rejected:</p><pre class="bad">${problems}</pre>`;
}

function renderListener(listener: ListenerStatus): string {
  const { name, tls, chain, unrouted, routes } = listener;
  const plugins = chain.length === 0 ? "" : `, chain ${chain.join(" → ")}`;
  const title = `Listener ${name}: ${describeListener(listener)}${plugins}`;
  const rows: Cell[][] = routes.map((route) => [
    ...[route.name, describeMatch(route), route.chain.join(" → "), describeTarget(route)],
    ...cellsOfRoute(route, listener),
  ]);
  if (unrouted.requests > 0) rows.push(["", "without a route", "", "", ...cellsOf(unrouted)]);
  const certificates = tls?.certificates.map((one) => `<p>${escapeHtml(describeCertificate(one))}</p>`) ?? [];
  const heads = ["route", "match", "chain", "to", "requests/s", ...CLASSES, "requests"];
  return table(title, heads, rows) + certificates.join("");
}

function cellsOfRoute({ traffic, relayed }: RouteStatus, { protocol }: ListenerStatus): Cell[] {
  return relayed === null ? cellsOf(traffic) : [...CLASSES.map(() => ""), "", describeRelayed(relayed, protocol)];
}

function cellsOf({ requests, rate, statuses }: Traffic): Cell[] {
  return [formatRate(rate), ...CLASSES.map((name) => formatRate(statuses[name]?.rate ?? 0)), requests];
}

function renderCluster(cluster: ClusterStatus): string {
  const heads = ["endpoint", "state", "weight", "in flight", "responses", "latency", "errors", "failed attempts"];
  const rows = cluster.endpoints.map((endpoint) => [
    endpoint.address,
    describeEndpoint(endpoint),
    endpoint.weight,
    endpoint.inFlight,
    endpoint.responses,
    `${(endpoint.latency * 1000).toFixed(1)} ms`,
    `${(endpoint.errorRate * 100).toFixed(1)} %`,
    describeFailedAttempts(endpoint),
  ]);
  for (const { address, problem } of cluster.unresolved)
    rows.push([address, `has no address yet (${problem})`, "", "", "", "", "", ""]);
  for (const line of describeSources(cluster)) rows.push([line, "", "", "", "", "", "", ""]);
  const title = `Cluster ${cluster.name}: ${describeCluster(cluster)}, ${describeTraffic(cluster.traffic)}`;
  return table(title, heads, rows, cluster.usable === 0);
}

function renderPlugins(plugins: readonly PluginStatus[]): string {
  return table(
    "Plugins",
    ["name", "state", "hooks", "instances", "calls", "failures", "refused", "last failure"],
    plugins.map((plugin) => [
      ...[plugin.name, plugin.state, plugin.hooks.join(" ")],
      ...[plugin.instances, plugin.calls, plugin.failures, plugin.refused, describeLastFailure(plugin)],
    ]),
  );
}

function renderTunnels(list: TunnelList): string {
  if (list.open === 0 && list.silentWorkers.length === 0) return "";
  return table(
    `Tunnels: ${describeTunnels(list, MAX_ROWS)}`,
    ["client", "listener", "cluster", "endpoint", "protocol", "open for", "bytes received", "bytes sent"],
    list.tunnels.map(({ client, listener, cluster, endpoint, protocol, age, bytesReceived, bytesSent }) => [
      ...[client, listener, cluster, endpoint, protocol],
      ...[formatAge(age), bytesReceived, bytesSent],
    ]),
  );
}

function table(title: string, heads: readonly string[], rows: readonly (readonly Cell[])[], isBad = false): string {
  const line = (cells: readonly Cell[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(String(cell))}</${tag}>`).join("")}</tr>`;
  const body = rows.slice(0, MAX_ROWS).map((row) => line(row, "td"));
  const more = rows.length > MAX_ROWS ? `<p>and ${rows.length - MAX_ROWS} more: see /api/v1</p>` : "";
  const heading = `<h2${isBad ? ' class="bad"' : ""}>${escapeHtml(title)}</h2>`;
  return `${heading}<table>${line(heads, "th")}${body.join("")}</table>${more}`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!);
}
