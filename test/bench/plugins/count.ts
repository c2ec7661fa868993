// Counts the requests of each client in a minute, in the store that all threads share; the limit is not reached.
import { Request, kv } from "sluice/sdk";

const clients = kv("clients");

export function onRequest(req: Request): void {
  if (clients.increment(req.clientAddress, 1, 60000) > 1e9) req.respond(429);
}
