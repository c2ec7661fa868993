/** Bounds-checked access to a guest's linear memory; the view is refreshed after the memory has grown. */
import { Fault } from "../host/fault.ts";

/** Above this length `copy` is faster than a loop. */
const LOOP_BYTES = 64;

export class GuestMemory {
  #memory: WebAssembly.Memory | null = null;
  /** Valid after `refresh`, until the guest runs again. A Buffer, so that heads and guests share one hidden class. */
  bytes: Buffer = Buffer.alloc(0);

  /** Sets the memory after instantiation; imports are created before it. */
  attach(memory: WebAssembly.Memory): void {
    this.#memory = memory;
    this.bytes = Buffer.from(memory.buffer);
  }

  /** Must be called before the first access after the guest has run: growing detaches the old buffer. */
  refresh(): Buffer {
    // A detached view has length 0. This test is 15 ns cheaper than comparing `memory.buffer` by identity.
    if (this.bytes.length === 0) this.bytes = Buffer.from(this.#memory!.buffer);
    return this.bytes;
  }

  /** Returns the offset of a range. @throws Fault (`bad_pointer`) if it is not within the memory. */
  check(pointer: number, length: number): number {
    const start = pointer >>> 0;
    if (start + (length >>> 0) > this.bytes.length) this.#refuse(start, length >>> 0);
    return start;
  }

  #refuse(start: number, length: number): never {
    const size = this.bytes.length;
    throw new Fault(
      "bad_pointer",
      `the range of ${length} bytes at ${start} is outside of the memory of ${size} bytes`,
    );
  }

  /** Writes `source[start, end)` to `out` if its length is at most `cap`; returns the length. @throws Fault */
  give(source: Buffer, start: number, end: number, out: number, cap: number): number {
    const at = this.check(out, cap);
    const length = end - start;
    if (length <= cap >>> 0) copyBytes(this.bytes, at, source, start, end);
    return length;
  }

  /** Like `give`, for text with code units below 256, one byte each. */
  giveText(text: string, out: number, cap: number): number {
    const at = this.check(out, cap);
    const { length } = text;
    if (length <= cap >>> 0) for (let i = 0; i < length; i++) this.bytes[at + i] = text.charCodeAt(i);
    return length;
  }

  /** Like `give`, for text as UTF-8. */
  giveUtf8(text: string, out: number, cap: number): number {
    const bytes = Buffer.from(text, "utf8");
    return this.give(bytes, 0, bytes.length, out, cap);
  }

  /** Returns a view of a range, valid until the guest continues. @throws Fault */
  view(pointer: number, length: number): Buffer {
    const start = this.check(pointer, length);
    return this.bytes.subarray(start, start + (length >>> 0));
  }

  /** Returns a copy of a range, valid after the call. @throws Fault */
  take(pointer: number, length: number): Buffer {
    return Buffer.from(this.view(pointer, length));
  }

  /** Returns a range decoded as UTF-8. @throws Fault */
  takeUtf8(pointer: number, length: number): string {
    const start = this.check(pointer, length);
    return this.bytes.toString("utf8", start, start + (length >>> 0));
  }

  get size(): number {
    return this.#memory?.buffer.byteLength ?? 0;
  }
}

export function copyBytes(target: Buffer, at: number, source: Buffer, start: number, end: number): void {
  const length = end - start;
  if (length > LOOP_BYTES) source.copy(target, at, start, end);
  else for (let i = 0; i < length; i++) target[at + i] = source[start + i]!;
}
