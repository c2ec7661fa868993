/**
 * A message head, neutral of the protocol that carried it: one byte area and one table of offsets into it.
 *
 * HTTP/1 fills it by scanning (`scan.ts`); HTTP/2 can write its fields into the area. Every offset is an index into
 * `bytes`. Bytes below `end` are in use; edits append and never move earlier bytes, so an offset stays valid until
 * `reset`.
 */

import { toLower } from "./bytes.ts";
import { VERSION } from "./protocol.ts";

/** Words of the field table for each field: where its name and value begin and end, and which known name it is. */
export const FIELD_WORDS = 5;
export const NAME_START = 0;
export const NAME_END = 1;
export const VALUE_START = 2;
export const VALUE_END = 3;
export const NAME_ID = 4;

/** Names that the core handles itself. 0 is any other name; REMOVED marks a field removed by an edit. */
export const NAME = {
  other: 0,
  host: 1,
  connection: 2,
  "keep-alive": 3,
  "proxy-connection": 4,
  te: 5,
  trailer: 6,
  "transfer-encoding": 7,
  upgrade: 8,
  "proxy-authenticate": 9,
  "proxy-authorization": 10,
  "http2-settings": 11,
  "content-length": 12,
  expect: 13,
  via: 14,
  "x-forwarded-for": 15,
  "x-forwarded-proto": 16,
  "x-forwarded-host": 17,
  date: 18,
  server: 19,
  "content-type": 20,
  cookie: 21,
  forwarded: 22,
  "set-cookie": 23,
  "x-real-ip": 24,
  "x-forwarded-port": 25,
  /** Any other X-Forwarded-*. */
  "x-forwarded-other": 26,
  /** An alias (`aliases.ts`) of a name that the core writes or interprets, such as `X_Forwarded_For`: never forwarded. */
  lookalike: 27,
  /** Hop-by-hop because Connection names it: never forwarded. */
  nominated: 28,
} as const;
export const REMOVED = 255;

/** Hop-by-hop names (RFC 9110 section 7.6.1), and those of framing, which each hop chooses itself. */
export const HOP_BY_HOP: readonly number[] = [
  NAME.connection,
  NAME["keep-alive"],
  NAME["proxy-connection"],
  NAME.te,
  NAME.trailer,
  NAME["transfer-encoding"],
  NAME.upgrade,
  NAME["proxy-authenticate"],
  NAME["proxy-authorization"],
  NAME["http2-settings"],
  NAME["content-length"],
];

/** How the length of the message's body is determined (RFC 9112 section 6.3). */
export const FRAMING = { none: 0, length: 1, chunked: 2, close: 3 } as const;

/** Bits of `Head.flags`. */
export const FLAG = {
  /** The connection can be used for another message. */
  keepAlive: 1,
  /** `Expect: 100-continue` was sent. */
  expectContinue: 2,
  /** Connection names `upgrade` and an Upgrade field is present. */
  upgrade: 4,
  /** `TE: trailers` was sent. */
  teTrailers: 8,
  /** The target was in absolute-form: its authority replaces Host. */
  absolute: 16,
  /** An extended CONNECT (RFC 8441), read as a GET with Upgrade: a response of class 2xx would open the tunnel. */
  connect: 32,
} as const;

/**
 * Parts of a request's start line: indices into `parts`, two words (start, end) each. A query that is present but empty
 * (`/a?`) has start = end, neither of them 0. The scheme of a target in absolute-form is not kept: the client chooses it.
 */
export const PART = { method: 0, authority: 2, path: 4, query: 6 } as const;
export const PARTS = 8;

/** What makes a path ambiguous: other programs read these differently; bits of `Head.doubts`. */
export const DOUBT = {
  /** `//`, which many read as one slash. */
  slashes: 1,
  /** `%2F`, which many read as a slash. */
  encodedSlash: 2,
  /** An escape of another character that is allowed unescaped in a path, such as `%2B`. */
  escape: 4,
  /** `;`, at which Java servers truncate a segment. */
  parameter: 8,
} as const;

/** How paths are normalised beyond RFC 3986; bits of `Head.form`. */
export const FORM = { mergeSlashes: 1, decodeSlashes: 2, rejectSlashes: 4 } as const;

/** Upper bound of a byte area in bytes, plugins' additions included. */
export const MAX_AREA = 1024 * 1024;

const SEPARATOR = Buffer.from(": ", "latin1");
const LINE_END = Buffer.from("\r\n", "latin1");

/** Tables that only a head which a plugin edits has. */
const NONE = new Uint32Array(0);

