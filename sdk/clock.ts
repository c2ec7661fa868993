import { hexDigit } from "./base64";
import { spell } from "./binary";
import { now as hostNow, now_precise, random as hostRandom, tick_every } from "./imports";
import { check } from "./status";

/** Milliseconds since 1970; it moves every 50 ms. */
export function now(): f64 {
  return hostNow();
}

/**
 * How often `onTick` is called, in milliseconds, 50 to 86400000 (a day); 1000 for a plugin that does not say. For the top
 * of the file, `configure`, `onTick` and `onRestore`. Each thread has a guest of its own, and calls its own.
 */
export function tickEvery(milliseconds: i32): void {
  check(tick_every(milliseconds), "cannot tick every", milliseconds.toString());
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

/** A random number from 0 up to but not including 1, of 53 random bits; not for secrets. */
export function randomFloat(): f64 {
  return (<f64>(random() >> 5) * 67108864 + <f64>(random() >> 6)) / 9007199254740992;
}

/** So many random hexadecimal digits, for names in logs; not for secrets. */
export function randomHex(digits: i32): string {
  const text = new StaticArray<u8>(digits);
  let bits: u32 = 0;
  for (let i = 0; i < digits; i++) {
    if ((i & 7) == 0) bits = random();
    unchecked((text[i] = hexDigit(<u8>(bits & 15))));
    bits >>= 4;
  }
  return spell(changetype<usize>(text), digits);
}
