/** A TCP or Unix connection as the data plane uses it, to a client or to an endpoint: reads into known memory, writes by
 * the ownership rules of `buffers.ts`, has one deadline, and lets no exception out of a callback. */
import type { Socket } from "node:net";
import type { Head } from "../http/head.ts";
import { fieldsBound, writeChunkHead, writeLastChunk } from "../http1/write.ts";
import type { Block } from "../net/buffers.ts";
import type { Timed } from "../net/clock.ts";
import type { ThreadContext } from "./context.ts";

/** How body bytes are framed on their way out. */
export type BodyFrame = { chunked: boolean; last: boolean; trailers: Head | null };

const scratch = Buffer.allocUnsafeSlow(32);

/** Writes body bytes and their framing to `out` at `at`; returns the new end. */
export function writeBody(
  out: Buffer,
  at: number,
  bytes: Buffer,
  start: number,
  end: number,
  frame: BodyFrame,
): number {
  const size = end - start;
  if (size > 0) {
    if (frame.chunked) at = writeChunkHead(out, at, size);
    if (size < 48) for (let i = start; i < end; i++) out[at++] = bytes[i]!;
    else at += bytes.copy(out, at, start, end);
    if (frame.chunked) {
      out[at++] = 13;
      out[at++] = 10;
    }
  }
  return frame.chunked && frame.last ? writeLastChunk(out, at, frame.trailers) : at;
}

export abstract class Wire implements Timed {
  deadline = 0;
  sweepIndex = -1;
  protected readonly context: ThreadContext;
  #socket: Socket | null = null;
  /** What the socket reads into now: the thread's shared block, or one of its own while streaming. */
  #block: Block;
  /** The block was handed to a write; the next read needs another. */
  #given = false;
  #streaming = false;
  /** Blocks that belong to writes of this wire. */
  #pending: Block[] | null = null;
  readonly #onWritten = (): void => this.#reclaim();
  #paused = false;
  #error: Error | null = null;

  /** For the socket's constructor: reads come without a Buffer made for each. */
  readonly onread: { buffer: () => Uint8Array; callback: (size: number) => boolean };

