/** A growable byte buffer with amortised linear cost: partial heads, pipelined input, buffered bodies, saved state. */
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

  /** A view of the content, valid until the next change. */
  get content(): Buffer {
    return this.bytes.subarray(this.start, this.end);
  }

  append(source: Buffer, from: number, to: number): void {
    this.reserve(to - from);
    source.copy(this.bytes, this.end, from, to);
    this.end += to - from;
  }

  /** Makes space for `size` more bytes. */
  reserve(size: number): void {
    const { length } = this;
    if (this.bytes.length - this.end >= size) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(LEAST, length + size, length * 2));
    this.bytes.copy(grown, 0, this.start, this.end);
    this.put(grown, 0, length);
  }

  /** Sets the content without a copy; the buffer owns the bytes from now on. */
  put(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }

  drop(): void {
    this.put(NOTHING, 0, 0);
  }
}
