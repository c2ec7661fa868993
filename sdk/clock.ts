import { hexDigit } from "./base64";
import { widen } from "./bytes";
import { now as hostNow, now_precise, random as hostRandom, tick_every } from "./imports";
import { check } from "./status";

/** Milliseconds since 1970, updated every 50 ms. */
export function now(): f64 {
  return hostNow();
}

/**
 * Sets the interval of `onTick` in milliseconds, 50 to 86400000 (a day); 1000 by default. Available at the top of the
 * file, in `configure`, `onTick` and `onRestore`. Each worker calls `onTick` of its own guest.
 */
export function tickEvery(milliseconds: i32): void {
  check(tick_every(milliseconds), "cannot tick every", milliseconds.toString());
}

/**
 * Milliseconds since 1970 with fractions, to about a microsecond; monotonic within a worker, unaffected by changes of the
 * system clock: for durations. Requires `allow: { clock: precise }`.
 */
export function preciseNow(): f64 {
  return now_precise();
}

/** 32 random bits, not cryptographically secure (use `randomBytes`). */
export function random(): u32 {
  return <u32>hostRandom();
}

/** A random integer from 0 to `bound` - 1, uniformly distributed; not cryptographically secure. */
export function randomBelow(bound: u32): u32 {
  // The high half of a 32 × 32 bit product; the bias is below bound / 2^32.
  return <u32>((<u64>random() * <u64>bound) >> 32);
}

/** A random number in [0, 1) of 53 random bits; not cryptographically secure. */
export function randomFloat(): f64 {
  return (<f64>(random() >> 5) * 67108864 + <f64>(random() >> 6)) / 9007199254740992;
}

/** That many random hexadecimal digits, for ids in logs; not cryptographically secure. */
export function randomHex(digits: i32): string {
  const text = new StaticArray<u8>(digits);
  let bits: u32 = 0;
  for (let i = 0; i < digits; i++) {
    if ((i & 7) == 0) bits = random();
    unchecked((text[i] = hexDigit(<u8>(bits & 15))));
    bits >>= 4;
  }
  return widen(changetype<usize>(text), digits);
}
