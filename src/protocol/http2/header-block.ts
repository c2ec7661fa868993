/** A header block that is received in several frames: HEADERS and CONTINUATION. */

import { PendingBuffer } from "../../net/pending-buffer.ts";

/** CONTINUATION frames of a block; a block that may be larger than a request's has a limit of its own. */
export const MAX_CONTINUATIONS = 8;

export class HeaderBlock {
  /** 0: no block is incomplete. */
  stream = 0;
  /** Of its HEADERS. */
  flags = 0;
  readonly bytes = new PendingBuffer();
  readonly #maxContinuations: number;
  #continuations = 0;

  constructor(maxContinuations = MAX_CONTINUATIONS) {
    this.#maxContinuations = maxContinuations;
  }

  begin(stream: number, flags: number, bytes: Buffer, start: number, end: number): void {
    this.stream = stream;
    this.flags = flags;
    this.#continuations = 0;
    this.bytes.append(bytes, start, end);
  }

  /** Adds the payload of a CONTINUATION; returns false if the block has too many frames or more than `limit` bytes. */
  append(bytes: Buffer, start: number, end: number, limit: number): boolean {
    this.bytes.append(bytes, start, end);
    return ++this.#continuations <= this.#maxContinuations && this.bytes.length <= limit;
  }

  end(): void {
    this.stream = 0;
    this.bytes.drop();
  }
}
