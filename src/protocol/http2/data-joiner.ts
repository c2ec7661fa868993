/** Joins successive DATA frames of a stream within one read: otherwise each would cost a write to the endpoint. */

interface ReceivingStream {
  receive(bytes: Buffer, start: number, end: number, ends: boolean): void;
}

const NOTHING = Buffer.alloc(0);

/** One for each connection. What was added is delivered before the read returns, and before any frame of another kind. */
export class DataJoiner {
  #stream: ReceivingStream | null = null;
  #bytes: Buffer = NOTHING;
  #start = 0;
  #end = 0;

  /** Adds content of a stream; delivers that of another one. Content is moved in place, over heads of frames and padding. */
  add(stream: ReceivingStream, bytes: Buffer, start: number, end: number): void {
    if (this.#stream === stream && this.#bytes === bytes) {
      bytes.copyWithin(this.#end, start, end);
      this.#end += end - start;
      return;
    }
    this.deliver(false);
    this.#stream = stream;
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
  }

  /** `ends`: the request ends with it. */
  deliver(ends: boolean): void {
    const stream = this.#stream;
    if (stream === null) return;
    const bytes = this.#bytes;
    this.drop();
    stream.receive(bytes, this.#start, this.#end, ends);
  }

  drop(): void {
    this.#stream = null;
    this.#bytes = NOTHING;
  }
}
