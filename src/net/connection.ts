/**
 * An accepted or dialled byte stream: TCP or Unix, plain or TLS. It reads into the worker's buffers, writes by the
 * ownership rules of `buffers.ts`, has one deadline, and catches exceptions in callbacks. The protocol is implemented by
 * a `ConnectionHandler`, which can be replaced during the connection.
 */
import type { Socket } from "node:net";
import { readPeer } from "./address.ts";
import { type Bandwidth, RECEIVED, SENT } from "./bandwidth.ts";
import type { Block, Buffers } from "./buffers.ts";
import type { Clock, Timed } from "./clock.ts";
import { PendingBuffer } from "./pending-buffer.ts";
import type { Proxied } from "./proxy-protocol.ts";
import type { TlsFacts } from "./tls-facts.ts";
import { resetTls } from "./tls-reset.ts";

/** The protocol of a connection. An exception in one of these methods is reported to `broken`. */
export interface ConnectionHandler {
  /** Received `bytes[start, end)`, valid until this returns. Not called while reading is paused. */
  receive(bytes: Buffer, start: number, end: number): void;
  /** The peer ended its direction. */
  ended(): void;
  /** The connection is closed; `error` is the cause, null after an orderly end. */
  closed(error: Error | null): void;
  /** All written bytes were sent, after a write that did not complete synchronously. */
  flushed(): void;
  /** `deadline` has passed; it was reset to 0. */
  timedOut(): void;
  /** A handler threw an exception. */
  broken(error: unknown): void;
}

/** Counts connections and their bytes. */
export interface ConnectionOwner {
  received(size: number): void;
  sent(size: number): void;
  /** Called after the handler's `closed`. */
  closed(connection: Connection): void;
}

export type NetContext = {
  readonly clock: Clock;
  readonly buffers: Buffers;
  readonly report: (level: "error", message: string, fields: Record<string, unknown>) => void;
};

type Reads = { readonly buffer: () => Uint8Array; readonly callback: (size: number) => boolean };

const NOTHING = Buffer.alloc(0);
/** Longest pause of reading, ms: without a read it is not noticed that a peer has gone. It is of one byte. */
const MAX_READ_PAUSE = 10_000;
/** A write of up to this size that cannot complete synchronously gets a copy, and occupies no block, bytes. */
const MAX_COPY = 4096;

export class Connection<Handler extends ConnectionHandler = ConnectionHandler> implements Timed {
  deadline = 0;
  sweepIndex = -1;
  handler!: Handler;
  /** The client's address: the peer's, or that of a PROXY protocol header. Empty: a Unix socket, unknown, or dialled. */
  peerAddress = "";
  /** What a PROXY protocol header reports; null without one. */
  proxied: Proxied | null = null;
  /** Set once, when the handshake is complete; null for a connection without TLS. */
  tls: TlsFacts | null = null;
  /** Limits its speed; null: unlimited. */
  bandwidth: Bandwidth | null = null;
  /** While a direction pauses for its bandwidth. */
  #readPause: NodeJS.Timeout | null = null;
  /** A pause of reading was shortened. */
  #isOverdue = false;
  #writePause: NodeJS.Timeout | null = null;
  /** End of the pause of writing. */
  #writesAt = 0;
  /** Closed with it. */
  #dependents: { close(): void }[] | null = null;
  readonly #context: NetContext;
  readonly #owner: ConnectionOwner | null;
  #socket: Socket | null = null;
  /** The socket was made without `onread`. */
  #deliversData = false;
  /** TLS: a write never completes synchronously. */
  #isDeferred = false;
  /** The current read buffer: the worker's shared block, or a separate block while streaming. */
  #block: Block;
  /** The block belongs to a write; the next read needs another. */
  #isLent = false;
  #streaming = false;
  /** Blocks that belong to writes of this connection. */
  #borrowed: Block[] | null = null;
  #awaitsFlush = false;
  readonly #onWritten = (): void => this.#written();
  #paused = false;
  /**
   * Received after `pause()`: a TLS socket still delivers the other records of what it has read, at most a block. And
   * whether the peer has ended its direction behind them.
   */
  #kept: PendingBuffer | null = null;
  #keptEnd = false;
  /** The socket has closed, which is reported after what is kept. */
  #closesLate = false;
  #error: Error | null = null;

