/**
 * What is known of the streams of a connection that are not served any more. Frames may be in transit on a stream that we
 * have reset: they are ignored, up to its window. On a stream that the peer has ended they are an error (RFC 9113
 * section 5.1).
 */

/** Of more streams the older ones are forgotten. */
const SIZE = 64;
/** Smallest size that a DATA frame in transit counts as, so that their number is bounded too: 1,024 of a stream. */
const LEAST_SIZE = 64;

export class ClosedStreams {
  // By the low bits of the stream's number. Allocated when needed: most connections are idle, and few streams are reset.
  #opened: Uint32Array | null = null;
  #reset: Uint32Array | null = null;
  /** Bytes that the peer may have sent on streams before it received our reset, or the final GOAWAY. */
  #inTransit = 0;

  opened(id: number): void {
    this.#opened ??= new Uint32Array(SIZE);
    this.#opened[(id >>> 1) % SIZE] = id;
  }

  /** We have reset the stream. */
  reset(id: number): void {
    this.#reset ??= new Uint32Array(SIZE);
    const at = (id >>> 1) % SIZE;
    // An older stream may be reset later.
    if (id > this.#reset[at]!) this.#reset[at] = id;
  }

  /** Its end, or reset, was not ours: frames cannot be in transit. */
  isClosedByPeer(id: number): boolean {
    const at = (id >>> 1) % SIZE;
    return this.#opened !== null && this.#opened[at] === id && this.#reset?.[at] !== id;
  }

  /** Up to `size` bytes of a stream that is not served may be in transit. */
  expect(size: number): void {
    this.#inTransit = Math.max(0, this.#inTransit) + Math.max(0, size);
  }

  /** Charges a DATA frame; returns false if it cannot have been in transit. */
  take(size: number): boolean {
    this.#inTransit -= Math.max(size, LEAST_SIZE);
    return this.#inTransit >= 0;
  }
}
