import { VALUE } from "./bytes";
import { Bytes, fromUtf8, toUtf8 } from "./binary";
import { state_get, state_put } from "./imports";
import { check } from "./status";

/**
 * State that migrates from one version of a plugin to the next: `onSave` writes it, `onRestore` reads it, value by value
 * in the same order. At most 1 MiB. Since another version may have written it, start with a version number of the layout,
 * and return from `onRestore` if you do not know it. Reading past the end throws.
 */
// @ts-ignore: decorator
@final
export class State {
  private at: i32 = 0;

  // Only the SDK creates it: the parameter of `onSave` and `onRestore`.
  constructor() {}

  /** Number of bytes not yet read. */
  get left(): i32 {
    return remaining(state_get(this.at, VALUE, 0));
  }

  /** Writes 4 bytes. */
  writeI32(value: i32): void {
    store<i32>(VALUE, value);
    put(VALUE, 4);
  }

  /** Writes 8 bytes. */
  writeI64(value: i64): void {
    store<i64>(VALUE, value);
    put(VALUE, 8);
  }

  /** Writes 8 bytes, exactly. */
  writeF64(value: f64): void {
    store<f64>(VALUE, value);
    put(VALUE, 8);
  }

  /** Writes the length and the UTF-8 bytes. */
  writeText(text: string): void {
    this.writeBytes(toUtf8(text));
  }

  /** Writes the length and the bytes. */
  writeBytes(bytes: Bytes): void {
    this.writeI32(bytes.length);
    put(changetype<usize>(bytes), bytes.length);
  }

  /** Reads what `writeI32` wrote. */
  readI32(): i32 {
    this.take(VALUE, 4);
    return load<i32>(VALUE);
  }

  /** Reads what `writeI64` wrote. */
  readI64(): i64 {
    this.take(VALUE, 8);
    return load<i64>(VALUE);
  }

  /** Reads what `writeF64` wrote. */
  readF64(): f64 {
    this.take(VALUE, 8);
    return load<f64>(VALUE);
  }

  /** Reads what `writeText` wrote; invalid UTF-8 is replaced by U+FFFD. */
  readText(): string {
    return fromUtf8(this.readBytes());
  }

  /** Reads what `writeBytes` wrote. */
  readBytes(): Bytes {
    const length = this.readI32();
    if (length < 0 || length > this.left) ended(length, this.left);
    const bytes = new StaticArray<u8>(length);
    this.take(changetype<usize>(bytes), length);
    return bytes;
  }

  /** Called before `onRestore`: reads from the first byte again. */
  rewind(): void {
    this.at = 0;
  }

  private take(out: usize, length: i32): void {
    const left = remaining(state_get(this.at, out, length));
    if (left < length) ended(length, left);
    this.at += length;
  }
}

function remaining(left: i32): i32 {
  check(left, "cannot read", "the saved state");
  return left;
}

function put(from: usize, length: i32): void {
  check(state_put(from, length), "cannot save", length.toString() + " bytes");
}

function ended(asked: i32, left: i32): void {
  throw new Error(`the saved state has ${left} bytes left, ${asked} were requested`);
}

// @ts-ignore: decorator
@lazy export const state = new State();
