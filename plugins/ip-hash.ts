// Consistent selection by client address: the same address selects the same endpoint in every worker and process,
// independent of the order of the list. Weighted rendezvous hashing: when an endpoint is added or removed, only the clients
// that it gets or had are moved.

import { Endpoints, Request } from "sluice/sdk";

export function pick(endpoints: Endpoints, req: Request): i32 {
  const client = hash(req.clientAddress);
  let best = -1;
  let bestValue: u64 = 0;
  let bestWeight = 0;
  for (let i = 0, count = endpoints.length; i < count; i++) {
    const value = mix(client ^ endpoints.hash(i));
    const weight = endpoints.weight(i);
    // With equal weights the higher hash wins; only unequal weights need the logarithm.
    const wins = weight == bestWeight ? value > bestValue : score(value, weight) > score(bestValue, bestWeight);
    if (best < 0 || wins) {
      best = i;
      bestValue = value;
      bestWeight = weight;
    }
  }
  return best;
}

/** If `value` is uniformly distributed, an endpoint has the highest score with a probability proportional to its weight. */
function score(value: u64, weight: i32): f64 {
  return -weight / Math.log((<f64>(value >> 11) + 0.5) / 9007199254740992);
}

/** FNV-1a, 64 bits. */
function hash(text: string): u64 {
  let value: u64 = 0xcbf29ce484222325;
  for (let i = 0; i < text.length; i++) value = (value ^ text.charCodeAt(i)) * 0x100000001b3;
  return value;
}

/** Mixes the bits (finaliser of splitmix64). */
function mix(value: u64): u64 {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}
