// Two different endpoints at random, of which the less loaded for its weight is taken: nearly as even as
// least-connections, without looking at all of them, and without all threads running to the same one.

import { Endpoints, randomBelow } from "sluice/sdk";

export function pick(endpoints: Endpoints): i32 {
  const count = endpoints.length;
  if (count < 2) return count - 1;
  const one = randomBelow(count);
  let other = randomBelow(count - 1);
  if (other >= one) other++;
  const oneLoad = (<i64>endpoints.inFlight(one) + 1) * endpoints.weight(other);
  const otherLoad = (<i64>endpoints.inFlight(other) + 1) * endpoints.weight(one);
  return otherLoad < oneLoad ? other : one;
}
