/**
 * A lock in shared memory: a word with the owner's number, 0 if it is free. Critical sections take microseconds, so a
 * thread spins first, and blocks for a few milliseconds if the owner is descheduled. The lock of a terminated thread is
 * released by the supervisor, after it has repaired the data.
 */

const SPINS = 64;
const WAITS = 10;
const WAIT_MS = 1;

/** Two words from `index`: the owner, and whether a thread is blocked. */
export function acquire(words: Int32Array<SharedArrayBuffer>, index: number, owner: number): boolean {
  return Atomics.compareExchange(words, index, 0, owner) === 0 || acquireSlowly(words, index, owner);
}

function acquireSlowly(words: Int32Array<SharedArrayBuffer>, index: number, owner: number): boolean {
  for (let spin = 0; spin < SPINS; spin++) if (Atomics.compareExchange(words, index, 0, owner) === 0) return true;
  for (let wait = 0; wait < WAITS; wait++) {
    const current = Atomics.compareExchange(words, index, 0, owner);
    if (current === 0) return true;
    // The timeout bounds the effect of a lost wake-up.
    Atomics.store(words, index + 1, 1);
    Atomics.wait(words, index, current, WAIT_MS);
  }
  return Atomics.compareExchange(words, index, 0, owner) === 0;
}

export function release(words: Int32Array<SharedArrayBuffer>, index: number): void {
  Atomics.store(words, index, 0);
  if (words[index + 1] === 0) return;
  words[index + 1] = 0;
  Atomics.notify(words, index);
}

export function ownerOf(words: Int32Array<SharedArrayBuffer>, index: number): number {
  return Atomics.load(words, index);
}
