// A router: chooses one of the clusters that its route lists.
import { Cluster, cluster, Request } from "sluice/sdk";

const app = cluster("app"), beta = cluster("beta");

export function route(req: Request): Cluster | null {
  return req.headers.is("x-beta", "1") || req.pathStartsWith("/next/") ? beta : app;
}
