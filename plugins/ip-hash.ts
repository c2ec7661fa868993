// The same client address goes to the same endpoint, on every thread and in every process, whatever the order of the
// list. Weighted rendezvous hashing: when an endpoint comes or goes, only the clients that it wins or held move.

import { Endpoints, Request } from "sluice/sdk";

export function pick(endpoints: Endpoints, req: Request): i32 {
  const client = hash(req.clientAddress);
  let best = -1;
  let most: u64 = 0;
  let weight = 0;
  for (let i = 0, count = endpoints.length; i < count; i++) {
    const drawn = mix(client ^ endpoints.hash(i));
    const candidateWeight = endpoints.weight(i);
    // Of equal weights the higher number wins as it is; the logarithm is for unequal ones alone.
    const wins = candidateWeight == weight ? drawn > most : score(drawn, candidateWeight) > score(most, weight);
    if (best < 0 || wins) {
      best = i;
      most = drawn;
      weight = candidateWeight;
    }
  }
  return best;
}

/** The highest score falls to each endpoint as often as its weight, when `drawn` is uniform. */
function score(drawn: u64, weight: i32): f64 {
  return -weight / Math.log((<f64>(drawn >> 11) + 0.5) / 9007199254740992);
}

/** FNV-1a, 64 bits. */
function hash(text: string): u64 {
  let value: u64 = 0xcbf29ce484222325;
  for (let i = 0; i < text.length; i++) value = (value ^ text.charCodeAt(i)) * 0x100000001b3;
  return value;
}

/** Spreads every bit of the input over all (the finaliser of splitmix64). */
function mix(value: u64): u64 {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}
