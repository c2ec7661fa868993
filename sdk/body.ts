import { VALUE, VALUE_CAP, encode } from "./bytes";
import { body_append, body_last, body_read, body_replace, body_size } from "./imports";
import { check, checkNumber } from "./status";

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

  /** The piece as UTF-8. A piece of a stream may end inside a character: hold the head to see whole texts. */
  text(): string {
    const bytes = this.bytes();
    return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
  }

  /** Passes these bytes on in place of the piece: at most `limits.body` of the plugin. */
  replace(bytes: Uint8Array): void {
    checkNumber(body_replace(bytes.dataStart, bytes.length), "cannot replace body by bytes:", bytes.length);
  }

  /** Passes this text on in place of the piece, as UTF-8. */
  replaceText(text: string): void {
    const bytes = Uint8Array.wrap(String.UTF8.encode(text));
    this.replace(bytes);
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
    } else this.append(Uint8Array.wrap(String.UTF8.encode(text)));
  }

  /** Lets nothing of the piece pass on. */
  drop(): void {
    check(body_replace(0, 0), "cannot drop body", "");
  }
}

// @ts-ignore: decorator
@lazy export const body = new Body();
