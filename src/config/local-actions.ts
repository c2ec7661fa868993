/** Routes without a cluster: a built-in plugin, the last one of the route's chain, responds. */
import type { Conversion } from "./shape.ts";
import { findEntry, type Tree } from "./tree.ts";

/** Keys of a route, and of a listener, that name the plugin and contain its configuration. */
export const LOCAL_ACTIONS = ["respond", "redirect"] as const;
export type LocalAction = (typeof LOCAL_ACTIONS)[number];

/** Keys of a route that concern its endpoints. */
const ENDPOINT_KEYS = ["retry", "bandwidth", "upgrade"];

/** Reports keys of the route, as written, that have no effect without endpoints. */
export function checkLocalKeys(route: Tree, name: LocalAction, report: Conversion["report"]): void {
  if (route.kind !== "map") return;
  for (const { key, keyAt } of route.entries)
    if (ENDPOINT_KEYS.includes(key))
      report(keyAt, `"${key}" has no meaning in a route with ${name}: expected it in a route with a cluster`);
}

/** Conditions of `match` for requests that have the scheme and host of a redirect already; undefined: none, or unknown. */
export function conditionsOfTarget(config: Tree): { readonly scheme?: "https"; readonly host?: string } | undefined {
  const host = textOf(config, "host");
  const isHttps = textOf(config, "https") === "true";
  if (textOf(config, "to") !== undefined || (host === undefined && !isHttps)) return undefined;
  // Without a port, as hosts in `match`.
  if (host !== undefined && !/^([^:]+|\[.*\])$/.test(host)) return undefined;
  return { ...(isHttps && { scheme: "https" as const }), ...(host !== undefined && { host: normalizeHost(host) }) };
}

/** As clients send the host of a redirect: `[0:0::1]` as `[::1]`. `match` ignores a dot at the end of a request's host. */
function normalizeHost(host: string): string {
  const url = `http://${host.replace(/\.$/, "")}`;
  return URL.canParse(url) ? new URL(url).hostname : host;
}

function textOf(config: Tree, key: string): string | undefined {
  const found = findEntry(config, key);
  return found?.kind === "scalar" && found.value !== null ? found.text : undefined;
}
