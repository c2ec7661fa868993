import { VALUE } from "./bytes";
import { Bytes, fromUtf8, toUtf8 } from "./binary";
import { state_get, state_put } from "./imports";
import { check } from "./status";

/**
 * What a plugin hands from one version of itself to the next: `onSave` writes it, `onRestore` reads it, value by value
 * in the same order. At most 1 MiB. Another version may have written it: begin with a number that says which, and
 * return from `onRestore` without reading on when it is not one that you know.
 */
// @ts-ignore: decorator
@final
export class State {
  private at: i32 = 0;

  // Made by the SDK alone: the parameter of `onSave` and `onRestore`.
  constructor() {}

  /** Bytes that are left to be read. */
  get left(): i32 {
    return remaining(state_get(this.at, VALUE, 0));
  }

  /** In 4 bytes. */
  writeI32(value: i32): void {
    store<i32>(VALUE, value);
    put(VALUE, 4);
  }

  /** In 8 bytes. */
  writeI64(value: i64): void {
    store<i64>(VALUE, value);
    put(VALUE, 8);
  }

  /** In 8 bytes, to the last bit. */
  writeF64(value: f64): void {
    store<f64>(VALUE, value);
    put(VALUE, 8);
  }

  /** As UTF-8, with its length before it. */
  writeText(text: string): void {
    this.writeBytes(toUtf8(text));
  }

  /** With their number before them. */
  writeBytes(bytes: Bytes): void {
    this.writeI32(bytes.length);
    put(changetype<usize>(bytes), bytes.length);
  }

  /** What `writeI32` wrote. An error when fewer bytes are left; so with all that read. */
  readI32(): i32 {
    this.take(VALUE, 4);
    return load<i32>(VALUE);
  }

  /** What `writeI64` wrote. */
  readI64(): i64 {
    this.take(VALUE, 8);
    return load<i64>(VALUE);
  }

  /** What `writeF64` wrote. */
  readF64(): f64 {
    this.take(VALUE, 8);
    return load<f64>(VALUE);
  }

  /** What `writeText` wrote; what is no UTF-8 is replaced. */
  readText(): string {
    return fromUtf8(this.readBytes());
  }

  /** What `writeBytes` wrote. */
  readBytes(): Bytes {
    const length = this.readI32();
    if (length < 0 || length > this.left) ended(length, this.left);
    const bytes = new StaticArray<u8>(length);
    this.take(changetype<usize>(bytes), length);
    return bytes;
  }

  /** Before `onRestore`: from the first byte. */
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
  throw new Error(`the saved state has ${left} bytes left, ${asked} were asked for`);
}

// @ts-ignore: decorator
@lazy export const state = new State();
