/** Warns of gRPC to clusters that speak HTTP/1: their endpoints fail every call. */
import type { Place, Problem } from "./place.ts";
import type { Config, PluginUse } from "./schema.ts";
import { listTargets } from "./unused.ts";

type Parts = Pick<Config, "listeners" | "clusters">;

export function findGrpcOverHttp1({ listeners, clusters }: Parts): Problem[] {
  const old = new Set(clusters.filter(speaksHttp1).map(({ name }) => name));
  const warnings: Problem[] = [];
  const add = (at: Place, name: string): void => {
    const message = `gRPC to the cluster "${name}", which speaks HTTP/1: expected protocol http2`;
    warnings.push({ ...at, message });
  };
  for (const { chain, grpc, routes } of listeners) {
    const targets = routes.flatMap((route) => [...listTargets(route.action)]);
    // Other routes of a listener may be for other requests.
    const isAllOld = targets.length > 0 && targets.every(({ name }) => old.has(name));
    const isListener = isAllOld && (translates(chain) || grpc.methods.length > 0);
    for (const route of routes)
      if (isListener || route.retry.grpc !== 0 || translates(route.chain))
        for (const { at, name } of listTargets(route.action)) if (old.has(name)) add(at, name);
  }
  return warnings;
}

/** `auto` is what ALPN selects, and HTTP/1 without TLS. */
function speaksHttp1({ protocol, tls }: Config["clusters"][number]): boolean {
  return protocol === "http1" || (protocol === "auto" && tls === undefined);
}

function translates(chain: readonly PluginUse[]): boolean {
  return chain.some(({ name }) => name === "grpc-web");
}
