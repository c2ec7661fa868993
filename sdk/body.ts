import { ATTRIBUTE } from "./abi";
import { toUtf8 } from "./binary";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, decode, encode } from "./bytes";
import { attribute, exchange_get, exchange_set, body_append, body_last, body_read, body_replace, body_size } from "./imports";
import { check, checkNumber } from "./status";

/** Of exchange values: what `keep` keeps of the request's body, and of the response's. */
const OF_REQUEST = "sluice:body/request";
const OF_RESPONSE = "sluice:body/response";

/** Writes the key of the body at hand to KEY; its length. */
function writeKey(): i32 {
  return encode(attribute(ATTRIBUTE.status, 0, 0) < 0 ? OF_REQUEST : OF_RESPONSE, KEY, KEY_CAP);
}

/**
 * The piece of a body that is at hand, in `onRequestBody` and `onResponseBody`. A body streams by piece for piece, of
 * any size, as it comes; one whose head was held (`req.hold()`, `res.hold()`) is a single piece. What is not changed
 * passes on as it is. A coded body (Content-Encoding) is coded here too.
 */
// @ts-ignore: decorator
@final
export class Body {
  /** Bytes of the piece as it came. */
  get size(): i32 {
    return max(body_size(), 0);
  }

  /** Does nothing follow this piece? */
  get last(): bool {
    return body_last() == 1;
  }

  /** The piece's bytes. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.size);
    body_read(0, bytes.dataStart, bytes.length);
    return bytes;
  }

  /**
   * What was kept of the chunk before, then the bytes of this one: for tokens that chunks split. Nothing is kept
   * afterwards; pass on by `replace` what this chunk's call is through with, and `keep` the rest:
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
   * Keeps these bytes for the next chunk of this body, which `take` hands out with it: at most 64 KiB, which count for
   * `limits.memory`. Of the last chunk nothing can be kept.
   */
  keep(bytes: Uint8Array): void {
    if (bytes.length == 0) return;
    if (this.last) throw new Error("no chunk follows the last: pass on what is left");
    checkNumber(exchange_set(KEY, writeKey(), bytes.dataStart, bytes.length), "cannot keep bytes of a body:", bytes.length);
  }

  /** The piece as UTF-8. A piece of a stream may end inside a character: hold the head to see whole texts. */
  text(): string {
    const bytes = this.bytes();
    return decode(bytes.dataStart, bytes.length);
  }

  /** Passes these bytes on in place of the piece: at most `limits.body` of the plugin. */
  replace(bytes: Uint8Array): void {
    checkNumber(body_replace(bytes.dataStart, bytes.length), "cannot replace body by bytes:", bytes.length);
  }

  /** Passes this text on in place of the piece, as UTF-8. */
  replaceText(text: string): void {
    const bytes = toUtf8(text);
    checkNumber(body_replace(changetype<usize>(bytes), bytes.length), "cannot replace body by bytes:", bytes.length);
  }

  /** Passes these bytes on after the piece, or after what took its place. */
  append(bytes: Uint8Array): void {
    checkNumber(body_append(bytes.dataStart, bytes.length), "cannot append to body bytes:", bytes.length);
  }

  /** Passes this text on after the piece, as UTF-8. */
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

  /** Lets nothing of the piece pass on. */
  drop(): void {
    check(body_replace(0, 0), "cannot drop body", "");
  }
}

// @ts-ignore: decorator
@lazy export const body = new Body();
