/** Checks that every plugin exports the hooks that its role requires. */

import { HOOK, HOOKS, type Hook } from "../abi/abi.ts";
import type { Problem } from "../config/schema.ts";
import type { Built } from "./builder.ts";

type Role = { readonly as: string; readonly needs: readonly Hook[] };

const FILTER: Role = {
  as: "filter of a route",
  needs: [
    "request_head",
    "response_head",
    "log",
    "tick",
    "request_body",
    "request_trailers",
    "response_body",
    "response_trailers",
  ],
};
/** Connections have no route yet: a connection hook in a route's chain would never be called. */
const LISTENER_FILTER: Role = { as: "filter", needs: [...FILTER.needs, "connection"] };
/** TCP connections and UDP sessions have no request. */
const CONNECTION_FILTER: Role = { as: "filter of connections", needs: ["connection"] };
const ROUTER: Role = { as: "router", needs: ["route"] };
const STRATEGY: Role = { as: "strategy", needs: ["pick"] };
const CHECKER: Role = { as: "health check", needs: ["health_check"] };

/** A strategy picks, a router routes, a checker checks, a filter handles connections, requests, responses, or their end. */
export function checkRoles({ plan, origins }: Built): Problem[] {
  const problems: Problem[] = [];
  const canaryOf = new Map(plan.rollouts.flatMap((one) => one.instances.map((pair) => [pair.baseline, pair.canary])));
  const check = (index: number, { as, needs }: Role): void => {
    const { plugin, module } = plan.instances[index]!;
    const canary = canaryOf.get(index);
    if (canary !== undefined) check(canary, { as, needs });
    const { hooks } = plan.modules[module]!.info;
    if (needs.some((hook) => (hooks & (1 << HOOK[hook])) !== 0)) return;
    const has = HOOKS.filter((hook) => (hooks & (1 << HOOK[hook])) !== 0).join(", ");
    const message = `${plugin} is not a ${as}: its hooks are ${has === "" ? "none" : has}, expected ${needs.join(" or ")}`;
    problems.push({ ...origins[index]!.at, message });
  };
  for (const { strategies, check: active } of plan.clusters) {
    for (const { instance } of strategies) check(instance, STRATEGY);
    if (active?.probe.kind === "plugin") check(active.probe.instance, CHECKER);
  }
  for (const listener of plan.listeners) {
    const hasRequests = listener.protocol === "http" || listener.protocol === "auto";
    const role = hasRequests ? LISTENER_FILTER : CONNECTION_FILTER;
    for (const instance of listener.chain) check(instance, role);
    for (const { chain, action } of listener.routes) {
      for (const instance of chain) check(instance, FILTER);
      if (action.kind === "router") check(action.instance, ROUTER);
    }
  }
  return problems;
}
