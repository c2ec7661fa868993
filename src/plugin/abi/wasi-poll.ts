/**
 * `poll_oneoff` of WASI: runtimes sleep by it. A hook cannot wait, so a sleep ends at once and moves the guest's clock to
 * its end; the real time catches up later.
 */
import type { GuestMemory } from "./memory.ts";

/** Bytes of a subscription and of an event, and offsets in them. */
export const SUBSCRIPTION = 48;
export const EVENT = 32;
const IN = { tag: 8, descriptor: 16, clock: 16, timeout: 24, flags: 40 } as const;
const OUT = { error: 8, type: 10 } as const;
const TAG = { clock: 0, read: 1, write: 2 } as const;
const ABSOLUTE = 1;
const BAD_DESCRIPTOR = 8;
const INVALID = 28;
const LAST_DESCRIPTOR = 2;
const MOST = 2n ** 64n - 1n;

/** The guest's clock: the host's, or the end of the last sleep if that is later. */
export class SleptClock {
  #until = 0n;
  readonly #now: () => bigint;

  /** `now`: nanoseconds since 1970. */
  constructor(now: () => bigint) {
    this.#now = now;
  }

  get now(): bigint {
    const now = this.#now();
    if (now < this.#until) return this.#until;
    return now;
  }

  skipTo(time: bigint): void {
    if (time > this.#until) this.#until = time > MOST ? MOST : time;
  }
}

/**
 * Reads `count` subscriptions from `from`, which does not overlap the events: those of standard descriptors are ready at
 * once; without one, the earliest sleep ends. Writes the events to `to`; returns their number.
 */
export function poll(clock: SleptClock, { bytes }: GuestMemory, from: number, to: number, count: number): number {
  const subscriptions = Buffer.from(bytes.subarray(from, from + SUBSCRIPTION * count));
  const { now } = clock;
  let earliest = -1n;
  let events = 0;
  const write = (at: number, error: number) => {
    const event = to + EVENT * events++;
    bytes.fill(0, event, event + EVENT);
    subscriptions.copy(bytes, event, at, at + 8);
    bytes.writeUInt16LE(error, event + OUT.error);
    bytes[event + OUT.type] = subscriptions[at + IN.tag]!;
  };
  for (let at = 0; at < subscriptions.length; at += SUBSCRIPTION) {
    const tag = subscriptions[at + IN.tag]!;
    if (tag === TAG.clock && subscriptions.readUInt32LE(at + IN.clock) <= 1) {
      const end = endOf(now, subscriptions, at);
      if (earliest < 0n || end < earliest) earliest = end;
    } else if (tag === TAG.read || tag === TAG.write)
      write(at, subscriptions.readUInt32LE(at + IN.descriptor) > LAST_DESCRIPTOR ? BAD_DESCRIPTOR : 0);
    else write(at, INVALID);
  }
  if (events > 0) return events;
  for (let at = 0; at < subscriptions.length; at += SUBSCRIPTION)
    if (endOf(now, subscriptions, at) <= earliest) write(at, 0);
  clock.skipTo(earliest);
  return events;
}

/** When a sleep ends. */
function endOf(now: bigint, subscriptions: Buffer, at: number): bigint {
  const timeout = subscriptions.readBigUInt64LE(at + IN.timeout);
  return (subscriptions.readUInt16LE(at + IN.flags) & ABSOLUTE) === ABSOLUTE ? timeout : now + timeout;
}
