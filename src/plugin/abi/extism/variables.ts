/** The variables of one guest: they are kept from call to call, and are gone with the guest. */
import { LIMITS } from "./interface.ts";

/** Bytes that one takes beside its name and its value. */
const ENTRY = 64;

export class Variables {
  readonly #values = new Map<string, Buffer>();
  #bytes = 0;

  get(key: string): Buffer | null {
    return this.#values.get(key) ?? null;
  }

  /** Whether there is room for it. */
  fits(key: string, length: number): boolean {
    if (!this.#values.has(key) && this.#values.size >= LIMITS.varCount) return false;
    return this.#bytes - this.#sizeOf(key) + ENTRY + key.length + length <= LIMITS.vars;
  }

  set(key: string, value: Buffer): void {
    this.#bytes += ENTRY + key.length + value.length - this.#sizeOf(key);
    this.#values.set(key, value);
  }

  delete(key: string): void {
    this.#bytes -= this.#sizeOf(key);
    this.#values.delete(key);
  }

  #sizeOf(key: string): number {
    const value = this.#values.get(key);
    return value === undefined ? 0 : ENTRY + key.length + value.length;
  }
}
