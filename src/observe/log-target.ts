/**
 * The descriptor that log lines are written to: one that the process was started with, or a file, opened by its path.
 * A write to it never blocks a thread. libuv has four threads for files and names; a pipe that is never read would
 * block one of them for each log, and so the process, also at its end.
 */
import { closeSync, constants, fstatSync, openSync, stat } from "node:fs";
import { Socket } from "node:net";
import { isatty } from "node:tty";
import { isMainThread } from "node:worker_threads";

const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK, O_WRONLY } = constants;
const MODE = 0o644;
const CLOSED = -1;
/** Interval at which a file is looked up by its name, ms. Missing twice in a row means removed. */
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
  /** A write above `PIPE_BUF` may be torn apart by one of another thread. */
  isPipe = false;
  #checkedAt = 0;
  #missing = 0;

  constructor({ fd = 1, path = null }: LogTargetOptions = {}) {
    this.#given = fd;
    this.path = path;
    this.open();
  }

  /** Below 0 while it cannot be opened. */
  get fd(): number {
    return this.#fd;
  }

  /** Opens a file anew by its path. No write may be under way. */
  open(): void {
    this.close();
    this.#missing = 0;
    try {
      this.#fd = this.path === null ? openGiven(this.#given) : openSync(this.path, fileFlags(), MODE);
      this.isPipe = fstatSync(this.#fd).isFIFO();
    } catch {
      // Its lines are counted as dropped, and it is tried again.
      if (this.#fd === CLOSED && this.path === null) this.#fd = this.#given;
    }
  }

  /** Looks once a second whether the file is still where it was; `removed`: it is not. `now`: monotonic, ms. */
  check(now: number, removed: () => void): void {
    if (this.path === null || now - this.#checkedAt < CHECK_EVERY) return;
    this.#checkedAt = now;
    if (this.#fd === CLOSED) return removed();
    stat(this.path, (error) => {
      if (error?.code !== "ENOENT" && error?.code !== "ENOTDIR") this.#missing = 0;
      else if (++this.#missing >= MISSING) removed();
    });
  }

  /** No write may be under way. */
  close(): void {
    if (this.#fd !== CLOSED && this.#fd !== this.#given) closeSync(this.#fd);
    this.#fd = CLOSED;
  }
}

/** Whether a file can be appended to: undefined, or what is wrong. */
export function checkLogFile(path: string): string | undefined {
  try {
    closeSync(openSync(path, fileFlags(), MODE));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Without a reader a named pipe is an error at once. */
function fileFlags(): number {
  return O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY;
}

/** The descriptor, or another one of the same pipe or terminal that does not block. */
function openGiven(fd: number): number {
  const kind = fstatSync(fd);
  if (!kind.isFIFO() && !kind.isSocket() && !isatty(fd)) return fd;
  if (!kind.isSocket())
    try {
      // A mode of its own: what shares the other one, like the shell, is not changed.
      return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY);
    } catch {
      // Not Linux, a pipe of another user, or one without a reader: the mode of the descriptor is changed below.
    }
  if (isMainThread && !isatty(fd)) keptOpen.push(new Socket({ fd, readable: false, writable: true }));
  return fd;
}
