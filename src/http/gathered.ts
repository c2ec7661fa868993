/** Bytes that come piece by piece, put together at a cost that does not grow with the number of the pieces. */
export class Gathered {
  #area = Buffer.allocUnsafe(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** What has come; valid until the next `append`. */
  get bytes(): Buffer {
    return this.#area.subarray(0, this.#length);
  }

  append(piece: Buffer): void {
    const length = this.#length + piece.length;
    if (length > this.#area.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#area.length));
      this.#area.copy(grown, 0, 0, this.#length);
      this.#area = grown;
    }
    piece.copy(this.#area, this.#length);
    this.#length = length;
  }
}
