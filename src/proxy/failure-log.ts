/** Counts and logs failed attempts, rejected requests, and clusters without an endpoint. */
import { CLUSTER_CELLS, LISTENER_CELLS, UPSTREAM_CELLS, UPSTREAM_FAILURES } from "../observe/series.ts";
import type { Attempt } from "./attempt.ts";
import type { WorkerContext } from "./context.ts";
import type { ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";

/** A pooled connection was stale and the request was repeated, which is no failure of the endpoint. */
const STALE = UPSTREAM_FAILURES.indexOf("stale_connection");
/** The route's retry policy has this status. */
const STATUS = UPSTREAM_FAILURES.indexOf("retried_status");

/** An attempt has failed. `cause`: the socket's, the clock's or the codec's text. */
export function logUpstreamFailure(context: WorkerContext, attempt: Attempt, error: ProxyError, cause: string): void {
  const { exchange: x, endpoint } = attempt;
  if (endpoint === null || error.source !== "upstream") return;
  context.cells[endpoint.cells + UPSTREAM_CELLS.failures + error.cell]!++;
  const { warnings } = context;
  if (!warnings.admits("upstream_failure", `${x.clusterName} ${endpoint.address}`)) return;
  warnings.write("attempt at an endpoint failed", {
    cluster: x.clusterName,
    endpoint: endpoint.address,
    error: error.code,
    cause,
    attempt: x.attempts,
    ...placeOf(x),
  });
}

export function countStaleConnection({ cells }: WorkerContext, { endpoint }: Attempt, error: ProxyError): void {
  const cell = error.code === "upstream_reset" ? STALE : error.cell;
  cells[endpoint!.cells + UPSTREAM_CELLS.failures + cell]!++;
}

export function countRetriedStatus({ cells }: WorkerContext, { endpoint }: Attempt): void {
  cells[endpoint!.cells + UPSTREAM_CELLS.failures + STATUS]!++;
}

/** The request was rejected. `rule`: the syntax rule or limit that it violates. */
export function logRejection(context: WorkerContext, x: Exchange, error: ProxyError, rule: string): void {
  if (x.isSubrequest || error.cell < 0) return;
  const { plan } = x.listener!;
  context.cells[plan.cells + LISTENER_CELLS.rejected + error.cell]!++;
  const { warnings } = context;
  if (!warnings.admits("request_rejected", `${plan.name} ${error.code}`)) return;
  warnings.write("request rejected", {
    listener: plan.name,
    client: x.clientAddress,
    error: error.code,
    rule,
    response_status: error.status,
  });
}

/** No route of the listener matches the TCP connection or UDP session. */
export function logNoRoute({ warnings }: WorkerContext, x: Exchange): void {
  if (!warnings.admits("no_route", x.listenerName)) return;
  const sni = x.tls?.serverName ?? "";
  warnings.write("no route for a TCP connection or UDP session", {
    listener: x.listenerName,
    client: x.clientAddress,
    sni,
  });
}

/** No endpoint of `x.cluster` can take the request. */
export function logNoEndpoint(context: WorkerContext, x: Exchange): void {
  context.cells[x.cluster!.plan.retryCell + CLUSTER_CELLS.noEndpoint]!++;
  const { warnings } = context;
  if (!warnings.admits("no_endpoint", x.clusterName)) return;
  warnings.write("no endpoint can take a request", { cluster: x.clusterName, ...placeOf(x) });
}

function placeOf(x: Exchange): Record<string, unknown> {
  return x.isSubrequest ? { subrequest: true } : { listener: x.listenerName, route: x.routeName };
}
