/** The recent streams of a connection: which were opened, and which we have reset. */

const SIZE = 64;

/**
 * Distinguishes frames in transit when we reset their stream, which are ignored, from frames that the client sends on a
 * stream after its end (RFC 9113 section 5.1). Of more than 64 streams the older ones are forgotten.
 */
export class RecentStreams {
  // By the low bits of the stream's number. Allocated when needed: most connections are idle, and few streams are reset.
  #opened: Uint32Array | null = null;
  #reset: Uint32Array | null = null;

  open(id: number): void {
    this.#opened ??= new Uint32Array(SIZE);
    this.#opened[(id >>> 1) % SIZE] = id;
  }

  reset(id: number): void {
    this.#reset ??= new Uint32Array(SIZE);
    const at = (id >>> 1) % SIZE;
    // An older stream may be reset later.
    if (id > this.#reset[at]!) this.#reset[at] = id;
  }

  wasOpened(id: number): boolean {
    return this.#opened !== null && this.#opened[(id >>> 1) % SIZE] === id;
  }

  wasReset(id: number): boolean {
    return this.#reset !== null && this.#reset[(id >>> 1) % SIZE] === id;
  }
}
