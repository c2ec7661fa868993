/** Tells when files have changed. This is the one file of `config/` that does I/O. */
import { type BigIntStats, type FSWatcher, statSync, watch } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";

export type Watch = {
  /** Watches these files from now on, whether they exist or not. Those that stay are not told of. */
  update(paths: readonly string[]): void;
  close(): void;
};

export type WatchTimes = {
  /** How long nothing may happen before a change is told. */
  readonly quiet: number;
  /** The longest that a change may wait for quiet. */
  readonly longest: number;
  /** How often files are looked at where the system tells of no change (network shares, replaced directories). */
  readonly poll: number;
};
const TIMES: WatchTimes = { quiet: 200, longest: 2000, poll: 2000 };

/**
 * Calls `onChange` when the content of any of the files may have changed. Directories are watched and not files, so
 * that a file replaced by `rename`, or behind a symbolic link that is swapped, is seen: an event only says "look now",
 * and what counts is whether a file's identity, size or time is another.
 */
export function watchFiles(paths: readonly string[], onChange: () => void, times: WatchTimes = TIMES): Watch {
  const watch = new FileWatch(onChange, times);
  watch.update(paths);
  return watch;
}

class FileWatch implements Watch {
  readonly #onChange: () => void;
  readonly #times: WatchTimes;
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #poll: NodeJS.Timeout;
  #timer: NodeJS.Timeout | null = null;
  /** When the first event came that has not been looked into; 0: none. */
  #since = 0;
  #signatures = new Map<string, string>();
  #closed = false;

  constructor(onChange: () => void, times: WatchTimes) {
    this.#onChange = onChange;
    this.#times = times;
    this.#poll = setInterval(() => void this.#look(), times.poll).unref();
  }

  update(paths: readonly string[]): void {
    const before = this.#signatures;
    // At once, and not when some promise gets round to it: what changes after this call is told of.
    this.#signatures = new Map(paths.map((path) => [path, before.get(path) ?? lookNow(path)]));
    void this.#watchDirectories();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#poll);
    if (this.#timer) clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  async #watchDirectories(): Promise<void> {
    const real = await Promise.all([...this.#signatures.keys()].map((path) => realpath(path).catch(() => path)));
    if (this.#closed) return;
    const wanted = new Set([...this.#signatures.keys(), ...real].map((path) => dirname(path)));
    for (const [directory, watcher] of this.#watchers) {
      if (wanted.has(directory)) continue;
      watcher.close();
      this.#watchers.delete(directory);
    }
    for (const directory of wanted) if (!this.#watchers.has(directory)) this.#watchDirectory(directory);
  }

  #watchDirectory(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, () => this.#soon());
      watcher.on("error", () => this.#forget(directory, watcher));
      this.#watchers.set(directory, watcher);
    } catch {
      // The directory is not there, or the system has no watches left: the poll sees to it.
      this.#watchers.delete(directory);
    }
  }

  #forget(directory: string, watcher: FSWatcher): void {
    watcher.close();
    this.#watchers.delete(directory);
  }

  #soon(): void {
    if (this.#closed) return;
    const now = performance.now();
    this.#since ||= now;
    if (this.#timer) clearTimeout(this.#timer);
    const wait = Math.max(0, Math.min(this.#times.quiet, this.#since + this.#times.longest - now));
    this.#timer = setTimeout(() => {
      this.#since = 0;
      this.#timer = null;
      void this.#look(true);
    }, wait).unref();
  }

  /** Compares every file with what it was. Unless things were quiet already, a change waits for quiet. */
  async #look(quiet = false): Promise<void> {
    const known = this.#signatures;
    let changed = false;
    for (const [path, before] of known) {
      const now = await stat(path, { bigint: true }).then(describe, describeAbsence);
      if (now === before) continue;
      changed = true;
      if (quiet) known.set(path, now);
    }
    if (!changed || this.#closed || known !== this.#signatures) return;
    if (!quiet) return this.#soon();
    void this.#watchDirectories();
    this.#onChange();
  }
}

function lookNow(path: string): string {
  try {
    return describe(statSync(path, { bigint: true }));
  } catch (error) {
    return describeAbsence(error);
  }
}

/** What tells one content of a file from another, without reading it. */
function describe({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${size} ${mtimeNs}`;
}

function describeAbsence(error: unknown): string {
  return `cannot be seen: ${(error as NodeJS.ErrnoException).code}`;
}
