/** Checks that every plugin exports the hooks that its role requires. */
import { HOOK, HOOKS, type Hook } from "../abi/abi.ts";
import { BUILTINS, type Config, type PluginUse, type Problem } from "../config/schema.ts";

/** `kind`: as the built-ins have it. */
type Role = {
  readonly as: string;
  readonly kind: (typeof BUILTINS)[string];
  readonly needs: readonly Hook[];
  /** What to use where there is no such plugin. */
  readonly instead?: string;
};

const FILTER: Role = {
  as: "filter of a route",
  kind: "filter",
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
const LISTENER_FILTER: Role = { as: "filter", kind: "filter", needs: [...FILTER.needs, "connection"] };
/** TCP connections and UDP sessions have no request. */
const CONNECTION_FILTER: Role = {
  as: "filter of connections",
  kind: "filter",
  needs: ["connection"],
  instead:
    "; without a plugin: `allow`, `deny` and `limits` of the listener (`connectionsPerClient`, `connectionRatePerClient`)",
};
const ROUTER: Role = { as: "router", kind: "router", needs: ["route"] };
const STRATEGY: Role = { as: "strategy", kind: "strategy", needs: ["pick"] };
const CHECKER: Role = { as: "health check", kind: "health check", needs: ["health_check"] };

type Module = { readonly info: { readonly hooks: number } };
type Plugins = ReadonlyMap<
  string,
  { readonly declared: object | null; readonly module: Module; readonly canary: { readonly module: Module } | null }
>;

/** `misplaced`: uses that cannot work with any configuration. */
export type Roles = { readonly problems: readonly Problem[]; readonly misplaced: ReadonlySet<PluginUse> };

/** Checks that each plugin exports the hooks of its use: a strategy picks, a router routes, a checker checks. */
export function checkRoles({ clusters, listeners }: Pick<Config, "clusters" | "listeners">, plugins: Plugins): Roles {
  const problems: Problem[] = [];
  const misplaced = new Set<PluginUse>();
  const check = (use: PluginUse, { as, needs, kind, instead = "" }: Role): void => {
    const { name, at } = use;
    const plugin = plugins.get(name);
    if (plugin === undefined) return;
    // A built-in of another kind is reported when the configuration is read.
    if (plugin.declared === null && BUILTINS[name] !== kind) return void misplaced.add(use);
    const versions = plugin.canary === null ? [plugin.module] : [plugin.module, plugin.canary.module];
    for (const { info } of versions) {
      if (needs.some((hook) => (info.hooks & (1 << HOOK[hook])) !== 0)) continue;
      const has = HOOKS.filter((hook) => (info.hooks & (1 << HOOK[hook])) !== 0).join(", ");
      const message = `${name} is not a ${as}: its hooks are ${has === "" ? "none" : has}, expected ${needs.join(" or ")}${instead}`;
      problems.push({ ...at, message });
      misplaced.add(use);
      return;
    }
  };
  for (const { strategy, health } of clusters) {
    for (const use of strategy) check(use, STRATEGY);
    if (health.active?.probe.kind === "plugin") check(health.active.probe.use, CHECKER);
  }
  for (const { protocol, chain, routes } of listeners) {
    const hasRequests = protocol === "http" || protocol === "auto";
    for (const use of chain) check(use, hasRequests ? LISTENER_FILTER : CONNECTION_FILTER);
    for (const route of routes) {
      for (const use of route.chain) check(use, FILTER);
      if (route.action.kind === "router") check(route.action.router, ROUTER);
    }
  }
  return { problems, misplaced };
}
