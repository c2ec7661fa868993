/** Buffers input in memory of its connection: a partial head, or bytes of a later pipelined message. */
const NOTHING = Buffer.alloc(0);
const LEAST = 512;

export class PendingBuffer {
  /** The content is `bytes[start, end)`. */
  bytes: Buffer = NOTHING;
  start = 0;
  end = 0;

  get length(): number {
    return this.end - this.start;
  }

  append(source: Buffer, from: number, to: number): void {
    const size = to - from;
    const { length } = this;
    if (this.bytes.length - this.end < size) {
      const grown = Buffer.allocUnsafeSlow(Math.max(LEAST, length + size, length * 2));
      this.bytes.copy(grown, 0, this.start, this.end);
      this.put(grown, 0, length);
    }
    source.copy(this.bytes, this.end, from, to);
    this.end += size;
  }

  /** Keeps bytes without a copy; they already belong to the connection. */
  put(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }

  drop(): void {
    this.put(NOTHING, 0, 0);
  }
}
