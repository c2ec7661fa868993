// Weighted rendezvous hashing (highest random weight): each endpoint gets a score from a key and its address, and the
// highest one is picked. The result is the same in every worker and process, independent of the order of the list; when an
// endpoint is added or removed, only the keys that it gets or had are moved.

import { Endpoints } from "sluice/sdk";

/**
 * The index of the endpoint with the highest score; -1 without endpoints. `balanceFactor` bounds the load (consistent
 * hashing with bounded loads, arXiv 1608.01350): an endpoint whose requests in flight are at this percentage of its share
 * is passed over for the next score. At least 100, so that one is always below; 0 for no bound.
 */
export function pickByHash(endpoints: Endpoints, key: u64, balanceFactor: i32 = 0): i32 {
  const count = endpoints.length;
  let inFlight: i64 = 1;
  let weights: i64 = 0;
  if (balanceFactor) {
    for (let i = 0; i < count; i++) {
      inFlight += endpoints.inFlight(i);
      weights += endpoints.weight(i);
    }
  }
  let best = -1;
  let bestValue: u64 = 0;
  let bestWeight = 0;
  for (let i = 0; i < count; i++) {
    const value = mix(key ^ endpoints.hash(i));
    const weight = endpoints.weight(i);
    // With equal weights the higher hash wins; only unequal weights need the logarithm.
    const wins = best < 0 || (weight == bestWeight ? value > bestValue : score(value, weight) > score(bestValue, bestWeight));
    if (!wins || (balanceFactor && <i64>endpoints.inFlight(i) * weights * 100 >= inFlight * weight * balanceFactor)) continue;
    best = i;
    bestValue = value;
    bestWeight = weight;
  }
  return best;
}

/** If `value` is uniformly distributed, an endpoint has the highest score with a probability proportional to its weight. */
function score(value: u64, weight: i32): f64 {
  return -weight / Math.log((<f64>(value >> 11) + 0.5) / 9007199254740992);
}

/** FNV-1a, 64 bits; `seed` is the hash of what comes before. */
export function hash(text: string, seed: u64 = 0xcbf29ce484222325): u64 {
  for (let i = 0; i < text.length; i++) seed = (seed ^ text.charCodeAt(i)) * 0x100000001b3;
  return seed;
}

/** Mixes the bits (finaliser of splitmix64). */
function mix(value: u64): u64 {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}
