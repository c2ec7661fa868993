/** A chunk of a body in the body filters: what the present filter sees, and what passes on. */
const NOTHING = Buffer.alloc(0);
const LEAST = 1024;

export class Chunk {
  /** What the present plugin sees is `bytes[start, end)`. */
  bytes: Buffer = NOTHING;
  start = 0;
  end = 0;
  /** Nothing follows. */
  last = false;
  /** A plugin has replaced or added to it, or to one before it. */
  changed = false;
  /** What passes on instead, `out[0, outEnd)`; null: the chunk as it came. */
  #out: Buffer | null = null;
  #outEnd = 0;

  set(bytes: Buffer, start: number, end: number, last: boolean): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.last = last;
    this.#out = null;
  }

  /** Neither bytes nor an end: there is nothing to see. */
  get isEmpty(): boolean {
    return this.end === this.start && !this.last;
  }

  /** Bytes that would pass on now. */
  get size(): number {
    return this.#out === null ? this.end - this.start : this.#outEnd;
  }

  /** The bytes themselves. */
  get made(): Buffer {
    return this.#out === null ? this.bytes.subarray(this.start, this.end) : this.#out.subarray(0, this.#outEnd);
  }

  /** Passes these on in place of the chunk; they are the chunk's own from now on. */
  replace(bytes: Buffer): void {
    this.#out = bytes;
    this.#outEnd = bytes.length;
  }

  /** Passes these on after the others. */
  append(bytes: Buffer, start: number, end: number): void {
    const { size } = this;
    const need = size + end - start;
    if (this.#out === null || this.#out.length < need) {
      const grown = Buffer.allocUnsafeSlow(Math.max(LEAST, need, 2 * size));
      if (this.#out === null) this.bytes.copy(grown, 0, this.start, this.end);
      else this.#out.copy(grown, 0, 0, size);
      this.#out = grown;
    }
    bytes.copy(this.#out, size, start, end);
    this.#outEnd = need;
  }

  /** What the present plugin made of it is what the next one sees. */
  accept(): void {
    if (this.#out === null) return;
    this.changed = true;
    this.set(this.#out, 0, this.#outEnd, this.last);
  }

  /** Drops what the present plugin made of it. */
  reject(): void {
    this.#out = null;
  }

  /** Moves it to memory of its own: what a socket has read is valid in the same turn only. */
  own(): void {
    this.bytes = Buffer.from(this.bytes.subarray(this.start, this.end));
    this.end -= this.start;
    this.start = 0;
  }

  drop(): void {
    this.set(NOTHING, 0, 0, false);
  }
}
