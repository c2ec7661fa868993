/** What a guest saves for its next version. */
import { copyBytes } from "./memory.ts";

const FIRST_ROOM = 4096;

/** What `save` has handed over, and `restore` reads. */
export class SavedState {
  bytes: Buffer = Buffer.alloc(0);
  length = 0;

  append(source: Buffer, start: number, end: number): void {
    const length = this.length + end - start;
    if (length > this.bytes.length) {
      const grown = Buffer.alloc(Math.max(length, 2 * this.bytes.length, FIRST_ROOM));
      copyBytes(grown, 0, this.bytes, 0, this.length);
      this.bytes = grown;
    }
    copyBytes(this.bytes, this.length, source, start, end);
    this.length = length;
  }
}
