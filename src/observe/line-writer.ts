/**
 * Writes whole lines to a `LogTarget` without ever waiting for it. At most 1 MiB is kept for a target that takes nothing;
 * lines beyond that, and those of a write that failed, are dropped and counted. It goes on when the target recovers.
 */
import { write, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { LogTarget } from "./log-target.ts";

/** Bytes that are worth a write at once; fewer wait for `MAX_WAIT` ms. */
const FLUSH_SIZE = 16 * 1024;
const MAX_WAIT = 100;
const MAX_WAITING = 1024 * 1024;
/** POSIX: a write of so many bytes to a pipe is never torn apart by another thread's (PIPE_BUF). */
const PIPE_SIZE = 4096;
/** A full pipe is tried again after so many ms, then twice as many; after another error at the second interval at once. */
const FIRST_RETRY = 1;
const LAST_RETRY = 100;
/** How long `close` waits for a reader that takes nothing. */
const CLOSE_WAIT = 1000;

const LINE_FEED = 0x0a;
const SLOW = "its reader is too slow";
/** Each buffer begins with a line feed: it ends a line of which a failed write has left the first part. */
const HEAD = 1;

export type LineWriterOptions = {
  readonly target: LogTarget;
  /** Called with the number of lines dropped, and why. */
  readonly dropped: (lines: number, cause: string) => void;
  /** Bytes that a line usually has at most. */
  readonly line?: number;
};

export class LineWriter {
  #target: LogTarget;
  readonly #dropped: LineWriterOptions["dropped"];
  /** Lines not given to a write yet. */
  #filling: Buffer;
  #length = HEAD;
  #oldest = 0;
  /** They are to be written without waiting for more. */
  #isFlushed = false;
  /** The buffer of the write under way, from what is not written yet to its end. */
  #writing: Buffer;
  #start = 0;
  #end = 0;
  /** Bytes of the write that the system has; 0: none. */
  #inSystem = 0;
  /** The last byte that was written was not the end of a line. */
  #isTorn = false;
  #retryIn = 0;
  #isWaiting = false;
  #next: (() => void) | null = null;
  #isClosed = false;

  constructor({ target, dropped, line = 1024 }: LineWriterOptions) {
    this.#target = target;
    this.#dropped = dropped;
    this.#filling = makeBuffer(2 * line);
    this.#writing = makeBuffer(2 * line);
  }

  /** Where the next line begins in `begin`'s buffer. */
  get length(): number {
    return this.#length;
  }

  /** The buffer, with `room` bytes behind `length`; null: the line is dropped, as too many wait. */
  begin(room: number): Buffer | null {
    if (this.#length + this.#end - this.#start > MAX_WAITING) {
      this.#dropped(1, SLOW);
      return null;
    }
    if (this.#filling.length - this.#length < room) {
      const grown = makeBuffer(Math.max(2 * this.#filling.length, this.#length + room));
      this.#filling.copy(grown, 0, 0, this.#length);
      this.#filling = grown;
    }
    return this.#filling;
  }

  /** The line ends before `end`. `now`: monotonic, ms. */
  end(end: number, now: number): void {
    if (this.#length === HEAD) this.#oldest = now;
    this.#length = end;
    if (end >= FLUSH_SIZE) this.flush();
  }

  /** Writes what has waited long enough. */
  tick(now: number): void {
    if (this.#length > HEAD && now - this.#oldest >= MAX_WAIT) this.flush();
    if (!this.#isClosed) this.#target.check(now, () => this.reopen());
  }

  /** Gives the lines to a write, behind the one that is under way. */
  flush(): void {
    this.#isFlushed = this.#length > HEAD;
    if (this.#end > this.#start || !this.#isFlushed) return;
    this.#isFlushed = false;
    const free = this.#writing;
    this.#writing = this.#filling;
    this.#start = this.#isTorn ? 0 : HEAD;
    this.#end = this.#length;
    this.#filling = free;
    this.#length = HEAD;
    this.#write();
  }

  /** Opens the target's file anew, behind the write that is under way. */
  reopen(): void {
    this.#between(() => {
      this.#target.open();
      this.#isTorn = false;
    });
  }

  /** From now on writes to another target. */
  move(target: LogTarget): void {
    this.flush();
    this.#between(() => {
      this.#target.close();
      this.#target = target;
      this.#isTorn = false;
    });
  }

  /** Writes what is left, waiting a moment for a slow reader. */
  async close(): Promise<void> {
    const deadline = performance.now() + CLOSE_WAIT;
    for (; this.#length > HEAD || this.#end > this.#start; await sleep(1)) {
      if (performance.now() > deadline) break;
      this.flush();
    }
    this.#isClosed = true;
    this.#drop();
    if (this.#inSystem === 0) this.#target.close();
  }

  /** At the end of the process: writes what it can at once, without a second try. */
  closeNow(): void {
    const rest = this.#writing.subarray(this.#start + this.#inSystem, this.#end);
    const all = Buffer.concat([rest, this.#filling.subarray(HEAD, this.#length)]);
    this.#length = HEAD;
    this.#end = this.#start + this.#inSystem;
    if (all.length === 0 || this.#target.fd < 0) return;
    try {
      writeSync(this.#target.fd, all);
    } catch {
      // There is nothing left to say it to.
    }
  }

  /** Runs when no write is under way. */
  #between(run: () => void): void {
    if (this.#inSystem === 0) return run();
    const before = this.#next;
    this.#next = () => {
      before?.();
      run();
    };
  }

  #write(): void {
    if (this.#inSystem > 0 || this.#isWaiting) return;
    const { fd } = this.#target;
    if (fd < 0) return this.#fail("it cannot be opened");
    this.#inSystem = this.#chunk();
    write(fd, this.#writing, this.#start, this.#inSystem, null, (error, written) => {
      this.#inSystem = 0;
      this.#wrote(error, written);
    });
  }

  #wrote(error: NodeJS.ErrnoException | null, written: number): void {
    if (error === null && written > 0) {
      this.#retryIn = 0;
      this.#start = Math.min(this.#end, this.#start + written);
      this.#isTorn = this.#writing[this.#start - 1] !== LINE_FEED;
    } else if (error === null || error.code === "EAGAIN") this.#retry();
    else this.#fail(error.message);
    const next = this.#next;
    this.#next = null;
    next?.();
    this.#continue();
  }

  #continue(): void {
    if (this.#start < this.#end) this.#write();
    else if (this.#isFlushed || this.#length >= FLUSH_SIZE) this.flush();
  }

  /** The disk is full, or the reader has gone: what was to be written is lost, and the next lines wait a moment. */
  #fail(cause: string): void {
    this.#dropped(countLines(this.#writing, Math.max(this.#start, HEAD), this.#end), cause);
    this.#start = this.#end;
    this.#retryIn = LAST_RETRY;
    this.#retry();
  }

  #retry(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#retryIn = Math.min(LAST_RETRY, Math.max(FIRST_RETRY, 2 * this.#retryIn));
    setTimeout(() => {
      this.#isWaiting = false;
      this.#continue();
    }, this.#retryIn).unref();
  }

  #drop(): void {
    const start = this.#start + this.#inSystem;
    const lines =
      countLines(this.#writing, Math.max(start, HEAD), this.#end) + countLines(this.#filling, HEAD, this.#length);
    this.#end = start;
    this.#length = HEAD;
    if (lines > 0) this.#dropped(lines, SLOW);
  }

  /** How much to write at once: to a pipe only so many whole lines as no other writer can tear apart. */
  #chunk(): number {
    const [bytes, start, end] = [this.#writing, this.#start, this.#end];
    if (!this.#target.isPipe || end - start <= PIPE_SIZE) return end - start;
    let last = bytes.lastIndexOf(LINE_FEED, start + PIPE_SIZE - 1);
    if (last < start) last = bytes.indexOf(LINE_FEED, start);
    return (last < 0 || last >= end ? end - 1 : last) - start + 1;
  }
}

function makeBuffer(size: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Math.max(size, 4096));
  bytes[0] = LINE_FEED;
  return bytes;
}

function countLines(bytes: Buffer, start: number, end: number): number {
  let lines = 0;
  for (let at = bytes.indexOf(LINE_FEED, start); at >= 0 && at < end; at = bytes.indexOf(LINE_FEED, at + 1)) lines++;
  return lines;
}
