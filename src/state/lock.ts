/**
 * A lock in shared memory: a word that holds its owner's number, 0 when it is free. What it guards takes microseconds,
 * so a thread that finds it locked spins; when the owner is descheduled it waits a few milliseconds. A terminated thread
 * unlocks nothing: the supervisor does, after repairing what the lock guards.
 */

const SPINS = 64;
const WAITS = 10;
const WAIT_MS = 1;

/** Two words from `index`: the owner, and whether a thread waits. */
export function acquire(words: Int32Array<SharedArrayBuffer>, index: number, owner: number): boolean {
  return Atomics.compareExchange(words, index, 0, owner) === 0 || acquireSlowly(words, index, owner);
}

function acquireSlowly(words: Int32Array<SharedArrayBuffer>, index: number, owner: number): boolean {
  for (let spin = 0; spin < SPINS; spin++) if (Atomics.compareExchange(words, index, 0, owner) === 0) return true;
  for (let wait = 0; wait < WAITS; wait++) {
    const current = Atomics.compareExchange(words, index, 0, owner);
    if (current === 0) return true;
    // A lost wake-up is bounded by the time limit.
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
