// Consistent selection by client address: the same address selects the same endpoint in every worker and process, until
// that endpoint is removed.

import { Endpoints, Request } from "sluice/sdk";
import { hash, pickByHash } from "./shared/rendezvous";

export function pick(endpoints: Endpoints, req: Request): i32 {
  return pickByHash(endpoints, hash(req.clientAddress));
}
