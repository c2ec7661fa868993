// The endpoint with the fewest requests in flight for its weight, over all threads; ties are broken at random,
// or all threads would send to the first of the list when it is quiet.

import { Endpoints, randomBelow } from "sluice/sdk";

export function pick(endpoints: Endpoints): i32 {
  let best = -1;
  let load: i64 = 1;
  let weight: i64 = 0;
  let ties: u32 = 0;
  for (let i = 0, count = endpoints.length; i < count; i++) {
    const candidateLoad = <i64>endpoints.inFlight(i) + 1;
    const candidateWeight = <i64>endpoints.weight(i);
    // load / weight, compared without dividing.
    const difference = candidateLoad * weight - load * candidateWeight;
    if (best < 0 || difference < 0) {
      best = i;
      load = candidateLoad;
      weight = candidateWeight;
      ties = 1;
    } else if (difference == 0 && randomBelow(++ties) == 0) {
      // The n-th of a tie takes the place with the chance 1/n: each of them is as likely in the end.
      best = i;
    }
  }
  return best;
}
