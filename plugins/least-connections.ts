// Selects the endpoint with the fewest requests in flight per weight, over all workers. Ties are broken at random;
// otherwise all workers would select the first endpoint of an idle cluster.

import { Endpoints, randomBelow } from "sluice/sdk";

export function pick(endpoints: Endpoints): i32 {
  let best = -1;
  let bestLoad: i64 = 1;
  let bestWeight: i64 = 0;
  let ties: u32 = 0;
  for (let i = 0, count = endpoints.length; i < count; i++) {
    const load = <i64>endpoints.inFlight(i) + 1;
    const weight = <i64>endpoints.weight(i);
    // Compares load / weight without a division.
    const difference = load * bestWeight - bestLoad * weight;
    if (best < 0 || difference < 0) {
      best = i;
      bestLoad = load;
      bestWeight = weight;
      ties = 1;
    } else if (difference == 0 && randomBelow(++ties) == 0) {
      // Reservoir sampling: the n-th of a tie replaces the choice with probability 1/n, so that all are equally likely.
      best = i;
    }
  }
  return best;
}
