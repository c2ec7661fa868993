// A strategy: selects the endpoint with the fewest requests in flight per weight.
import { Endpoints, randomBelow } from "sluice/sdk";

export function pick(endpoints: Endpoints): i32 {
  const count = endpoints.length;
  if (count == 0) return -1;
  // Each worker picks on its own. A random start keeps them from all selecting the first endpoint of an idle cluster.
  let best = <i32>randomBelow(count);
  for (let i = 0; i < count; i++) {
    // Compares load / weight without a division.
    const load = (endpoints.inFlight(i) + 1) * endpoints.weight(best);
    const bestLoad = (endpoints.inFlight(best) + 1) * endpoints.weight(i);
    if (load < bestLoad) best = i;
  }
  return best;
}