  constructor(context: NetContext, owner: ConnectionOwner | null) {
    this.#context = context;
    this.#owner = owner;
    this.#block = context.buffers.shared;
  }

  /** The option `onread` of one socket; avoids a Buffer per read. */
  makeReads(): Reads {
    let first = true;
    let wasLimited = false;
    return {
      buffer: () => {
        const before = this.#block;
        this.#nextBlock();
        if (this.bandwidth !== null || wasLimited) {
          wasLimited = this.bandwidth !== null;
          if (this.bandwidth === null) return this.#block.window;
          // TLS reads a whole record at once, which would be passed on in thousands of single bytes.
          const isLeast = this.#isOverdue && !this.#isDeferred;
          return this.#block.window.subarray(0, isLeast ? 1 : this.bandwidth.readSize);
        }
        // Node keeps the current buffer if the result is not a buffer.
        if (!first && before === this.#block) return undefined as unknown as Uint8Array;
        first = false;
        return this.#block.window;
      },
      callback: (size) => {
        // Hot path: the guard is inlined to avoid a closure per read.
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
    this.#listen(socket, deliversData);
  }

  /** Continues with another socket over the same handle or socket: the TLS socket. */
  replaceSocket(socket: Socket, deliversData: boolean): void {
    this.#socket = socket;
    this.#isDeferred = true;
    this.#listen(socket, deliversData);
  }

  #listen(socket: Socket, deliversData: boolean): void {
    this.#deliversData = deliversData;
    if (deliversData) socket.on("data", (data: Buffer) => this.guard(() => this.#copied(data)));
    // Only errors of a replaced socket matter: they also end the socket above it.
    socket.on("end", () => {
      if (socket !== this.#socket) return;
      if (this.#kept !== null) this.#keptEnd = true;
      else this.guard(() => this.handler.ended());
    });
    socket.on("error", (error) => {
      this.#error ??= error;
    });
    socket.on("close", () => {
      if (socket === this.#socket) this.#closed();
    });
  }

  /** Reads the peer address of an accepted socket. */
  readPeer(): void {
    const { remoteAddress = "" } = this.#socket!;
    this.peerAddress = readPeer(remoteAddress);
  }

  /** Reads go into our own buffers. */
  get readsHandle(): boolean {
    return !this.#deliversData;
  }

  get socket(): Socket {
    return this.#socket!;
  }

  /** Written bytes that are not sent yet. */
  get unsent(): number {
    return this.#socket!.writableLength;
  }

  /** More than the socket's high-water mark is unsent, or writing pauses for its bandwidth. */
  get isBackedUp(): boolean {
    return this.#socket!.writableNeedDrain || this.#writePause !== null;
  }

  /** The peer ended its direction. */
  get hasEnded(): boolean {
    return this.#socket!.readableEnded && !this.#keptEnd;
  }

  get alive(): boolean {
    // With both directions ended, it closes itself before what is kept was delivered.
    return this.#socket !== null && (!this.#socket.destroyed || (this.#keptEnd && this.#error === null));
  }

  /** Closes `dependent` when this connection has closed, after the handler's `closed`. */
  closesWith(dependent: { close(): void }): void {
    (this.#dependents ??= []).push(dependent);
  }

  /** Runs a handler; an exception ends this connection's exchange, never the worker. */
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

  /** Sets the deadline to `ms` from now, or from the end of a pause of writing; 0: none. */
  arm(ms: number): void {
    this.deadline = this.#context.clock.after(ms);
    if (this.#writePause !== null && ms > 0) this.deadline += Math.max(0, this.#writesAt - this.#context.clock.now);
  }

  #broke(error: unknown): void {
    try {
      this.handler.broken(error);
    } catch (second) {
      this.#context.report("error", "failed while ending a broken connection", { error: String(second) });
      if (this.#socket !== null) this.destroy();
    }
  }

  #closed(): void {
    this.#closesLate = this.#keptEnd && this.#error === null;
    if (this.#closesLate) return;
    this.#context.clock.remove(this);
    this.#borrowed = null;
    if (this.#readPause !== null) clearTimeout(this.#readPause);
    if (this.#writePause !== null) clearTimeout(this.#writePause);
    this.#releaseOwn();
    this.guard(() => this.handler.closed(this.#error));
    if (this.#dependents !== null) for (const dependent of this.#dependents) dependent.close();
    if (this.#owner !== null) this.#owner.closed(this);
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Aborts the connection: by a TCP reset, so that the peer does not take it for an ordinary end. */
  reset(): void {
    this.#dropKept();
    const socket = this.#socket!;
    if (this.#isDeferred) resetTls(socket);
    // A Unix socket cannot be reset. After a shutdown a reset fails, and the handle would leak.
    else if (!socket.writableEnded && socket.remoteAddress !== undefined) socket.resetAndDestroy();
    else socket.destroy();
  }

  /** Ends the write direction after all written bytes were sent, then calls `finished`. */
  end(finished: () => void): void {
    this.#socket!.end(finished);
  }

  /** Ends both directions after all written bytes were sent. */
  endBoth(): void {
    this.#dropKept();
    const socket = this.#socket!;
    // With everything sent and received, closing is the end: a shutdown before it would be one more system call.
    if (!this.#isDeferred && socket.readableEnded && socket.writableLength === 0 && isSettled(socket)) socket.destroy();
    else socket.destroySoon();
  }

  destroy(): void {
    this.#dropKept();
    this.#socket!.destroy();
  }

  #dropKept(): void {
    this.#kept = null;
    this.#keptEnd = false;
    if (!this.#closesLate) return;
    this.#closesLate = false;
    // Later, as by a socket.
    setImmediate(() => this.#closed());
  }

  // ── Reads ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #received(size: number): void {
    if (this.#owner !== null) this.#owner.received(size);
    const start = this.#block.window.byteOffset - this.#block.bytes.byteOffset;
    if (this.#paused || this.#kept !== null)
      (this.#kept ??= new PendingBuffer()).append(this.#block.bytes, start, start + size);
    else this.handler.receive(this.#block.bytes, start, start + size);
    if (this.bandwidth !== null) this.#limitReads(this.bandwidth.debit(RECEIVED, size));
  }

  /** Reads nothing for `debt` ms, for which the deadline is extended. */
  #limitReads(debt: number): void {
    this.#isOverdue = debt > MAX_READ_PAUSE;
    if (debt === 0 || !this.alive) return;
    const ms = Math.min(debt, MAX_READ_PAUSE);
    if (this.deadline > 0) this.deadline += ms;
    if (this.#readPause !== null) clearTimeout(this.#readPause);
    this.#socket!.pause();
    this.#readPause = setTimeout(() => {
      this.#readPause = null;
      if (!this.#paused && this.alive) this.#socket!.resume();
    }, ms);
  }

  // Sockets accepted by the public event deliver data in Node's buffers: it is copied into ours, so that later code has
  // one path.
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

  /** From the next read on, reads into blocks of this connection (true) or into the worker's shared block. */
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
    // Not now: the caller is not prepared for more.
    if (this.#kept !== null || this.#keptEnd) setImmediate(() => this.guard(() => this.#deliverKept()));
    else if (this.#readPause === null) this.#socket!.resume();
  }

  #deliverKept(): void {
    if (this.#paused || !this.alive) return;
    const kept = this.#kept;
    this.#kept = null;
    if (kept !== null) this.handler.receive(kept.bytes, kept.start, kept.end);
    if (this.#paused || !this.alive) return;
    if (this.#keptEnd) {
      this.#keptEnd = false;
      this.handler.ended();
      if (this.#closesLate) this.#closed();
    } else if (this.#readPause === null) this.#socket!.resume();
  }

  get paused(): boolean {
    return this.#paused;
  }

  // ── Writes ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Writes `out[0, size)`, which `buffers.outFor` gave. Returns false if the writer should pause until `flushed`. */
  send(out: Buffer, size: number): boolean {
    const socket = this.#socket!;
    const { buffers } = this.#context;
    if (out !== buffers.out) return this.#write(out.subarray(0, size));
    const bytes = buffers.viewOfOut(size);
    // A small response queued behind a pending write must not occupy the whole buffer.
    if (this.#isDeferred || socket.writableLength > 0) return this.#write(Buffer.from(bytes));
    const more = this.#write(bytes);
    if (socket.writableLength > 0) buffers.replaceOut();
    return more;
  }

  /**
   * Writes `block.bytes[0, size)`. The block, of `buffers.take`, belongs to this connection from now on: it is freed when
   * the write completes. Returns false if the writer should pause until `flushed`.
   */
  sendBlock(block: Block, size: number): boolean {
    const { buffers } = this.#context;
    const bytes = block.bytes.subarray(0, size);
    const socket = this.#socket!;
    if (size <= MAX_COPY && (this.#isDeferred || socket.writableLength > 0)) {
      buffers.free(block);
      return this.#write(Buffer.from(bytes));
    }
    const more = this.#write(bytes);
    if (socket.writableLength === 0) buffers.free(block);
    else (this.#borrowed ??= []).push(block);
    return more;
  }

  /** Whether `bytes` is a block of this connection, with HEADROOM and TAILROOM around the data for framing. */
  lends(bytes: Buffer): boolean {
    return bytes === this.#block.bytes && this.#block !== this.#context.buffers.shared && !this.#isLent;
  }

  /** Writes bytes of a block of `lender` without a copy. Returns false if `lender` should pause until `flushed`. */
  sendLent(lender: Connection, bytes: Buffer, start: number, end: number): boolean {
    const more = this.#write(bytes.subarray(start, end));
    if (this.#socket!.writableLength === 0) return this.#writePause === null;
    lender.#isLent = true;
    (this.#borrowed ??= []).push(lender.#block);
    return more;
  }

  #write(bytes: Buffer): boolean {
    const socket = this.#socket!;
    if (this.#owner !== null) this.#owner.sent(bytes.length);
    if (this.#isDeferred || socket.writableLength > 0) {
      this.#awaitsFlush = true;
      const more = socket.write(bytes, this.#onWritten);
      return this.bandwidth === null ? more : this.#limitWrites(this.bandwidth, bytes.length) && more;
    }
    const more = socket.write(bytes);
    // Most writes have completed here, and a callback is costly. An empty write after a pending one reports its completion.
    if (socket.writableLength > 0) {
      this.#awaitsFlush = true;
      socket.write(NOTHING, this.#onWritten);
    }
    return this.bandwidth === null ? more : this.#limitWrites(this.bandwidth, bytes.length) && more;
  }

  /** Returns false if the writer should pause: `flushed` follows after the pause. */
  #limitWrites(bandwidth: Bandwidth, size: number): boolean {
    const ms = bandwidth.debit(SENT, size);
    if (ms === 0) return this.#writePause === null;
    if (this.#writePause !== null) clearTimeout(this.#writePause);
    this.#writesAt = this.#context.clock.now + ms;
    this.#writePause = setTimeout(() => {
      this.#writePause = null;
      this.#awaitsFlush = true;
      this.#written();
    }, ms);
    return false;
  }

  #written(): void {
    if (!this.#awaitsFlush || this.#socket!.writableLength > 0 || !this.alive || this.#writePause !== null) return;
    this.#awaitsFlush = false;
    const borrowed = this.#borrowed;
    this.#borrowed = null;
    if (borrowed !== null) for (const block of borrowed) this.#context.buffers.free(block);
    this.guard(() => this.handler.flushed());
  }
}

/** No shutdown is pending, whose callback would fail. */
function isSettled({ writableEnded, writableFinished }: Socket): boolean {
  return !writableEnded || writableFinished;
}
