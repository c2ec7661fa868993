/** The header names that are hidden from a plugin by its configuration (`allow.headers.hide`). Case-insensitive. */
export class HiddenNames {
  /** In lower case. */
  readonly #names: readonly Buffer[];

  constructor(names: readonly string[]) {
    this.#names = names.map((name) => Buffer.from(name.toLowerCase(), "latin1"));
  }

  has(bytes: Uint8Array, start: number, end: number): boolean {
    for (const name of this.#names) if (name.length === end - start && isName(name, bytes, start)) return true;
    return false;
  }
}

function isName(name: Buffer, bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < name.length; i++) {
    const byte = bytes[start + i]!;
    if ((byte >= 65 && byte <= 90 ? byte + 32 : byte) !== name[i]) return false;
  }
  return true;
}
