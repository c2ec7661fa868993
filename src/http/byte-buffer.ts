/** A growing buffer: appending costs amortised linear time, however many chunks there are. */
export class ByteBuffer {
  #area = Buffer.allocUnsafe(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The appended bytes; valid until the next `append`. */
  get bytes(): Buffer {
    return this.#area.subarray(0, this.#length);
  }

  append(chunk: Buffer): void {
    const length = this.#length + chunk.length;
    if (length > this.#area.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#area.length));
      this.#area.copy(grown, 0, 0, this.#length);
      this.#area = grown;
    }
    chunk.copy(this.#area, this.#length);
    this.#length = length;
  }
}
