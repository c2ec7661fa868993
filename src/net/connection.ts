/**
 * An accepted or dialled byte stream, TCP or Unix, plain or TLS. It reads into known memory, writes by the ownership rules
 * of `buffers.ts`, has one deadline, and lets no exception out of a callback. It knows no protocol: a `ConnectionHandler`
 * does, and can be exchanged while the connection lives.
 */
import type { Socket } from "node:net";
import { readPeer } from "./address.ts";
import type { Block, Buffers } from "./buffers.ts";
import type { Clock, Timed } from "./clock.ts";

/** What a protocol does with a connection. An exception from one of these is reported by `broken`. */
export interface ConnectionHandler {
  /** Bytes arrived: `bytes[start, end)`, valid until this returns. */
  receive(bytes: Buffer, start: number, end: number): void;
  /** The peer ended its direction. */
  ended(): void;
  /** The connection is gone; `error`: why, null where it ended in order. */
  closed(error: Error | null): void;
  /** All that was written has left, and the last write was not complete at once. */
  flushed(): void;
  /** `deadline` has passed. It is 0 again. */
  timedOut(): void;
  /** An exception came out of our own code. */
  broken(error: unknown): void;
}

/** Counts connections and their bytes. */
export interface ConnectionOwner {
  received(size: number): void;
  sent(size: number): void;
  /** After its handler's `closed`. */
  closed(connection: Connection): void;
}

export type NetContext = {
  readonly clock: Clock;
  readonly buffers: Buffers;
  readonly report: (level: "error", message: string, fields: Record<string, unknown>) => void;
};

const NOTHING = Buffer.alloc(0);

export class Connection<Handler extends ConnectionHandler = ConnectionHandler> implements Timed {
  deadline = 0;
  sweepIndex = -1;
  handler!: Handler;
  /** The peer's address as text; empty for a Unix socket, and for a connection that was dialled. */
  peerAddress = "";
  readonly #context: NetContext;
  readonly #owner: ConnectionOwner | null;
  #socket: Socket | null = null;
  /** TCP without TLS: it can be reset. */
  #isResettable = false;
  /** TLS: a write is never complete when `write` returns. */
  #isDeferred = false;
  /** What the socket reads into now: the thread's shared block, or one of its own while streaming. */
  #block: Block;
  /** The block belongs to a write; the next read needs another. */
  #isLent = false;
  #streaming = false;
  /** Blocks that belong to writes of this connection. */
  #borrowed: Block[] | null = null;
  #awaitsFlush = false;
  readonly #onWritten = (): void => this.#written();
  #paused = false;
  #error: Error | null = null;

  /** For the socket's constructor: reads come without a Buffer made for each. */
  readonly onread: { buffer: () => Uint8Array; callback: (size: number) => boolean };

