/**
 * The target of log lines: a descriptor that the process was started with, or a file opened by its path. Writes do not
 * block. (libuv has four threads for files and name lookups; a pipe that is never read would block one per log.)
 */
import { accessSync, closeSync, constants, fstatSync, openSync, stat } from "node:fs";
import { Socket } from "node:net";
import { dirname } from "node:path";
import { isatty } from "node:tty";
import { isMainThread } from "node:worker_threads";

const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK, O_WRONLY, W_OK, X_OK } = constants;
const MODE = 0o644;
const CLOSED = -1;
/** Interval in ms at which the file's path is checked; missing or another file twice in a row means removed. */
const CHECK_EVERY = 1000;
const MISSING = 2;

export type LogTargetOptions = {
  /** Used while `path` is null; default: standard output. */
  readonly fd?: number;
  readonly path?: string | null;
};

/** Sockets that keep a descriptor non-blocking; a collected socket would close it. */
const keptOpen: Socket[] = [];

export class LogTarget {
  readonly path: string | null;
  readonly #given: number;
  #fd = CLOSED;
  /** Writes above PIPE_BUF can be interleaved with those of other threads. */
  isPipe = false;
  /** Device and number of the open file. */
  #device = 0;
  #inode = 0;
  #checkedAt = 0;
  #missing = 0;

  constructor({ fd = 1, path = null }: LogTargetOptions = {}) {
    this.#given = fd;
    this.path = path;
    this.open();
  }

  /** Negative while the file cannot be opened. */
  get fd(): number {
    return this.#fd;
  }

  /** Reopens the file by its path. No write may be running. */
  open(): void {
    this.close();
    this.#missing = 0;
    try {
      this.#fd = this.path === null ? openGiven(this.#given) : openSync(this.path, fileFlags(), MODE);
      const opened = fstatSync(this.#fd);
      this.isPipe = opened.isFIFO();
      this.#device = opened.dev;
      this.#inode = opened.ino;
    } catch {
      // Lines are counted as dropped until a retry succeeds.
      if (this.#fd === CLOSED && this.path === null) this.#fd = this.#given;
    }
  }

  /**
   * Checks once a second whether the path still names the file; calls `removed` if it does not. It may name another file
   * because another worker has created the removed one again. `now`: monotonic, ms.
   */
  check(now: number, removed: () => void): void {
    if (this.path === null || now - this.#checkedAt < CHECK_EVERY) return;
    this.#checkedAt = now;
    if (this.#fd === CLOSED) return removed();
    stat(this.path, (error, found) => {
      const isNamed = error
        ? error.code !== "ENOENT" && error.code !== "ENOTDIR"
        : found.ino === this.#inode && found.dev === this.#device;
      if (isNamed) this.#missing = 0;
      else if (++this.#missing >= MISSING) removed();
    });
  }

  /** Closes the file. No write may be running. */
  close(): void {
    if (this.#fd !== CLOSED && this.#fd !== this.#given) closeSync(this.#fd);
    this.#fd = CLOSED;
  }
}

/** Checks that a file can be appended to, or created; returns the problem, or undefined. `mayCreate`: it is created then. */
export function checkLogFile(path: string, mayCreate: boolean): string | undefined {
  try {
    closeSync(openSync(path, mayCreate ? fileFlags() : fileFlags() & ~O_CREAT, MODE));
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (mayCreate || code !== "ENOENT") return message;
  }
  try {
    accessSync(dirname(path), W_OK | X_OK);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** O_NONBLOCK: opening a named pipe without a reader fails instead of blocking. */
function fileFlags(): number {
  return O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY;
}

/** Returns the descriptor, or a non-blocking one of the same pipe or terminal. */
function openGiven(fd: number): number {
  const kind = fstatSync(fd);
  if (!kind.isFIFO() && !kind.isSocket() && !isatty(fd)) return fd;
  if (!kind.isSocket())
    try {
      // A new open file description: the mode of the shared one, e.g. of the shell, is not changed.
      return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY);
    } catch {
      // Not Linux, a pipe of another user, or one without a reader: the mode of the shared descriptor is changed below.
    }
  if (isMainThread && !isatty(fd)) keptOpen.push(new Socket({ fd, readable: false, writable: true }));
  return fd;
}
