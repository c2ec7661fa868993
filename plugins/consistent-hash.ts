// Consistent selection by a key of the request: the same key selects the same endpoint in every worker and process, and
// when an endpoint is added or removed only the keys that it gets or had are moved:
//
//     strategy:
//       consistent-hash:
//         key: header:x-user         # one or a list of client-address (default), header:NAME, cookie:NAME, query:NAME,
//                                    # method, path, host, route
//         balanceFactor: 125         # an endpoint gets at most this percentage of its share of the requests in flight;
//                                    # others go to the key's next endpoint. Default: no bound
//
// A request that has no part of the key goes to the less loaded of two random endpoints.

import { Config, Endpoints, PerInstance, Request } from "sluice/sdk";
import { hash, pickByHash } from "./shared/rendezvous";
import { KeyPart, readKey } from "./shared/request-key";
import { load, pickOfTwo } from "./shared/two-choices";

class Settings {
  constructor(
    readonly parts: KeyPart[],
    readonly balanceFactor: i32,
  ) {}
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["key", "balanceFactor"]);
  const balanceFactor = Config.int("balanceFactor", 0);
  if (Config.has("balanceFactor") && (balanceFactor < 100 || balanceFactor > 10000)) Config.refuse("balanceFactor", "100 to 10000");
  current.set(new Settings(readKey(), balanceFactor));
}

export function pick(endpoints: Endpoints, req: Request): i32 {
  const settings = current.get();
  const parts = settings.parts;
  let key = hash("");
  let isEmpty = true;
  for (let i = 0; i < parts.length; i++) {
    const value = parts[i].valueIn(req);
    // Connections have no path, host or route.
    if (value !== null && value.length) isEmpty = false;
    // Separated, so that `a`, `bc` is another key than `ab`, `c`.
    key = hash(value === null ? "\n" : `${value}\n`, key);
  }
  return isEmpty ? pickOfTwo(endpoints, load) : pickByHash(endpoints, key, settings.balanceFactor);
}
