import { now as hostNow, now_precise, random as hostRandom } from "./imports";

/** Milliseconds since 1970; it moves every 50 ms. */
export function now(): f64 {
  return hostNow();
}

/**
 * Milliseconds since 1970 with fractions, to about a microsecond; it never goes back, and does not follow a system
 * clock that is set while the proxy runs: for durations. The plugin's configuration must say `allow: { clock: precise }`.
 */
export function preciseNow(): f64 {
  return now_precise();
}

/** 32 random bits, not for secrets. */
export function random(): u32 {
  return <u32>hostRandom();
}

/** A random whole number from 0 to `bound` - 1, each as likely as the other. */
export function randomBelow(bound: u32): u32 {
  // The high half of a 32 × 32 bit product; the bias is below bound / 2^32.
  return <u32>((<u64>random() * <u64>bound) >> 32);
}