export class Head {
  bytes: Buffer;
  /** The first free byte of `bytes`. */
  end = 0;
  /** Length in bytes of the head as received; 0 for one that was generated locally. */
  received = 0;
  /** Start and end of each start-line part; an absent part has start = end. The query is without its `?`. */
  readonly parts = new Uint32Array(PARTS);
  fields: Uint32Array;
  /** Fields in the table, removed ones included. */
  count = 0;
  /** Response: the status code. Request: 0. */
  status = 0;
  /** The sender's version of HTTP: one of VERSION. */
  version: number = VERSION.http11;
  flags = 0;
  /** One of FRAMING. */
  framing = 0;
  /** The body's length in bytes when `framing` is `length`. */
  length = 0;
  /** What makes the path ambiguous, bits of DOUBT. A bit may stay set after an edit has removed its cause. */
  doubts = 0;
  /** How its paths are normalised, bits of FORM; set by the scan. */
  form = 0;
  /** Why the scan rejected this head, for the log; empty when it did not. */
  problem = "";
  /** Known names pushed so far, one bit for each NAME id: a clear bit avoids the search. */
  known = 0;

  // Copies made by `save`, to drop the edits of a failing hook together.
  #savedEnd = 0;
  #savedCount = 0;
  #savedStatus = 0;
  #savedParts = NONE;
  #savedFields = NONE;

  constructor(area = 2048, fields = 32) {
    this.bytes = Buffer.allocUnsafeSlow(area);
    this.fields = new Uint32Array(fields * FIELD_WORDS);
  }

  /** Clears the head; keeps its memory. */
  reset(): void {
    this.end = 0;
    this.count = 0;
    this.received = 0;
    this.status = 0;
    this.version = VERSION.http11;
    this.flags = 0;
    this.framing = 0;
    this.length = 0;
    this.doubts = 0;
    this.form = 0;
    this.problem = "";
    this.known = 0;
    const parts = this.parts;
    for (let i = 0; i < PARTS; i++) parts[i] = 0;
  }

  /** Ensures capacity for `more` bytes after `end`. @throws RangeError above MAX_AREA. */
  reserve(more: number): void {
    const need = this.end + more;
    if (need <= this.bytes.length) return;
    if (need > MAX_AREA) throw new RangeError(`a head of ${need} bytes is over the limit of ${MAX_AREA}`);
    const grown = Buffer.allocUnsafeSlow(Math.min(MAX_AREA, Math.max(need, this.bytes.length * 2)));
    grown.set(this.bytes.subarray(0, this.end));
    this.bytes = grown;
  }

  /** Adds a field whose bytes are already in the area to the table. Returns its index. */
  push(nameStart: number, nameEnd: number, valueStart: number, valueEnd: number, id: number): number {
    let at = this.count * FIELD_WORDS;
    if (at + FIELD_WORDS > this.fields.length) {
      const grown = new Uint32Array(this.fields.length * 2);
      grown.set(this.fields);
      this.fields = grown;
    }
    const fields = this.fields;
    fields[at++] = nameStart;
    fields[at++] = nameEnd;
    fields[at++] = valueStart;
    fields[at++] = valueEnd;
    fields[at] = id;
    this.known |= 1 << id;
    return this.count++;
  }

  /** The index of the first field at or after `from` whose known name is `id`, or -1. */
  findKnown(id: number, from = 0): number {
    if ((this.known & (1 << id)) === 0) return -1;
    const fields = this.fields;
    for (let i = from, at = from * FIELD_WORDS + NAME_ID; i < this.count; i++, at += FIELD_WORDS)
      if (fields[at] === id) return i;
    return -1;
  }

