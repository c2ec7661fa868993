/**
 * A value that a hook has kept in its exchange, and what it took the place of. Two hooks of one exchange may wait at one
 * time, one in each direction: what a failure puts back must be neither a value that failed itself, nor instead of one
 * that the other has set since.
 */
import type { Kept } from "./host-memory.ts";

/** Bytes that an entry takes beside its key and its value. */
const ENTRY = 256;
const NOTHING = new Uint8Array(0);

export class ExchangeValue {
  readonly key: string;
  bytes: Uint8Array;
  /** Stands again if this one is dropped; null: nothing did, or the hook has ended well. */
  #before: ExchangeValue | null;
  #dropped = false;
  /** Where it is charged to; null: nowhere, or no more. */
  #account: Kept | null;
  /** The call that set it, while it runs: it may put another in its place, and nothing stands again for that. */
  setter: object | null;

  constructor(
    key: string,
    bytes: Uint8Array,
    before: ExchangeValue | null,
    account: Kept | null = null,
    setter: object | null = null,
  ) {
    this.key = key;
    this.bytes = bytes;
    this.#before = before;
    this.#account = account;
    this.setter = setter;
    account?.add(this.size);
  }

  /** Bytes that one takes. */
  static sizeOf(key: string, length: number): number {
    return ENTRY + key.length + length;
  }

  get size(): number {
    return ExchangeValue.sizeOf(this.key, this.bytes.length);
  }

  /** The call that set it sets another. */
  replace(bytes: Uint8Array): void {
    this.#account?.add(bytes.length - this.bytes.length);
    this.bytes = bytes;
  }

  /** The hook that set it has failed. */
  drop(): void {
    this.#dropped = true;
    this.#release();
    this.bytes = NOTHING;
  }

  /** The hook that set it has ended. What was dropped still tells what stood before it to a value that was set over it. */
  settle(): void {
    this.setter = null;
    if (this.#dropped) return;
    for (let value = this.#before; value !== null; value = value.#before) value.#release();
    this.#before = null;
  }

  #release(): void {
    this.#account?.add(-this.size);
    this.#account = null;
  }

  /** This one, or what stood before those that were dropped; null for nothing. */
  get current(): ExchangeValue | null {
    for (let value: ExchangeValue | null = this; value !== null; value = value.#before)
      if (!value.#dropped) return value;
    return null;
  }
}
