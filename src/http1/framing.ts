/** Decodes a message body and determines its end (RFC 9112 sections 6 and 7). */

import { BACKSLASH, CLASS, CR, EQUALS, hexValue, IS, isBlank, LF, QUOTE, SEMICOLON } from "../http/bytes.ts";
import { FRAMING, Head } from "../http/head.ts";
import { KIND, scanFields } from "./scan-fields.ts";

const MOST_SIZE_DIGITS = 16;
const MOST_EXTENSION_BYTES = 16 * 1024;
const MOST_TRAILER_BYTES = 16 * 1024;
const MOST_TRAILER_FIELDS = 100;

const STATE = {
  done: 0,
  /** Body bytes, `left` of them. */
  length: 1,
  close: 2,
  size: 3,
  sizeLf: 4,
  data: 5,
  dataCr: 6,
  dataLf: 7,
  /** After the last chunk. */
  trailerStart: 8,
  trailers: 9,
  endLf: 10,
  broken: 11,
  /** From here on: behind a chunk size, in extensions: `;name`, `;name=token` or `;name="quoted"`, with blanks between. */
  extension: 12,
  extensionName: 13,
  extensionEquals: 14,
  extensionToken: 15,
  extensionQuoted: 16,
  extensionEscape: 17,
  extensionEnd: 18,
  /** Blanks behind a size, a value or a quoted string: an extension follows, or the line is padded. */
  padding: 19,
  /** Blanks behind a name: the same, or its value follows. */
  namePadding: 20,
} as const;

/**
 * An incremental decoder. Decoded bytes of one read are left contiguous in the buffer passed in, so a body of known
 * length costs nothing per byte, and a chunked one a move within the buffer.
 */
export class BodyReader {
  /** The body bytes of the last read: `buf[dataStart, dataEnd)`. */
  dataStart = 0;
  dataEnd = 0;
  done = true;
  /** Why the body is malformed; empty while it is valid. A malformed body ends the exchange. */
  problem = "";
  /** The trailer fields of a chunked body; null without any. */
  trailers: Head | null = null;
  /** Body bytes so far. */
  received = 0;

  #state: number = STATE.done;
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #isResponse = false;

  /** A response may pad the lines of its chunk sizes with blanks; its chunks are reframed. */
  begin(framing: number, length: number, isResponse: boolean): void {
    this.dataStart = this.dataEnd = 0;
    this.problem = "";
    this.trailers = null;
    this.received = 0;
    this.#left = framing === FRAMING.length ? length : 0;
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#isResponse = isResponse;
    if (framing === FRAMING.chunked) this.#state = STATE.size;
    else if (framing === FRAMING.close) this.#state = STATE.close;
    else this.#state = this.#left > 0 ? STATE.length : STATE.done;
    this.done = this.#state === STATE.done;
  }