  /**
   * The index of the `nth` field (0 the first) named by `name[start, end)`, or -1. Names compare
   * case-insensitively (ASCII). Skips removed, hop-by-hop and alias fields.
   */
  find(name: Uint8Array, start: number, end: number, nth = 0): number {
    const { fields, bytes, count } = this;
    const length = end - start;
    for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS) {
      const nameStart = fields[at]!;
      if (fields[at + NAME_END]! - nameStart !== length || fields[at + NAME_ID]! >= NAME.lookalike) continue;
      let k = 0;
      while (k < length && toLower(bytes[nameStart + k]!) === toLower(name[start + k]!)) k++;
      if (k === length && nth-- === 0) return i;
    }
    return -1;
  }

  /** Copies `source[start, end)` into the area; returns its offset. */
  append(source: Uint8Array, start: number, end: number): number {
    const length = end - start;
    const at = this.end;
    this.reserve(length);
    const bytes = this.bytes;
    if (length < 32) for (let i = 0; i < length; i++) bytes[at + i] = source[start + i]!;
    else bytes.set(source.subarray(start, end), at);
    this.end = at + length;
    return at;
  }

  /**
   * Adds a field after all others. The caller has validated name and value (`fields.ts`). It is stored as it will
   * be sent, separators included, so that the writer can copy adjacent fields as one run.
   */
  add(name: Uint8Array, value: Uint8Array, id: number): void {
    const nameStart = this.append(name, 0, name.length);
    this.append(SEPARATOR, 0, 2);
    const valueStart = this.append(value, 0, value.length);
    this.append(LINE_END, 0, 2);
    this.push(nameStart, nameStart + name.length, valueStart, valueStart + value.length, id);
  }

  /** Removes the fields with these known names, a bit for each id. */
  removeKnown(names: number): void {
    for (let i = 0, at = NAME_ID; i < this.count; i++, at += FIELD_WORDS) {
      const id = this.fields[at]!;
      if (id < NAME.lookalike && (names & (1 << id)) !== 0) this.removeAt(i);
    }
    this.known &= ~names;
  }

  /** Removes field `index`. */
  removeAt(index: number): void {
    this.fields[index * FIELD_WORDS + NAME_ID] = REMOVED;
  }

  /** Replaces a start-line part (one of PART). The caller has validated the bytes. An empty value removes it. */
  setPart(part: number, value: Uint8Array, start: number, end: number): void {
    if (start === end) {
      this.parts[part] = this.parts[part + 1] = 0;
      return;
    }
    const at = this.append(value, start, end);
    this.parts[part] = at;
    this.parts[part + 1] = at + (end - start);
  }

  /** Where the value of field `index` begins in `bytes`, and where it ends. */
  valueStart(index: number): number {
    return this.fields[index * FIELD_WORDS + VALUE_START]!;
  }

  valueEnd(index: number): number {
    return this.fields[index * FIELD_WORDS + VALUE_END]!;
  }

  /** Makes `bytes[start, end)`, which are in the area, the value of field `index`. */
  setValue(index: number, start: number, end: number): void {
    this.fields[index * FIELD_WORDS + VALUE_START] = start;
    this.fields[index * FIELD_WORDS + VALUE_END] = end;
  }

  /** Replaces the value of field `index`. The caller has validated it. */
  replaceValue(index: number, value: Uint8Array): void {
    this.setValue(index, this.append(value, 0, value.length), this.end);
  }

  /** The bytes of a part or field as a string, one code unit per byte. For cold paths: logs, errors, tests. */
  text(start: number, end: number): string {
    return this.bytes.toString("latin1", start, end);
  }

  partText(part: number): string {
    return this.text(this.parts[part]!, this.parts[part + 1]!);
  }

  /** The name of field `index` as it was written, like `text`. */
  nameText(index: number): string {
    const at = index * FIELD_WORDS;
    return this.text(this.fields[at + NAME_START]!, this.fields[at + NAME_END]!);
  }

  /** The value of field `index`, like `text`. */
  valueText(index: number): string {
    return this.text(this.valueStart(index), this.valueEnd(index));
  }

  /** The value of the first field of that (lower-case or any-case) name as a string, or undefined. Cold. */
  get(name: string): string | undefined {
    const bytes = Buffer.from(name, "latin1");
    const index = this.find(bytes, 0, bytes.length);
    return index < 0 ? undefined : this.valueText(index);
  }

  /** Saves the head for `restore`. One level: a second save replaces the first. */
  save(): void {
    this.#savedEnd = this.end;
    this.#savedCount = this.count;
    this.#savedStatus = this.status;
    if (this.#savedParts === NONE) this.#savedParts = new Uint32Array(PARTS);
    const savedParts = this.#savedParts;
    for (let i = 0; i < PARTS; i++) savedParts[i] = this.parts[i]!;
    const words = this.count * FIELD_WORDS;
    if (this.#savedFields.length < words) this.#savedFields = new Uint32Array(this.fields.length);
    const { fields } = this;
    const saved = this.#savedFields;
    for (let i = 0; i < words; i++) saved[i] = fields[i]!;
  }

  /** A copy with separate memory, no larger than its content. */
  copy(): Head {
    const head = new Head(this.end, this.count);
    this.bytes.copy(head.bytes, 0, 0, this.end);
    head.fields.set(this.fields.subarray(0, this.count * FIELD_WORDS));
    head.parts.set(this.parts);
    head.end = this.end;
    head.received = this.received;
    head.count = this.count;
    head.known = this.known;
    head.status = this.status;
    head.version = this.version;
    head.flags = this.flags;
    head.framing = this.framing;
    head.length = this.length;
    return head;
  }

  /** Restores the head as of the last `save`. */
  restore(): void {
    this.end = this.#savedEnd;
    this.count = this.#savedCount;
    this.status = this.#savedStatus;
    this.parts.set(this.#savedParts);
    const words = this.#savedCount * FIELD_WORDS;
    for (let i = 0; i < words; i++) this.fields[i] = this.#savedFields[i]!;
  }
}

/** Records why a head is rejected; returns `-status`, which scans pass on. */
export function reject(head: Head, status: number, problem: string): number {
  head.problem = problem;
  return -status;
}
