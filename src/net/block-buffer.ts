/** A `PendingBuffer` for the rest of a read: while it has content, its memory is a block of the worker. */
import { BLOCK_SIZE, type Block, type Buffers } from "./buffers.ts";
import { PendingBuffer } from "./pending-buffer.ts";

/** Less content has memory of its own, bytes. */
const LEAST = 4096;

export class BlockBuffer extends PendingBuffer {
  readonly #buffers: Buffers;
  #block: Block | null = null;

  constructor(buffers: Buffers) {
    super();
    this.#buffers = buffers;
  }

  override reserve(size: number): void {
    if (this.#block === null && this.length === 0 && size > LEAST && size <= BLOCK_SIZE) {
      this.#block = this.#buffers.take();
      this.put(this.#block.bytes, 0, 0);
    }
    super.reserve(size);
  }

  override drop(): void {
    super.drop();
    const block = this.#block;
    this.#block = null;
    if (block !== null) this.#buffers.free(block);
  }
}
