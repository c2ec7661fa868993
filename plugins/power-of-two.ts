// Power of two choices: selects the less loaded per weight of two random endpoints. The distribution is nearly as even as
// that of least-connections, in constant time, and workers do not all select the same endpoint.

import { Endpoints, randomBelow } from "sluice/sdk";

export function pick(endpoints: Endpoints): i32 {
  const count = endpoints.length;
  if (count < 2) return count - 1;
  const first = randomBelow(count);
  let second = randomBelow(count - 1);
  if (second >= first) second++;
  const firstLoad = (<i64>endpoints.inFlight(first) + 1) * endpoints.weight(second);
  const secondLoad = (<i64>endpoints.inFlight(second) + 1) * endpoints.weight(first);
  return secondLoad < firstLoad ? second : first;
}
