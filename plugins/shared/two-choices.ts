import { Endpoints, randomBelow } from "sluice/sdk";

/**
 * Power of two choices: of two random endpoints the index of the one with the lower cost; -1 without endpoints. The
 * distribution is nearly as even as with the lowest cost of all, in constant time, and workers do not all pick the same
 * endpoint.
 */
export function pickOfTwo(endpoints: Endpoints, cost: (endpoints: Endpoints, index: i32) => f64): i32 {
  const count = endpoints.length;
  if (count < 2) return count - 1;
  const first = randomBelow(count);
  let second = randomBelow(count - 1);
  if (second >= first) second++;
  return cost(endpoints, second) < cost(endpoints, first) ? second : first;
}

/** The requests in flight per weight, with the one to be placed. */
export function load(endpoints: Endpoints, index: i32): f64 {
  return (<f64>endpoints.inFlight(index) + 1) / <f64>endpoints.weight(index);
}
