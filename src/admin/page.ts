/** The page at `/`: the state at a glance, without a script. */
import type { ClusterStatus, EndpointStatus, PluginStatus, Status } from "../control/status.ts";

export type PageParts = {
  readonly status: Status;
  readonly clusters: readonly ClusterStatus[];
  readonly plugins: readonly PluginStatus[];
};

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%;margin-bottom:1.5rem}td,th{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #ddd}
h2{font-size:1.05rem;margin-bottom:.25rem}.bad{color:#b00020}pre{white-space:pre-wrap}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#333}.bad{color:#ff6b81}}`;

export function renderPage({ status, clusters, plugins }: PageParts): string {
  const state = status.draining ? "draining" : status.ready ? "ready" : "not ready";
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>sluice: ${state}</title>
<style>${STYLE}</style></head><body>
<h1${status.ready ? "" : ' class="bad"'}>${state}</h1>
<p>version ${status.version}, since ${escapeHtml(status.startedAt)}, ${status.requestsInFlight} requests in flight</p>
${renderReload(status)}
${table(
  "Listeners",
  ["name", "address", "connections"],
  status.listeners.map(({ name, address, connections }) => [name, address, connections]),
)}
${clusters.map(renderCluster).join("\n")}
${table(
  "Plugins",
  ["name", "state", "hooks", "instances", "calls", "failures", "refused"],
  plugins.map(({ name, state, hooks, instances, calls, failures, refused }) => [
    ...[name, state, hooks.join(" ")],
    ...[instances, calls, failures, refused],
  ]),
)}
${table(
  "Threads",
  ["thread", "serves", "plugin guests", "restarts"],
  status.threads.map(({ thread, serving, guests, restarts }) => [thread, serving ? "yes" : "no", guests, restarts]),
)}
</body></html>
`;
}

function renderReload({ lastReload }: Status): string {
  if (lastReload?.result !== "rejected") return "";
  const problems = escapeHtml(lastReload.problems.join("\n"));
  return `<p class="bad">The last reload (${escapeHtml(lastReload.at)}) was refused:</p><pre class="bad">${problems}</pre>`;
}

function renderCluster({ name, strategies, endpoints, unresolved }: ClusterStatus): string {
  const heads = ["endpoint", "state", "weight", "in flight", "latency", "errors"];
  const rows = endpoints.map((endpoint) => [
    endpoint.address,
    endpoint.healthy ? "healthy" : describeOut(endpoint),
    endpoint.weight,
    endpoint.inFlight,
    `${(endpoint.latency * 1000).toFixed(1)} ms`,
    `${(endpoint.errorRate * 100).toFixed(1)} %`,
  ]);
  for (const { address, problem } of unresolved) rows.push([address, `has no address yet: ${problem}`, "", "", "", ""]);
  return table(`Cluster ${name} (${strategies.join(", ")})`, heads, rows);
}

function describeOut({ health, ejection }: EndpointStatus): string {
  if (ejection !== null) return `ejected since ${ejection.since} until ${ejection.until}: ${ejection.cause}`;
  if (health?.state !== "unhealthy") return "out of service";
  return `unhealthy since ${health.since}: ${health.problem}`;
}

function table(title: string, heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(String(cell))}</${tag}>`).join("")}</tr>`;
  return `<h2>${escapeHtml(title)}</h2><table>${line(heads, "th")}${rows.map((row) => line(row, "td")).join("")}</table>`;
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
