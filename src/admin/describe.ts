/** Formats the proxy's state for the status page and `sluice status`. */

import type { OneOrMore, ValueMatch, ValueTable } from "../config/schema.ts";
import type { MatchPlan } from "../plan/plan.ts";
import type * as api from "./api.ts";

/** Names of a certificate that are listed at most. */
const MAX_NAMES = 5;

export type Condition = {
  readonly state: "ready" | "degraded" | "not ready" | "draining";
  /** Reasons for the state `degraded`, one per line. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
};

export function describeCondition(status: api.Status): Condition {
  const { draining, ready, unavailableClusters, quarantined, expiringCertificates } = status;
  const expired = expiringCertificates.filter(({ warning }) => warning === "expired");
  const warnings = expiringCertificates.filter((one) => !expired.includes(one)).map(describeExpiring);
  const unstapled = status.unstapledCertificates.map(
    ({ listener, file, ocsp }) => `listener ${listener}: certificate ${file}: ${describeOcsp(ocsp)}`,
  );
  const failing = status.managedCertificates.filter(({ state }) => state === "failing");
  warnings.push(...failing.filter(({ expires }) => expires !== null).map(describeManaged));
  const problems = [
    ...unstapled,
    ...failing.filter(({ expires }) => expires === null).map(describeManaged),
    ...expired.map(describeExpiring),
    ...status.expiredRevocationLists.map(
      ({ usedBy, file, expires }) => `${usedBy}: revocation list ${file} expired at ${expires}`,
    ),
    ...unavailableClusters.map((cluster) => `cluster ${cluster} has no usable endpoint`),
    ...quarantined.map((plugin) => `plugin ${plugin} is in quarantine`),
  ];
  if (draining) return { state: "draining", problems, warnings };
  if (!ready) return { state: "not ready", problems, warnings };
  return { state: problems.length > 0 ? "degraded" : "ready", problems, warnings };
}

function describeExpiring(certificate: api.CertificateStatus): string {
  return `listener ${certificate.listener}: ${describeCertificate(certificate)}`;
}

/** `certificate site.pem (a.example, b.example): expires in 12 days, at 2027-01-31T00:00:00.000Z`. */
export function describeCertificate({ file, names, expires, days, warning, ocsp }: api.CertificateStatus): string {
  const more = names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : "";
  const shown = names.length === 0 ? "no names" : `${names.slice(0, MAX_NAMES).join(", ")}${more}`;
  const when = warning === "expired" ? `expired ${countDays(-days)} ago` : `expires in ${countDays(days)}`;
  const stapling = describeOcsp(ocsp);
  return `certificate ${file} (${shown}): ${when}, at ${expires}${stapling === "" ? "" : `; ${stapling}`}`;
}

/** `ACME certificate for a.example: failing, not issued yet, next try at 2027-01-31T00:00:00.000Z (2 failures): …`. */
export function describeManaged(certificate: api.ManagedCertificateStatus): string {
  const { names, onDemand, state, expires, isOrdering, nextTry, failures, problem } = certificate;
  const more = names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : "";
  const what = `ACME certificate for ${names.slice(0, MAX_NAMES).join(", ")}${more}${onDemand ? " (on demand)" : ""}`;
  const until = expires === null ? "not issued yet" : `expires at ${expires}`;
  const next = isOrdering ? "order in progress" : `next order at ${nextTry}`;
  const cause = problem === "" ? "" : ` (${countFailures(failures)}): ${problem}`;
  return `${what}: ${state}, ${until}, ${next}${cause}`;
}

function countFailures(failures: number): string {
  return failures === 1 ? "1 failure" : `${failures} failures`;
}

function countDays(days: number): string {
  return days === 1 ? "1 day" : `${days} days`;
}

/** `OCSP response until 2027-01-31T00:00:00.000Z`; empty: nothing is stapled, nor expected. */
function describeOcsp({ state, mustStaple, until, problem }: api.OcspStatus): string {
  if (state === "none" && !mustStaple) return "";
  if (state === "revoked") return `OCSP: ${problem}`;
  if (until !== null) return `OCSP response until ${until}${problem === "" ? "" : `, not refreshed: ${problem}`}`;
  const rule = mustStaple ? " for must-staple" : "";
  return `no OCSP response${rule}: ${state === "pending" ? "not received yet" : problem}`;
}

/** `127.0.0.1:8443 (https)`. */
function describeAddress({ address, tls }: api.ListenerStatus): string {
  return tls === null ? address : `${address} (https)`;
}

/** `3 open, the oldest 2 listed`, and workers that did not report. */
export function describeTunnels({ open, tunnels, silentWorkers }: api.TunnelList, listed: number): string {
  const part = Math.min(listed, tunnels.length) < open ? `, the oldest ${Math.min(listed, tunnels.length)} listed` : "";
  const silent = silentWorkers.length > 0 ? `; no report from worker ${silentWorkers.join(", ")}` : "";
  return `${open} open${part}${silent}`;
}

/** `1h 2m`: the two largest units. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0s";
  return parts
    .slice(first, first + 2)
    .map(([count, unit]) => `${count}${unit}`)
    .join(" ");
}

/** `websocket, open for 2m 3s, 120 bytes received, 4096 sent`. */
export function describeOpenTunnel({ protocol, age, bytesReceived, bytesSent }: api.OpenTunnelStatus): string {
  return `${protocol}, open for ${formatAge(age)}, ${bytesReceived} bytes received, ${bytesSent} sent`;
}

export function describeCluster({ strategies, usable, endpoints, unresolved, panic }: api.ClusterStatus): string {
  const total = endpoints.length + unresolved.length;
  const note = panic ? ", too few are left: ejections are ignored" : "";
  return `${strategies.join(", ")}, ${usable} of ${total} endpoints usable${note}`;
}

/** Its address, connections and traffic, and its limits with what they refused. */
export function describeListener(listener: api.ListenerStatus): string {
  const limits = describeLimits(listener);
  const parts = [describeAddress(listener), describeConnections(listener), describeListenerTraffic(listener)];
  return `${parts.join(", ")}${limits === "" ? "" : `; ${limits}`}`;
}

/** `12 connections`, and the tunnels among them; `12 of 100 connections` where they are limited. */
function describeConnections({ protocol, connections, limits, tunnels }: api.ListenerStatus): string {
  const { open, oldest, bytesReceived, bytesSent } = tunnels;
  const limit = limits.connections === undefined ? "" : ` of ${limits.connections}`;
  const all = `${connections}${limit} ${protocol === "udp" ? "sessions" : "connections"}`;
  if (open === 0 || protocol === "udp") return all;
  const bytes = `${bytesReceived} bytes received and ${bytesSent} sent by tunnels in all`;
  return `${all}, ${open} of them tunnels (the oldest since ${oldest}; ${bytes})`;
}

/** What a listener has carried since the start: `12.5/s …, 1801 requests in all, 5 connections relayed, 9 bytes received …`. */
function describeListenerTraffic(listener: api.ListenerStatus): string {
  const { protocol, traffic, relayed, bytesReceived, bytesSent } = listener;
  if (relayed === null) return describeTraffic(traffic);
  const requests = protocol === "tcp" || protocol === "udp" ? "" : `${describeTraffic(traffic)}, `;
  return `${requests}${describeRelayed(relayed, protocol)}, ${bytesReceived} bytes received, ${bytesSent} sent`;
}

export function describeRouteTraffic({ traffic, relayed }: api.RouteStatus, { protocol }: api.ListenerStatus): string {
  return relayed === null ? describeTraffic(traffic) : describeRelayed(relayed, protocol);
}

/** `5 connections relayed, 2 not (no_endpoint 1, no_route 1)`. */
export function describeRelayed(relayed: api.Relayed, protocol: api.ListenerStatus["protocol"]): string {
  const { connected = 0, ...failed } = relayed;
  const count = Object.values(failed).reduce((sum, one) => sum + one, 0);
  const failures = count > 0 ? `, ${count} not (${listCounts(failed)})` : "";
  return `${connected} ${protocol === "udp" ? "sessions" : "connections"} relayed${failures}`;
}

/** `limits connectionsPerClient 10; refused: connections 3`; empty without them. */
function describeLimits({ limits, refused }: api.ListenerStatus): string {
  // That of `connections` is beside their number.
  const { connections: _, ...others } = limits;
  const parts = [
    Object.keys(others).length > 0 ? `limits ${listCounts(others)}` : "",
    Object.keys(refused).length > 0 ? `refused: ${listCounts(refused)}` : "",
  ];
  return parts.filter((part) => part !== "").join("; ");
}

/** Resolved entries, one per line: number of endpoints, time of resolution, and the last error. */
export function describeSources({ sources, set }: api.ClusterStatus): string[] {
  return sources
    .filter(({ kind, endpoints }) => kind !== "static" && endpoints > 0)
    .map(({ address, kind, endpoints, resolvedAt, problem }) => {
      const kept = problem === null ? "" : `, keeping them: the last attempt failed (${problem})`;
      return `${address} (${kind}): ${endpoints} endpoints, resolved ${resolvedAt}, set version ${set.version}${kept}`;
    });
}

/** An endpoint's state, and why it receives no requests. */
export function describeEndpoint({ state, health, ejection }: api.EndpointStatus): string {
  const reasons: string[] = [];
  if (state === "disabled" || state === "draining") reasons.push(state);
  if (health?.state === "unhealthy") reasons.push(`unhealthy since ${health.since} (${health.problem})`);
  if (ejection !== null) reasons.push(`ejected since ${ejection.since} until ${ejection.until} (${ejection.cause})`);
  return reasons.length > 0 ? reasons.join(", ") : state;
}

export function describeFailedAttempts({ failedAttempts }: api.EndpointStatus): string {
  return listCounts(failedAttempts);
}

/** A plugin's last failure on one line; empty if there was none. */
export function describeLastFailure({ lastFailure }: api.PluginStatus): string {
  if (lastFailure === null) return "";
  const { at, hook, reason, message } = lastFailure;
  return `${at} in ${hook}: ${reason}: ${message}`;
}

/** What a route matches: `host *.example.com, prefix /api/, headers x-beta=1|prefix a`. */
export function describeMatch({ match }: api.RouteStatus): string {
  const { not = [], ...keys } = match;
  const parts = Object.entries(keys).map(([key, value]) => `${key} ${describeKey(value)}`);
  if (not.length > 0) parts.push(`not ${not.map(describeExcluded).join("|")}`);
  return parts.length > 0 ? parts.join(", ") : "every request";
}

function describeExcluded(match: MatchPlan): string {
  return Object.entries(match)
    .map(([key, value]) => `${key}=${describeKey(value)}`)
    .join(" ");
}

function describeKey(value: OneOrMore<string> | ValueTable | readonly MatchPlan[]): string {
  if (typeof value === "string" || Array.isArray(value)) return [value].flat().join("|");
  return Object.entries(value as ValueTable)
    .map(([name, wanted]) => `${name}=${[wanted].flat().map(describeValue).join("|")}`)
    .join(" ");
}

function describeValue(value: ValueMatch): string {
  if (typeof value === "string") return value;
  if ("present" in value) return value.present ? "present" : "absent";
  return "prefix" in value ? `prefix ${value.prefix}` : `regex ${value.regex}`;
}

/** Where a route's requests go: `cluster app`, `app 90, canary 10`, `plugin beta: app, canary`, `no cluster`. */
export function describeTarget({ router, clusters }: api.RouteStatus): string {
  const names = clusters.map(({ name, weight }) => (weight === null ? name : `${name} ${weight}`)).join(", ");
  if (router !== null) return clusters.length === 0 ? `plugin ${router}` : `plugin ${router}: ${names}`;
  if (clusters.length === 0) return "no cluster";
  return clusters.length === 1 ? `cluster ${names}` : names;
}

/** `12.5/s (2xx 12.3, 5xx 0.2), 1801 in all`. */
export function describeTraffic({ requests, rate, statuses }: api.Traffic): string {
  const classes = Object.entries(statuses)
    .filter(([, status]) => status.rate > 0)
    .map(([name, status]) => `${name} ${formatRate(status.rate)}`);
  const split = classes.length > 0 ? ` (${classes.join(", ")})` : "";
  return `${formatRate(rate)}/s${split}, ${requests} requests in all`;
}

export function formatRate(rate: number): string {
  return rate === 0 ? "0" : rate < 0.1 ? "<0.1" : rate >= 100 ? String(Math.round(rate)) : rate.toFixed(1);
}

/** `connect_refused 3, response_timeout 1`. */
function listCounts(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}
