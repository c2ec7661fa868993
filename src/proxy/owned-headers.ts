/** Request headers that filters own (`header_own`): no spelling of one that the client sent reaches the endpoint. */
import { isAlias, removeAliases } from "../http/aliases.ts";
import { FIELD_WORDS, Head, NAME, NAME_END, NAME_START } from "../http/head.ts";

const AREA = 128;
const NAMES = 4;
/** Bytes. A larger area is not reused for the next request. */
const MAX_AREA = 4096;

export class OwnedHeaders {
  /** The names, as fields without values. */
  #names = new Head(AREA, NAMES);

  get count(): number {
    return this.#names.count;
  }

  add(name: Uint8Array, start: number, end: number): void {
    const names = this.#names;
    if (this.has(name, start, end)) return;
    const at = names.append(name, start, end);
    names.push(at, at + end - start, 0, 0, NAME.other);
  }

  /** Whether a server may read the name as one of these. */
  has(name: Uint8Array, start: number, end: number): boolean {
    const { bytes, fields, count } = this.#names;
    for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS)
      if (isAlias(bytes, fields[at + NAME_START]!, fields[at + NAME_END]!, name, start, end)) return true;
    return false;
  }

  /** Keeps only the first `count` names. */
  truncate(count: number): void {
    this.#names.count = count;
  }

  /** Removes every field of `head` that a server may read as one of the names. */
  removeFrom(head: Head): void {
    const { bytes, fields, count } = this.#names;
    for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS)
      removeAliases(head, bytes, fields[at + NAME_START]!, fields[at + NAME_END]!);
  }

  reset(): void {
    if (this.#names.bytes.length > MAX_AREA) this.#names = new Head(AREA, NAMES);
    else this.#names.reset();
  }
}