  constructor(context: ThreadContext) {
    this.context = context;
    this.#block = context.buffers.shared;
    let first = true;
    this.onread = {
      buffer: () => {
        const before = this.#block;
        this.#nextBlock();
        // Node keeps the present buffer when what comes back is not one.
        if (!first && before === this.#block) return undefined as unknown as Uint8Array;
        first = false;
        return this.#block.window;
      },
      callback: (size) => {
        // The hot entry: the guard written out, so that no closure is made for each read.
        try {
          this.#received(size);
        } catch (error) {
          this.#broke(error);
        }
        return true;
      },
    };
  }

  /** Bytes arrived: `bytes[start, end)`, valid until this returns. */
  protected abstract receive(bytes: Buffer, start: number, end: number): void;
  /** The peer ended its direction. */
  protected abstract ended(): void;
  /** The connection is gone; `error` says why when it was not in order. */
  protected abstract closed(error: Error | null): void;
  /** Everything written has left. */
  protected abstract drained(): void;
  /** An exception came out of our own code. */
  protected abstract broken(error: unknown): void;
  /** The deadline has passed. */
  protected abstract timedOut(): void;

  expire(): void {
    this.guard(() => this.timedOut());
  }

  attach(socket: Socket, deliversData: boolean): void {
    this.#socket = socket;
    this.context.clock.add(this);
    if (deliversData) socket.on("data", (data: Buffer) => this.guard(() => this.#copied(data)));
    socket.on("end", () => this.guard(() => this.ended()));
    socket.on("error", (error) => {
      this.#error = error;
    });
    socket.on("drain", () =>
      this.guard(() => {
        this.#reclaim();
        if (socket.writableLength === 0) this.drained();
      }),
    );
    socket.on("close", () =>
      this.guard(() => {
        this.context.clock.remove(this);
        this.#pending = null;
        this.#releaseOwn();
        this.closed(this.#error);
      }),
    );
  }

  get socket(): Socket {
    return this.#socket!;
  }

  /** Bytes accepted for writing that have not left yet. */
  get unsent(): number {
    return this.#socket!.writableLength;
  }

  get alive(): boolean {
    return this.#socket !== null && !this.#socket.destroyed;
  }

  /** The one guard: an exception ends this wire's exchange, never the thread. */
  guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#broke(error);
    }
  }

  #broke(error: unknown): void {
    try {
      this.broken(error);
    } catch (second) {
      this.context.report("error", "failed while ending a broken connection", { error: String(second) });
      this.#socket?.destroy();
    }
  }

  #received(size: number): void {
    const start = this.#block.window.byteOffset - this.#block.bytes.byteOffset;
    this.receive(this.#block.bytes, start, start + size);
  }

  // Where accepted sockets come through the public event their data arrives in buffers of Node's own: it is copied to
  // where the rest expects it, so that there is one path behind.
  #copied(data: Buffer): void {
    for (let at = 0; at < data.length && this.alive; ) {
      this.#nextBlock();
      const size = data.copy(this.#block.window, 0, at);
      at += size;
      this.#received(size);
    }
  }

  #nextBlock(): void {
    const { buffers } = this.context;
    if (!this.#streaming) this.#releaseOwn();
    else if (this.#given || this.#block === buffers.shared) {
      this.#block = buffers.take();
      this.#given = false;
    }
  }

  #releaseOwn(): void {
    const { buffers } = this.context;
    if (this.#block !== buffers.shared && !this.#given) buffers.free(this.#block);
    this.#block = buffers.shared;
    this.#given = false;
  }

  /** From the next read on, reads go to blocks of this wire's own (true) or to the thread's shared one. */
  protected stream(on: boolean): void {
    this.#streaming = on;
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#socket!.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket!.resume();
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Writes `out[0, size)`, which `buffers.outFor` gave. Answers false when the writer should wait for `drained`. */
  protected send(out: Buffer, size: number): boolean {
    const socket = this.#socket!;
    this.#reclaim();
    const { buffers } = this.context;
    // Behind a write that waits this one waits too: a small answer must not hold the whole buffer for so long.
    if (socket.writableLength > 0 && out === buffers.out) return socket.write(Buffer.from(out.subarray(0, size)));
    const more = socket.write(out.subarray(0, size));
    if (socket.writableLength === 0) return true;
    if (out === buffers.out) buffers.replaceOut();
    return more;
  }

  /**
   * Writes body bytes `bytes[start, end)` that `source` received, framed as a chunk when `chunked`, and the end of the
   * body when `last`. Bytes that stand in a block of the source's own go out uncopied, framing written around them, and
   * the block belongs to the write; the source has saved what follows them. All others are copied.
   * Answers false when `source` should pause until `drained`.
   */
  protected relay(source: Wire, bytes: Buffer, start: number, end: number, frame: BodyFrame): boolean {
    if (end === start && !(frame.chunked && frame.last)) return true;
    this.#reclaim();
    const block = source.#block;
    const trailers = frame.last ? frame.trailers : null;
    if (bytes !== block.bytes || block === this.context.buffers.shared || source.#given || trailers !== null) {
      const room = end - start + 64 + (trailers === null ? 0 : fieldsBound(trailers));
      const out = this.context.buffers.outFor(room);
      return this.send(out, writeBody(out, 0, bytes, start, end, frame));
    }
    if (frame.chunked) {
      if (end > start) {
        const head = writeChunkHead(scratch, 0, end - start);
        scratch.copy(bytes, start - head, 0, head);
        start -= head;
        bytes[end++] = 13;
        bytes[end++] = 10;
      }
      if (frame.last) end = writeLastChunk(bytes, end, null);
    }
    const socket = this.#socket!;
    // Told of the end even where nobody has to wait for it: an idle connection must not hold the block.
    const more = socket.write(bytes.subarray(start, end), this.#onWritten);
    if (socket.writableLength === 0) return true;
    source.#given = true;
    (this.#pending ??= []).push(block);
    return more;
  }

  #reclaim(): void {
    if (this.#pending === null || this.#socket!.writableLength > 0) return;
    for (const block of this.#pending) this.context.buffers.free(block);
    this.#pending = null;
  }
}
