/**
 * The I/O buffers of one worker and their ownership.
 *
 * - `shared` receives every read that is not the middle of a body. It is valid until the read callback returns.
 * - `out` is for message heads and small bodies. After a write that completed synchronously it is free; otherwise it
 *   belongs to that write, and `replaceOut` replaces it.
 * - A body that continues after its first read uses separate blocks, written without a copy. A block belongs to the
 *   write until the write completes; then `free` returns it.
 */

/** Space before and after a block's data for chunk framing, written in place. */
export const HEADROOM = 32;
const TAILROOM = 32;
export const BLOCK_SIZE = 64 * 1024;
const OUT_SIZE = 128 * 1024;
const MAX_FREE = 64;
const MAX_VIEW = 1024;

export class Block {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(HEADROOM + BLOCK_SIZE + TAILROOM);
  /** The buffer that sockets read into. */
  readonly window: Buffer = this.bytes.subarray(HEADROOM, HEADROOM + BLOCK_SIZE);
}

export class Buffers {
  readonly shared = new Block();
  out: Buffer = Buffer.allocUnsafeSlow(OUT_SIZE);
  /** Views of the beginning of `out` by length, for most heads with small bodies: a new one costs 50 ns and garbage. */
  #views: (Buffer | undefined)[] = new Array(MAX_VIEW).fill(undefined);
  readonly #free: Block[] = [];

  take(): Block {
    return this.#free.pop() ?? new Block();
  }

  free(block: Block): void {
    if (this.#free.length < MAX_FREE) this.#free.push(block);
  }

  /** Replaces `out`, which belongs to a pending write. */
  replaceOut(): void {
    this.out = Buffer.allocUnsafeSlow(OUT_SIZE);
    this.#views.fill(undefined);
  }

  /** The first `size` bytes of `out`. */
  viewOfOut(size: number): Buffer {
    return size < MAX_VIEW ? (this.#views[size] ??= this.out.subarray(0, size)) : this.out.subarray(0, size);
  }

  /** Returns `out`, or a new buffer if `size` is larger. */
  outFor(size: number): Buffer {
    return size <= OUT_SIZE ? this.out : Buffer.allocUnsafeSlow(size);
  }
}
