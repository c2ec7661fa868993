/**
 * Writes whole lines to a `LogTarget` without blocking. At most 1 MiB is buffered for a slow target; further lines, and
 * those of a failed write, are dropped and counted. Writing continues when the target recovers.
 */
import { write, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { LogTarget } from "./log-target.ts";

/**
 * Bytes that are written at once; fewer are flushed after `MAX_WAIT` ms. A write takes 16 µs of processor time in libuv's
 * threads, whatever its size: 320 ns for each line of 330 bytes with 16 KiB, 80 ns with 64 KiB.
 */
const FLUSH_SIZE = 64 * 1024;
const MAX_WAIT = 100;
const MAX_WAITING = 1024 * 1024;
/** PIPE_BUF: writes of at most that many bytes to a pipe are atomic (POSIX). */
const PIPE_SIZE = 4096;
/** First and longest interval of retries in ms: doubled for a full pipe; the longest at once after other errors. */
const FIRST_RETRY = 1;
const LAST_RETRY = 100;
/** Time limit of `close` in ms for a reader that does not read. */
const CLOSE_WAIT = 1000;

const LINE_FEED = 0x0a;
const SLOW = "its reader is too slow";
/** Each buffer begins with a line feed, which is written to end a line that a failed write has truncated. */
const HEAD = 1;

export type LineWriterOptions = {
  readonly target: LogTarget;
  /** Called with the number of dropped lines and the reason. */
  readonly dropped: (lines: number, cause: string) => void;
  /** Usual maximum of bytes per line. */
  readonly line?: number;
};

export class LineWriter {
  #target: LogTarget;
  readonly #dropped: LineWriterOptions["dropped"];
  /** Lines that are not part of a write yet. */
  #filling: Buffer;
  #length = HEAD;
  #oldest = 0;
  /** They are to be written at once. */
  #isFlushed = false;
  /** The unwritten rest of the current write's buffer. */
  #writing: Buffer;
  #start = 0;
  #end = 0;
  /** Bytes of the current write that were passed to the system; 0: none. */
  #inSystem = 0;
  /** The last written byte was not the end of a line. */
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

  /** Offset of the next line in the buffer that `begin` returns. */
  get length(): number {
    return this.#length;
  }

  /** Returns the buffer with `room` bytes after `length`; null: the line is dropped, because too many are buffered. */
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

  /** Ends a line at `end`. `now`: a monotonic clock, ms. */
  end(end: number, now: number): void {
    if (this.#length === HEAD) this.#oldest = now;
    this.#length = end;
    if (end >= FLUSH_SIZE) this.flush();
  }

  /** Flushes lines that are old enough. */
  tick(now: number): void {
    if (this.#length > HEAD && now - this.#oldest >= MAX_WAIT) this.flush();
    if (!this.#isClosed) this.#target.check(now, () => this.reopen());
  }

  /** Starts a write of the lines, after the current one. */
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

  /** Reopens the target's file after the current write. */
  reopen(): void {
    this.#between(() => {
      this.#target.open();
      this.#isTorn = false;
    });
  }

  /** Switches to another target. */
  move(target: LogTarget): void {
    this.flush();
    this.#between(() => {
      this.#target.close();
      this.#target = target;
      this.#isTorn = false;
    });
  }

  /** Flushes all lines, with a time limit for a slow reader. */
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

  /** At the exit of the process: writes synchronously what the target accepts, without retries. */
  closeNow(): void {
    const rest = this.#writing.subarray(this.#start + this.#inSystem, this.#end);
    const all = Buffer.concat([rest, this.#filling.subarray(HEAD, this.#length)]);
    this.#length = HEAD;
    this.#end = this.#start + this.#inSystem;
    if (all.length === 0 || this.#target.fd < 0) return;
    try {
      writeSync(this.#target.fd, all);
    } catch {
      // The process exits: the error cannot be reported.
    }
  }

  /** Called when no write is running. */
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

  /** The disk is full, or the reader is gone: drops the lines of the write and pauses. */
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

  /** Size of the next write: for a pipe, whole lines up to PIPE_BUF, which other writers cannot interleave. */
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
