// Asks a service about each request, and lets it pass when that says so.
import { Fetch, Request } from "sluice/sdk";

export function onRequest(req: Request): void {
  if (!new Fetch("cluster:canary/").send().ok) req.respond(401);
}
