/** Warns of TLS connections that are relayed as they are to a cluster with `tls`: its endpoints receive TLS within TLS. */
import type { Problem } from "./place.ts";
import type { Config } from "./schema.ts";
import { listTargets } from "./unused.ts";

type Parts = Pick<Config, "listeners" | "clusters">;

export function findNestedTls({ listeners, clusters }: Parts): Problem[] {
  const encrypted = new Set(clusters.filter(({ tls }) => tls !== undefined).map(({ name }) => name));
  return listeners.flatMap(({ protocol, tls, routes }) => {
    const isRelay = protocol === "tcp" && tls === undefined;
    return routes
      .filter(({ passthrough, match }) => (isRelay ? (match.sni ?? match.alpn) !== undefined : passthrough))
      .flatMap(({ action }) => listTargets(action))
      .filter(({ name }) => encrypted.has(name))
      .map(({ name, at }) => ({
        ...at,
        message: `TLS connections are relayed as they are to the cluster "${name}", which has \`tls\`: its endpoints receive TLS within TLS; expected a cluster without it, or a route that terminates TLS`,
      }));
  });
}
