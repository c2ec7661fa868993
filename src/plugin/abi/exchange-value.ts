/**
 * A value that a hook has set in its exchange, with the value that it replaced. Two hooks of one exchange can be suspended
 * at the same time, one per direction. A rollback must neither restore a value that was itself reverted, nor replace one
 * that the other hook has set meanwhile.
 */
import type { ExchangeMemory } from "./host-memory.ts";

/** Bytes of an entry in addition to its key and value. */
const ENTRY = 256;
const NOTHING = new Uint8Array(0);

export class ExchangeValue {
  readonly key: string;
  bytes: Uint8Array;
  /** The value that is restored if this one is dropped; null: none, or the hook has succeeded. */
  #before: ExchangeValue | null;
  #dropped = false;
  /** Where its size is charged; null: not charged, or refunded. */
  #account: ExchangeMemory | null;
  /** The call that set it, while it runs: it can replace the bytes without another entry. */
  setter: object | null;

  constructor(
    key: string,
    bytes: Uint8Array,
    before: ExchangeValue | null,
    account: ExchangeMemory | null = null,
    setter: object | null = null,
  ) {
    this.key = key;
    this.bytes = bytes;
    this.#before = before;
    this.#account = account;
    this.setter = setter;
    account?.add(this.size);
  }

  /** Charged bytes of an entry. */
  static sizeOf(key: string, length: number): number {
    return ENTRY + key.length + length;
  }

  get size(): number {
    return ExchangeValue.sizeOf(this.key, this.bytes.length);
  }

  /** Replaces the bytes by a copy, for the call that set them. In place if possible: garbage delays all requests. */
  replace(bytes: Uint8Array): void {
    if (bytes.length === this.bytes.length) {
      this.bytes.set(bytes);
      return;
    }
    this.#account?.add(bytes.length - this.bytes.length);
    this.bytes = Buffer.from(bytes);
  }

  /** Reverts the value: its hook has failed. */
  drop(): void {
    this.#dropped = true;
    this.#release();
    this.bytes = NOTHING;
  }

  /**
   * The hook that set it has ended. A reverted entry keeps the reference to its predecessor for entries that replaced
   * it.
   */
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

  /** This value, or the last one before it that was not reverted; null: none. */
  get current(): ExchangeValue | null {
    for (let value: ExchangeValue | null = this; value !== null; value = value.#before)
      if (!value.#dropped) return value;
    return null;
  }
}
