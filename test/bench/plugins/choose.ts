// The router of the chain: one header decides between two clusters.
import { Cluster, cluster, Request } from "sluice/sdk";

const app = cluster("app"), canary = cluster("canary");

export function route(req: Request): Cluster | null {
  return req.headers.is("x-beta", "1") ? canary : app;
}
