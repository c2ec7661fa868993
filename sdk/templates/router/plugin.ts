// A router: selects the cluster "canary" for some requests, and passes others to the next route.
import { Cluster, Request, cluster } from "sluice/sdk";

const canary = cluster("canary"); // throws if there is no such cluster: the configuration is rejected

export function route(req: Request): Cluster | null {
  if (req.headers.is("x-canary", "1") || req.pathStartsWith("/next/")) return canary;
  return null;
}