  constructor(context: NetContext, owner: ConnectionOwner | null) {
    this.#context = context;
    this.#owner = owner;
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

  /** `deliversData`: the socket was made without `onread`. */
  attach(socket: Socket, deliversData: boolean): void {
    this.#socket = socket;
    this.#isDeferred = (socket as { encrypted?: boolean }).encrypted === true;
    this.#context.clock.add(this);
    if (deliversData) socket.on("data", (data: Buffer) => this.guard(() => this.#copied(data)));
    socket.on("end", () => this.guard(() => this.handler.ended()));
    socket.on("error", (error) => {
      this.#error = error;
    });
    socket.on("close", () => this.#closed());
  }

  /** Reads the facts of an accepted socket's peer. */
  readPeer(): void {
    const { remoteAddress = "" } = this.#socket!;
    this.#isResettable = remoteAddress !== "" && !this.#isDeferred;
    this.peerAddress = readPeer(remoteAddress);
  }

  get socket(): Socket {
    return this.#socket!;
  }

  /** Bytes accepted for writing that have not left yet. */
  get unsent(): number {
    return this.#socket!.writableLength;
  }

  /** More than the socket's high-water mark is unsent. */
  get isBackedUp(): boolean {
    return this.#socket!.writableNeedDrain;
  }

  /** The peer ended its direction. */
  get hasEnded(): boolean {
    return this.#socket!.readableEnded;
  }

  get alive(): boolean {
    return this.#socket !== null && !this.#socket.destroyed;
  }

  /** The one guard: an exception ends what this connection carries, never the thread. */
  guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#broke(error);
    }
  }

  expire(): void {
    this.guard(() => this.handler.timedOut());
  }

  /** Moves the deadline to `ms` from now; 0: there is none. */
  arm(ms: number): void {
    this.deadline = this.#context.clock.after(ms);
  }

  #broke(error: unknown): void {
    try {
      this.handler.broken(error);
    } catch (second) {
      this.#context.report("error", "failed while ending a broken connection", { error: String(second) });
      this.#socket?.destroy();
    }
  }

  #closed(): void {
    this.#context.clock.remove(this);
    this.#borrowed = null;
    this.#releaseOwn();
    this.guard(() => this.handler.closed(this.#error));
    if (this.#owner !== null) this.#owner.closed(this);
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends it at once, so that the peer sees it broken: by a reset where the kind of socket has one. */
  reset(): void {
    // After a shutdown a reset is refused, and the handle would stay open.
    if (this.#isResettable && !this.#socket!.writableEnded) this.#socket!.resetAndDestroy();
    else this.#socket!.destroy();
  }

  /** Ends our direction once all that was written has left, and then calls `finished`. */
  end(finished: () => void): void {
    this.#socket!.end(finished);
  }

  /** Ends both directions once all that was written has left. */
  endBoth(): void {
    this.#socket!.end();
    this.#socket!.destroySoon();
  }

  destroy(): void {
    this.#socket!.destroy();
  }

  // ── Reads ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #received(size: number): void {
    if (this.#owner !== null) this.#owner.received(size);
    const start = this.#block.window.byteOffset - this.#block.bytes.byteOffset;
    this.handler.receive(this.#block.bytes, start, start + size);
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
    const { buffers } = this.#context;
    if (!this.#streaming) this.#releaseOwn();
    else if (this.#isLent || this.#block === buffers.shared) {
      this.#block = buffers.take();
      this.#isLent = false;
    }
  }

  #releaseOwn(): void {
    const { buffers } = this.#context;
    if (this.#block !== buffers.shared && !this.#isLent) buffers.free(this.#block);
    this.#block = buffers.shared;
    this.#isLent = false;
  }

  /** From the next read on, reads go to blocks of this connection's own (true) or to the thread's shared one. */
  stream(on: boolean): void {
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

  // ── Writes ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Writes `out[0, size)`, which `buffers.outFor` gave. False: the writer should wait for `flushed`. */
  send(out: Buffer, size: number): boolean {
    const socket = this.#socket!;
    const { buffers } = this.#context;
    const bytes = out.subarray(0, size);
    if (out !== buffers.out) return this.#write(bytes);
    // A small response behind a write that is not complete must not keep the whole buffer for so long.
    if (this.#isDeferred || socket.writableLength > 0) return this.#write(Buffer.from(bytes));
    const more = this.#write(bytes);
    if (socket.writableLength > 0) buffers.replaceOut();
    return more;
  }

  /**
   * Whether `bytes` is a block of this connection's own, which `sendLent` may take. It has HEADROOM and TAILROOM around
   * what was read, for framing that is written in place.
   */
  lends(bytes: Buffer): boolean {
    return bytes === this.#block.bytes && this.#block !== this.#context.buffers.shared && !this.#isLent;
  }

  /** Writes `bytes[start, end)` uncopied, of a block that `lender` lends. False: `lender` should pause until `flushed`. */
  sendLent(lender: Connection, bytes: Buffer, start: number, end: number): boolean {
    const more = this.#write(bytes.subarray(start, end));
    if (this.#socket!.writableLength === 0) return true;
    lender.#isLent = true;
    (this.#borrowed ??= []).push(lender.#block);
    return more;
  }

  #write(bytes: Buffer): boolean {
    const socket = this.#socket!;
    if (this.#owner !== null) this.#owner.sent(bytes.length);
    if (this.#isDeferred || socket.writableLength > 0) {
      this.#awaitsFlush = true;
      return socket.write(bytes, this.#onWritten);
    }
    const more = socket.write(bytes);
    // Most writes are complete by now, and a callback costs. An empty write behind one that is not reports its end.
    if (socket.writableLength > 0) {
      this.#awaitsFlush = true;
      socket.write(NOTHING, this.#onWritten);
    }
    return more;
  }

  #written(): void {
    if (!this.#awaitsFlush || this.#socket!.writableLength > 0 || !this.alive) return;
    this.#awaitsFlush = false;
    const borrowed = this.#borrowed;
    this.#borrowed = null;
    if (borrowed !== null) for (const block of borrowed) this.#context.buffers.free(block);
    this.guard(() => this.handler.flushed());
  }
}
