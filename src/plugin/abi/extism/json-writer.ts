/**
 * Writes JSON into a guest's memory without intermediate strings. Bytes of messages are written as the characters U+0000
 * to U+00FF, one per byte, so that values survive a round trip unchanged; names of the configuration as text.
 */
import { FIELD_WORDS, type Head, NAME_END, NAME_START, PARTS, VALUE_END, VALUE_START } from "../../../http/head.ts";
import type { HiddenNames } from "../hidden-names.ts";
import { isVisible } from "../visible-fields.ts";
import type { Kernel } from "./kernel.ts";

const QUOTE = 34;
const BACKSLASH = 92;

/** Most output bytes per byte or character. */
export const LONGEST = 6;
/** Words of a field in the kernel's table, and the bytes that the kernel reads and writes beyond the end of a text. */
const WORDS = 4;
const OVERRUN = 16;

/** Bytes in addition to the JSON that `request` or `fields` uses for a head. */
export function headRoom(head: Head): number {
  return 2 * OVERRUN + head.end + 4 * (PARTS + WORDS * head.count) + 8;
}

export class JsonWriter {
  #bytes: Buffer = Buffer.alloc(0);
  #kernel: Kernel | null = null;
  /** Beyond the JSON: where heads are copied to. */
  #beyond = 0;
  at = 0;

  /**
   * Starts writing to the kernel's memory from `at`, where `room` bytes of JSON and the `headRoom` of each head are
   * free.
   */
  begin(kernel: Kernel, bytes: Buffer, at: number, room: number): void {
    this.#kernel = kernel;
    this.#bytes = bytes;
    this.at = at;
    this.#beyond = (at + room + OVERRUN + 7) & -8;
  }

  /** Writes ASCII text without quotes. */
  raw(text: string): void {
    const bytes = this.#bytes;
    let { at } = this;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.at = at;
  }

  /** Writes `,"key":"text"`; nothing for an empty text. */
  member(key: string, text: string): void {
    if (text === "") return;
    this.raw(key);
    this.text(text);
  }

  /** Writes a key with its punctuation and a non-negative integer. */
  figure(key: string, value: number): void {
    this.raw(key);
    this.raw(String(value));
  }

  /** Writes text as a string. */
  text(text: string): void {
    const start = this.at;
    const bytes = this.#bytes;
    let at = start;
    bytes[at++] = QUOTE;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127 || code < 32 || code === QUOTE || code === BACKSLASH) {
        this.at = start + bytes.write(JSON.stringify(text), start, "utf8");
        return;
      }
      bytes[at++] = code;
    }
    bytes[at++] = QUOTE;
    this.at = at;
  }

  /** Writes `,"method":…,"authority":…,"path":…,"query":…,"headers":[…]`, the query only if there is one. */
  request(head: Head, hidden: HiddenNames | null): void {
    const words = this.#kernel!.words();
    const table = this.#copy(head);
    const { parts } = head;
    const word = table >>> 2;
    for (let i = 0; i < PARTS; i++) words[word + i] = parts[i]!;
    const count = list(words, word + PARTS, head, hidden);
    this.at = this.#kernel!.request(this.at, this.#beyond, table, count);
    this.#kernel!.clear(this.#beyond, table + 4 * (PARTS + WORDS * count));
  }

  /** Writes `[["name","value"],…]` in the order of the message, names in lower case. */
  fields(head: Head, hidden: HiddenNames | null): void {
    const table = this.#copy(head);
    const count = list(this.#kernel!.words(), table >>> 2, head, hidden);
    this.at = this.#kernel!.fields(this.at, this.#beyond, table, count);
    this.#kernel!.clear(this.#beyond, table + 4 * WORDS * count);
  }

  /** Copies the bytes of a head beyond the JSON; returns where its table begins. */
  #copy(head: Head): number {
    head.bytes.copy(this.#bytes, this.#beyond, 0, head.end);
    return (this.#beyond + head.end + OVERRUN + 3) & -4;
  }
}

/** Writes the offsets of the visible fields from `word`; returns their number. */
function list(words: Uint32Array, word: number, head: Head, hidden: HiddenNames | null): number {
  const { fields } = head;
  let count = 0;
  for (let index = 0; index < head.count; index++) {
    if (!isVisible(head, index, hidden)) continue;
    const from = index * FIELD_WORDS;
    const to = word + WORDS * count++;
    words[to] = fields[from + NAME_START]!;
    words[to + 1] = fields[from + NAME_END]!;
    words[to + 2] = fields[from + VALUE_START]!;
    words[to + 3] = fields[from + VALUE_END]!;
  }
  return count;
}
