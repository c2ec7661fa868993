/**
 * A socket to an endpoint of which a failed write does not end reading. An endpoint may respond before it has read the
 * whole request, and close: the next write is then reset, with the response still to be read. `net.Socket` destroys
 * itself on a failed write, and what was not read is lost.
 */
import { Socket } from "node:net";

type Callback = (error?: Error | null) => void;
type Chunks = Parameters<NonNullable<Socket["_writev"]>>[0];

export class UpstreamSocket extends Socket {
  /** Runs when a write has failed. What is written later is never sent; reads go on to the end or an error of theirs. */
  onWriteFailed: (error: Error) => void = () => {};
  /** The stream's own callback, which is the same for all its writes, and what stands before it. */
  #callback: Callback | null = null;
  #guarded: Callback | null = null;

  override _write(chunk: unknown, encoding: BufferEncoding, callback: Callback): void {
    super._write(chunk, encoding, this.#callback === callback ? this.#guarded! : this.#guard(callback));
  }

  override _writev(chunks: Chunks, callback: Callback): void {
    super._writev!(chunks, this.#callback === callback ? this.#guarded! : this.#guard(callback));
  }

  #guard(callback: Callback): Callback {
    this.#callback = callback;
    this.#guarded = (error) => {
      if (error == null) callback();
      else if (!this.destroyed) this.onWriteFailed(error);
    };
    return this.#guarded;
  }
}
