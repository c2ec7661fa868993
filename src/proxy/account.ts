/** What is told of an attempt and of an exchange when they are over: counters, averages, hooks, the access log. */
import { countStatus, observeDuration } from "../observe/series.ts";
import { HOOK } from "../plugin/abi.ts";
import type { Instance } from "../plugin/host.ts";
import type { ThreadContext } from "./context.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Takes the exchange's attempt out of the in-flight count, once, and tells what came of it. Neither a status nor a
 * failure: it was given up for no fault of the endpoint.
 */
export function endAttempt(context: ThreadContext, x: Exchange, status: number, failed: boolean): void {
  const { endpoint } = x.attempt;
  if (endpoint === null) return;
  x.attempt.endpoint = null;
  if (x.trace !== null) x.trace.attempted(x, endpoint.address, status, failed);
  const { columns, thread, cells } = context;
  columns.addInFlight(thread, endpoint.slot, -1);
  if (status === 0 && !failed) return;
  const taken = (status === 0 ? performance.now() : x.answeredAt) - x.attempt.startedAt;
  x.attemptLatency = taken * 1000;
  x.attemptStatus = status;
  x.attemptFailed = failed;
  columns.sample(endpoint.slot, x.attemptLatency, failed);
  if (!failed) observeDuration(cells, endpoint.cells, taken / 1000);
  for (const strategy of x.cluster!.strategies)
    if ((strategy.hooks & (1 << HOOK.outcome)) !== 0) strategy.call(HOOK.outcome, x);
}

/** Counts an exchange that has ended, and tells its plugins and the access log. */
export function recordExchange({ cells, accessLog }: ThreadContext, x: Exchange): void {
  const { route } = x;
  const listener = x.listener!;
  const now = performance.now();
  countStatus(cells, requestCells(x), x.response.status);
  observeDuration(cells, route?.durationCells ?? listener.plan.durationCells, (now - x.startedAt) / 1000);
  if (x.begun) callLog(listener.chain, x.enteredListener, x);
  if (route !== null) callLog(route.chain, x.enteredRoute, x);
  accessLog.line(x, now);
}

/** The series of `sluice_requests_total` that it counts in. */
function requestCells({ listener, route, cluster }: Exchange): number {
  if (route === null) return listener!.plan.requestCells;
  const cells = cluster === null ? -1 : route.requestCells[cluster.index]!;
  return cells < 0 ? route.unansweredCells : cells;
}

function callLog(chain: readonly Instance[], entered: number, x: Exchange): void {
  // The one that answered is not among those entered, and is told as well.
  for (let i = 0; i <= entered && i < chain.length; i++) {
    const instance = chain[i]!;
    if ((instance.hooks & (1 << HOOK.log)) !== 0) instance.call(HOOK.log, x);
  }
}
