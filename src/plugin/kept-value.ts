/**
 * A value that a hook has kept in its exchange, and what it took the place of. Two hooks of one exchange may wait at one
 * time, one in each direction: what a failure puts back must be neither a value that failed itself, nor instead of one
 * that the other has set since.
 */
export class KeptValue {
  readonly key: string;
  readonly bytes: Uint8Array;
  /** Stands again if this one is dropped; null: nothing did, or the hook has ended well. */
  #before: KeptValue | null;
  #dropped = false;

  constructor(key: string, bytes: Uint8Array, before: KeptValue | null) {
    this.key = key;
    this.bytes = bytes;
    this.#before = before;
  }

  /** The hook that set it has failed. */
  drop(): void {
    this.#dropped = true;
  }

  /** The hook that set it has ended. What was dropped still tells what stood before it to a value that was set over it. */
  settle(): void {
    if (!this.#dropped) this.#before = null;
  }

  /** This one, or what stood before those that were dropped; null for nothing. */
  get standing(): KeptValue | null {
    for (let value: KeptValue | null = this; value !== null; value = value.#before) if (!value.#dropped) return value;
    return null;
  }
}
