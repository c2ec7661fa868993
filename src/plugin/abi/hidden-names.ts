/** The header names that are hidden from a plugin by its configuration (`allow.headers.hide`). Case-insensitive. */
import { equalsWord } from "../../http/bytes.ts";

export class HiddenNames {
  /** In lower case. */
  readonly #names: readonly Buffer[];

  constructor(names: readonly string[]) {
    this.#names = names.map((name) => Buffer.from(name.toLowerCase(), "latin1"));
  }

  has(bytes: Uint8Array, start: number, end: number): boolean {
    for (const name of this.#names) if (equalsWord(bytes, start, end, name)) return true;
    return false;
  }
}
