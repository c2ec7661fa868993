// Weighted round robin, smooth: with weights 5, 1, 1 the order is a a b a c a a, not a a a a a b c.
// Exactly fair over each round of as many picks as the weights add up to, by one thread and over one list.

import { Endpoints, PerEndpoint, randomBelow } from "sluice/sdk";

/** What each endpoint has in hand: its weight is added at every pick, the sum of weights taken off who is picked. */
const credit = new PerEndpoint<i32>(0);
/** Where the walk begins, which settles ties: with equal weights the whole order. Every thread has its own. */
const start = randomBelow(1 << 16);
let started = false;

export function update(endpoints: Endpoints): void {
  if (started || !endpoints.length) return;
  started = true;
  // With unequal weights the heaviest would still come first on every thread: go some way into the round.
  for (let steps = randomBelow(4096 / endpoints.length + 1); steps > 0; steps--) pick(endpoints);
}

export function pick(endpoints: Endpoints): i32 {
  const count = endpoints.length;
  if (!count) return -1;
  const first = start % count;
  let best = -1;
  let most = i32.MIN_VALUE;
  let total = 0;
  let i = first;
  do {
    const weight = endpoints.weight(i);
    const value = credit.get(i) + weight;
    credit.set(i, value);
    total += weight;
    if (value > most) {
      most = value;
      best = i;
    }
    if (++i == count) i = 0;
  } while (i != first);
  credit.set(best, most - total);
  return best;
}
