/** The variables of one guest: they last from call to call until the guest is dropped. */
import { LIMITS } from "./interface.ts";

/** Bytes charged per variable in addition to its name and value. */
const ENTRY = 64;

export class Variables {
  readonly #values = new Map<string, Buffer>();
  #bytes = 0;

  get(key: string): Buffer | null {
    return this.#values.get(key) ?? null;
  }

  /** Whether a value of that length can be set. */
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
