// Smooth weighted round robin: with weights 5, 1, 1 the order is a a b a c a a, not a a a a a b c. Each worker selects on
// its own; over as many picks as the sum of the weights, its distribution is exact while the list is unchanged.

import { Endpoints, PerEndpoint, randomBelow } from "sluice/sdk";

/** Credit of each endpoint: a pick adds the weight to each, and subtracts the sum of weights from the picked one. */
const credit = new PerEndpoint<i32>(0);
/** Start of the iteration, which breaks ties; random, so that workers do not select in step. */
const start = randomBelow(1 << 16);
let started = false;

export function update(endpoints: Endpoints): void {
  if (started || !endpoints.length) return;
  started = true;
  // With unequal weights all workers would still start with the heaviest: advance to a random position in the round.
  for (let steps = randomBelow(4096 / endpoints.length + 1); steps > 0; steps--) pick(endpoints);
}

export function pick(endpoints: Endpoints): i32 {
  const count = endpoints.length;
  if (!count) return -1;
  const first = start % count;
  let best = -1;
  let bestCredit = i32.MIN_VALUE;
  let total = 0;
  let i = first;
  do {
    const weight = endpoints.weight(i);
    const value = credit.get(i) + weight;
    credit.set(i, value);
    total += weight;
    if (value > bestCredit) {
      bestCredit = value;
      best = i;
    }
    if (++i == count) i = 0;
  } while (i != first);
  credit.set(best, bestCredit - total);
  return best;
}
