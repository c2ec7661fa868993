// Selects an endpoint at random, with a probability proportional to its weight.

import { Endpoints, randomBelow } from "sluice/sdk";

export function pick(endpoints: Endpoints): i32 {
  const count = endpoints.length;
  let total: u32 = 0;
  for (let i = 0; i < count; i++) total += endpoints.weight(i);
  let left = randomBelow(total);
  for (let i = 0; i < count; i++) {
    const weight = <u32>endpoints.weight(i);
    if (left < weight) return i;
    left -= weight;
  }
  return -1;
}
