/** Selects the route of a request, and its cluster. Steps of the pipeline return the phase that follows. */
import { HOOK } from "../abi/abi.ts";
import type { RouteAction } from "../plan/plan.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import type { Rival } from "../route/match.ts";
import { ERROR } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { limitTime } from "./grpc.ts";
import { PHASE } from "./phase.ts";
import type { PipelineControl } from "./pipeline-control.ts";

/** Characters of a path in a log line at most. */
const MAX_SHOWN = 256;

/** Selects the first route that matches and whose router, if any, does not pass to the next route. */
export function selectRoute(pipeline: PipelineControl, x: Exchange): number {
  const { router, routes, plan } = x.listener!;
  for (let from = 0; ; ) {
    const at = router.match(x, from);
    if (x.trace !== null) x.trace.routesEvaluated(from, at);
    if (x.request.doubts !== 0 && !plan.path.allowsAmbiguous) {
      const rival = router.findRival(x, from, at);
      if (rival !== null) return rejectAmbiguous(pipeline, x, at, rival);
    }
    if (at < 0) break;
    const route = routes[at]!;
    from = at + 1;
    if (route.router !== null) {
      const chosen = x.chosenCluster;
      x.chosenCluster = -1;
      const outcome = route.router.call(HOOK.route, x);
      if (outcome !== OUTCOME.continue) return pipeline.endByPlugin(x, outcome);
      if (x.chosenCluster < 0) {
        x.chosenCluster = chosen;
        continue; // it passes to the next route
      }
    }
    x.route = route;
    x.routeName = route.name;
    if (x.trace !== null) x.trace.routed(route.name);
    if (route.timeout > 0) limitTime(x, x.headAt + route.timeout);
    return PHASE.chain;
  }
  if (x.trace !== null) x.trace.routed(null);
  return pipeline.error(x, ERROR.noRoute, "no route of the listener matches");
}

/** Rejects a path that the endpoint may read as one of another route, whose filters would be bypassed. */
function rejectAmbiguous(pipeline: PipelineControl, x: Exchange, selected: number, rival: Rival): number {
  const { routes } = x.listener!;
  const name = (at: number) => (at < 0 ? "no route" : `the route ${routes[at]!.name}`);
  const problem =
    rival.route < -1
      ? `the path selects ${name(selected)}, and is too long to try its other readings`
      : `the path selects ${name(selected)}, but ${name(rival.route)} when it is read as ${rival.path.slice(0, MAX_SHOWN)}`;
  if (x.trace !== null) x.trace.routed(null, true);
  // Closes the connection after the response.
  x.requestComplete = false;
  return pipeline.error(x, ERROR.ambiguousPath, problem);
}

/** The cluster that a plugin chose, else the route's. False if the route has none. */
export function takeCluster(x: Exchange): boolean {
  const { action } = x.route!;
  if (action.kind === "local") return false;
  const { clusters } = x.listener!.snapshot;
  x.cluster = clusters[x.chosenCluster >= 0 ? x.chosenCluster : clusterOf(action)]!;
  x.clusterName = x.cluster.plan.name;
  if (x.trace !== null) x.trace.clusterTaken();
  return true;
}

function clusterOf(action: Exclude<RouteAction, { kind: "local" }>): number {
  if (action.kind === "cluster") return action.cluster;
  if (action.kind === "router") return action.clusters[0]!;
  let total = 0;
  for (const part of action.parts) total += part.weight;
  let ticket = Math.random() * total;
  for (const part of action.parts) {
    ticket -= part.weight;
    if (ticket < 0) return part.cluster;
  }
  return action.parts[0]!.cluster;
}
