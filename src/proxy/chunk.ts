/** A body chunk in the body filters: the input of the current plugin, and its output. */
import { PendingBuffer } from "../net/pending-buffer.ts";

const NOTHING = Buffer.alloc(0);

export class Chunk {
  /** The input of the current plugin is `bytes[start, end)`. */
  bytes: Buffer = NOTHING;
  start = 0;
  end = 0;
  /** The chunk ends the body. */
  last = false;
  /** A plugin has changed this chunk or an earlier one. */
  changed = false;
  /** The output of the current plugin; null: the input unchanged. */
  #out: PendingBuffer | null = null;

  set(bytes: Buffer, start: number, end: number, last: boolean): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.last = last;
    this.#out = null;
  }

  /** Neither bytes nor the end of the body: no plugin needs to be called. */
  get isEmpty(): boolean {
    return this.end === this.start && !this.last;
  }

  /** Bytes of the current output. */
  get size(): number {
    return this.#out === null ? this.end - this.start : this.#out.length;
  }

  /** The current output. */
  get made(): Buffer {
    return this.#out === null ? this.bytes.subarray(this.start, this.end) : this.#out.content;
  }

  /** Replaces the output. The chunk owns the bytes from now on. */
  replace(bytes: Buffer): void {
    this.#out = new PendingBuffer();
    this.#out.put(bytes, 0, bytes.length);
  }

  /** Appends a copy to the output. */
  append(bytes: Buffer, start: number, end: number): void {
    if (this.#out === null) {
      this.#out = new PendingBuffer();
      this.#out.reserve(this.end - this.start + end - start);
      this.#out.append(this.bytes, this.start, this.end);
    }
    this.#out.append(bytes, start, end);
  }

  /** Makes the output the input of the next plugin. */
  accept(): void {
    const out = this.#out;
    if (out === null) return;
    this.changed = true;
    this.set(out.bytes, out.start, out.end, this.last);
  }

  /** Reverts the changes of the current plugin. */
  reject(): void {
    this.#out = null;
  }

  /** Copies the input: bytes in a socket's buffer are valid in the same turn only. */
  own(): void {
    this.bytes = Buffer.from(this.bytes.subarray(this.start, this.end));
    this.end -= this.start;
    this.start = 0;
  }

  drop(): void {
    this.set(NOTHING, 0, 0, false);
  }
}
