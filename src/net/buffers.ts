/**
 * The memory that bytes pass through on one thread, and who owns it when.
 *
 * - `shared` receives every read that is not the middle of a body. It is valid until the read callback returns.
 * - `out` is where heads and small bodies are built. After a write that completed at once it is free again; otherwise it
 *   belongs to that write, and `replaceOut` takes another.
 * - A body that goes on past its first read gets blocks of its own, written uncopied. A block belongs to the write
 *   until the write is done; then it comes back by `free`.
 */

/** Room before and after a block's window, for chunk framing to be written around the data in place. */
export const HEADROOM = 32;
export const TAILROOM = 32;
export const BLOCK_SIZE = 64 * 1024;
const OUT_SIZE = 128 * 1024;
const MAX_FREE = 64;

export class Block {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(HEADROOM + BLOCK_SIZE + TAILROOM);
  /** What a socket reads into. */
  readonly window: Buffer = this.bytes.subarray(HEADROOM, HEADROOM + BLOCK_SIZE);
}

export class Buffers {
  readonly shared = new Block();
  out: Buffer = Buffer.allocUnsafeSlow(OUT_SIZE);
  readonly #free: Block[] = [];

  take(): Block {
    return this.#free.pop() ?? new Block();
  }

  free(block: Block): void {
    if (this.#free.length < MAX_FREE) this.#free.push(block);
  }

  /** The present `out` belongs to a write that has not completed. */
  replaceOut(): void {
    this.out = Buffer.allocUnsafeSlow(OUT_SIZE);
  }

  /** `out`, or for something larger a buffer of its own. */
  outFor(size: number): Buffer {
    return size <= OUT_SIZE ? this.out : Buffer.allocUnsafeSlow(size);
  }
}
