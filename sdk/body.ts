import { ATTRIBUTE } from "./abi";
import { toUtf8 } from "./binary";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, decode, encode } from "./bytes";
import { attribute, exchange_get, exchange_set, body_append, body_last, body_read, body_replace, body_size } from "./imports";
import { check, checkNumber } from "./status";

/** Keys of the exchange values in which `keep` stores bytes of the request body and of the response body. */
const OF_REQUEST = "sluice:body/request";
const OF_RESPONSE = "sluice:body/response";

/** Writes the key for the current body to KEY; returns its length. */
function writeKey(): i32 {
  return encode(attribute(ATTRIBUTE.status, 0, 0) < 0 ? OF_REQUEST : OF_RESPONSE, KEY, KEY_CAP);
}

/**
 * The current chunk of a body, in `onRequestBody` and `onResponseBody`. A body is streamed chunk by chunk, with arbitrary
 * boundaries; a buffered one (`req.bufferBody()`, `res.bufferBody()`) is a single chunk. Unchanged chunks pass on. Content-Encoding is
 * not decoded.
 */
// @ts-ignore: decorator
@final
export class Body {
  /** Size of the chunk in bytes, as received. */
  get size(): i32 {
    return max(body_size(), 0);
  }

  /** Whether the chunk ends the body. */
  get last(): bool {
    return body_last() == 1;
  }

  /** A copy of the chunk. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.size);
    body_read(0, bytes.dataStart, bytes.length);
    return bytes;
  }

  /**
   * The bytes stored by `keep` followed by this chunk: for tokens that are split between chunks. Clears the stored bytes;
   * `replace` the chunk by what is complete, and `keep` the rest:
   *
   *     const bytes = body.take();
   *     const end = body.last ? bytes.length : bytes.lastIndexOf(0x0a) + 1;
   *     body.keep(bytes.subarray(end));
   *     body.replace(bytes.subarray(0, end));
   */
  take(): Uint8Array {
    const key = writeKey();
    const kept = max(exchange_get(KEY, key, 0, 0), 0);
    const bytes = new Uint8Array(kept + this.size);
    if (kept > 0) {
      exchange_get(KEY, key, bytes.dataStart, kept);
      exchange_set(KEY, key, 0, 0);
    }
    body_read(0, bytes.dataStart + kept, bytes.length - kept);
    return bytes;
  }

  /**
   * Stores bytes, at most 64 KiB, that `take` returns with the next chunk of this body. They count towards
   * `limits.memory`. An error in the last chunk, unless `bytes` is empty.
   */
  keep(bytes: Uint8Array): void {
    if (bytes.length == 0) return;
    if (this.last) throw new Error("the last chunk cannot keep bytes: replace it by them");
    checkNumber(exchange_set(KEY, writeKey(), bytes.dataStart, bytes.length), "cannot keep bytes of a body:", bytes.length);
  }

  /** The chunk decoded as UTF-8. A chunk may end within a character: buffer the body to get its whole text. */
  text(): string {
    const bytes = this.bytes();
    return decode(bytes.dataStart, bytes.length);
  }

  /** Replaces the chunk; at most `limits.body` bytes. */
  replace(bytes: Uint8Array): void {
    checkNumber(body_replace(bytes.dataStart, bytes.length), "cannot replace body by bytes:", bytes.length);
  }

  /** Replaces the chunk by a text in UTF-8. */
  replaceText(text: string): void {
    const bytes = toUtf8(text);
    checkNumber(body_replace(changetype<usize>(bytes), bytes.length), "cannot replace body by bytes:", bytes.length);
  }

  /** Appends bytes to the chunk or its replacement. */
  append(bytes: Uint8Array): void {
    checkNumber(body_append(bytes.dataStart, bytes.length), "cannot append to body bytes:", bytes.length);
  }

  /** Appends a text in UTF-8. */
  appendText(text: string): void {
    // Three bytes a code unit at most: a short one goes through the static buffer.
    if (text.length * 3 <= VALUE_CAP) {
      const length = encode(text, VALUE, VALUE_CAP);
      checkNumber(body_append(VALUE, length), "cannot append to body bytes:", length);
      return;
    }
    const bytes = toUtf8(text);
    checkNumber(body_append(changetype<usize>(bytes), bytes.length), "cannot append to body bytes:", bytes.length);
  }

  /** Drops the chunk. */
  drop(): void {
    check(body_replace(0, 0), "cannot drop body", "");
  }
}

// @ts-ignore: decorator
@lazy export const body = new Body();
