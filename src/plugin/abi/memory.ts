/** A guest's memory as the host may touch it: every range checked, the view made anew when the memory has grown. */
import { Fault } from "../host/fault.ts";

/** Above this the engine's copy is faster than a loop, the view that it needs included. */
const LOOP_BYTES = 64;

export class GuestMemory {
  #memory: WebAssembly.Memory | null = null;
  /** Valid after `refresh`, until the guest runs again. A Buffer, so that heads and guests share one hidden class. */
  bytes: Buffer = Buffer.alloc(0);

  /** Imports are made before the instance whose memory they reach; no guest code runs in between. */
  attach(memory: WebAssembly.Memory): void {
    this.#memory = memory;
    this.bytes = Buffer.from(memory.buffer);
  }

  /** To be called before the memory is touched after the guest has run: growing detaches the old buffer. */
  refresh(): Buffer {
    // A detached view has length 0. This test is 15 ns cheaper than comparing `memory.buffer` by identity.
    if (this.bytes.length === 0) this.bytes = Buffer.from(this.#memory!.buffer);
    return this.bytes;
  }

  /** The offset of a range that lies wholly inside. @throws Fault when it does not. */
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

  /** Hands out `source[start, end)`: its length, written only when that is at most `cap`. */
  give(source: Buffer, start: number, end: number, out: number, cap: number): number {
    const at = this.check(out, cap);
    const length = end - start;
    if (length <= cap >>> 0) copyBytes(this.bytes, at, source, start, end);
    return length;
  }

  /** The same for text whose code units are all below 256. */
  giveText(text: string, out: number, cap: number): number {
    const at = this.check(out, cap);
    const { length } = text;
    if (length <= cap >>> 0) for (let i = 0; i < length; i++) this.bytes[at + i] = text.charCodeAt(i);
    return length;
  }

  giveUtf8(text: string, out: number, cap: number): number {
    const bytes = Buffer.from(text, "utf8");
    return this.give(bytes, 0, bytes.length, out, cap);
  }

  /** A copy that outlives the call. */
  take(pointer: number, length: number): Buffer {
    const start = this.check(pointer, length);
    return Buffer.from(this.bytes.subarray(start, start + (length >>> 0)));
  }

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