  /** Consumes from `buf[start, end)`; returns the offset of the first byte that is not the body's. */
  read(buf: Buffer, start: number, end: number): number {
    this.dataStart = this.dataEnd = start;
    let at = start;
    if (this.#state === STATE.length) {
      at = Math.min(end, start + this.#left);
      this.#left -= at - start;
      this.dataEnd = at;
      if (this.#left === 0) this.#finish();
    } else if (this.#state === STATE.close) {
      this.dataEnd = at = end;
    } else {
      at = this.#readChunked(buf, start, end);
    }
    this.received += this.dataEnd - this.dataStart;
    return at;
  }

  /** The connection has ended; returns whether the body is complete. */
  finish(): boolean {
    if (this.#state === STATE.close) this.#finish();
    return this.done;
  }

  #finish(): void {
    this.#state = STATE.done;
    this.done = true;
  }

  #break(problem: string): void {
    this.#state = STATE.broken;
    this.problem = problem;
  }

  #readChunked(buf: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end && this.#state !== STATE.done && this.#state !== STATE.broken) {
      if (this.#state === STATE.data) at = this.#takeData(buf, at, end);
      else if (this.#state === STATE.size) at = this.#takeSize(buf, at, end);
      else if (this.#state === STATE.trailers) at = this.#takeTrailers(buf, at, end);
      else {
        this.#step(buf[at]!);
        // The byte that opens the trailers belongs to them; the byte that breaks is not consumed.
        if (this.#state !== STATE.trailers && this.#state !== STATE.broken) at++;
      }
    }
    return at;
  }

  #takeData(buf: Buffer, at: number, end: number): number {
    const size = Math.min(this.#left, end - at);
    if (this.dataEnd === this.dataStart) this.dataStart = this.dataEnd = at;
    else buf.copyWithin(this.dataEnd, at, at + size);
    this.dataEnd += size;
    this.#left -= size;
    if (this.#left === 0) this.#state = STATE.dataCr;
    return at + size;
  }

  // Hex digits alone: no sign, prefix or blank before them, which readers take differently.
  #takeSize(buf: Buffer, start: number, end: number): number {
    let at = start;
    for (; at < end; at++) {
      const digit = hexValue(buf[at]!);
      if (digit < 0) break;
      this.#left = this.#left * 16 + digit;
      if (++this.#digits > MOST_SIZE_DIGITS || this.#left > Number.MAX_SAFE_INTEGER) {
        this.#break("a chunk size beyond 2^53");
        return at;
      }
    }
    if (at >= end) return at;
    if (this.#digits > 0 && buf[at] === CR) this.#state = STATE.sizeLf;
    else if (this.#digits > 0 && buf[at] === SEMICOLON) this.#state = STATE.extension;
    else if (this.#digits > 0 && isBlank(buf[at]!)) this.#state = STATE.padding;
    else {
      this.#break("a chunk size that is not hexadecimal digits");
      return at;
    }
    return at + 1;
  }

  // The single bytes between sizes and data.
  #step(byte: number): void {
    if (this.#state >= STATE.extension) {
      this.#stepExtension(byte);
      return;
    }
    switch (this.#state) {
      case STATE.sizeLf:
        if (byte !== LF) this.#break("a bare CR after a chunk size");
        else this.#state = this.#left > 0 ? STATE.data : STATE.trailerStart;
        this.#digits = 0;
        return;
      case STATE.dataCr:
        if (byte !== CR) this.#break("no CRLF after the data of a chunk");
        else this.#state = STATE.dataLf;
        return;
      case STATE.dataLf:
        if (byte !== LF) this.#break("no CRLF after the data of a chunk");
        else this.#state = STATE.size;
        return;
      case STATE.trailerStart:
        this.#state = byte === CR ? STATE.endLf : STATE.trailers;
        return;
      default:
        if (byte !== LF) this.#break("a bare CR after the last chunk");
        else this.#finish();
    }
  }

  // Extensions are dropped after their grammar was checked: a parser that skips to the next LF finds a different chunk
  // than one that skips to CRLF.
  #stepExtension(byte: number): void {
    const next = nextExtensionState(this.#state, byte);
    const padded = this.#state >= STATE.padding && byte === CR;
    if (++this.#extensionBytes > MOST_EXTENSION_BYTES)
      this.#break(`chunk extensions over ${MOST_EXTENSION_BYTES} bytes`);
    else if (next === STATE.broken) this.#break("a malformed chunk extension");
    else if (padded && !this.#isResponse) this.#break("blanks at the end of a chunk size's line");
    else this.#state = next;
  }

  // Collected in a separate head and scanned again with each read; the limit keeps that cheap.
  #takeTrailers(buf: Buffer, at: number, end: number): number {
    const head = (this.trailers ??= new Head(512, 16));
    const before = head.end;
    head.append(buf, at, Math.min(end, at + MOST_TRAILER_BYTES - before));
    head.count = 0;
    const kind = this.#isResponse ? KIND.responseTrailers : KIND.requestTrailers;
    const past = scanFields(head.bytes, 0, head.end, 0, head, MOST_TRAILER_FIELDS, kind);
    if (past > 0) {
      head.end = past;
      this.#finish();
      return at + past - before;
    }
    if (past < 0) this.#break(`trailers: ${head.problem}`);
    else if (head.end >= MOST_TRAILER_BYTES) this.#break(`trailers over ${MOST_TRAILER_BYTES} bytes`);
    return past < 0 ? at : at + head.end - before;
  }
}

// RFC 9112 section 7.1.1: blanks are allowed around `;` and `=`.
function nextExtensionState(state: number, byte: number): number {
  const isToken = (CLASS[byte]! & IS.token) !== 0;
  switch (state) {
    case STATE.extension:
      if (isBlank(byte)) return state;
      return isToken ? STATE.extensionName : STATE.broken;
    case STATE.extensionEquals:
      if (isBlank(byte)) return state;
      if (byte === QUOTE) return STATE.extensionQuoted;
      return isToken ? STATE.extensionToken : STATE.broken;
    case STATE.extensionQuoted:
      if (byte === QUOTE) return STATE.extensionEnd;
      if (byte === BACKSLASH) return STATE.extensionEscape;
      return (CLASS[byte]! & IS.value) !== 0 ? state : STATE.broken;
    case STATE.extensionEscape:
      return (CLASS[byte]! & IS.value) !== 0 ? STATE.extensionQuoted : STATE.broken;
    default:
      // After a name, a token or a quoted string, and blanks behind them.
      if (byte === CR) return STATE.sizeLf;
      if (byte === SEMICOLON) return STATE.extension;
      if (byte === EQUALS && isName(state)) return STATE.extensionEquals;
      if (isBlank(byte)) return isName(state) ? STATE.namePadding : STATE.padding;
      return isToken && state < STATE.extensionEnd ? state : STATE.broken;
  }
}

function isName(state: number): boolean {
  return state === STATE.extensionName || state === STATE.namePadding;
}
