/** Watches files for changes. The only module of `config/` that does I/O. */
import { type BigIntStats, type FSWatcher, statSync, watch } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";

export type Watch = {
  /** Sets the watched files, existing or not. Files that were watched before are not reported. */
  update(paths: readonly string[]): void;
  close(): void;
};

export type WatchTimes = {
  /** Quiet period before a change is reported, ms. */
  readonly quiet: number;
  /** Maximum delay of a change while events continue, ms. */
  readonly longest: number;
  /** Poll interval for changes without events (network shares, replaced directories), ms. */
  readonly poll: number;
};
const TIMES: WatchTimes = { quiet: 200, longest: 2000, poll: 2000 };

/**
 * Calls `onChange` when the content of any of the files may have changed. Watches directories rather than files, to
 * detect files replaced by `rename` and replaced symbolic links. An event only triggers a comparison of each file's
 * identity, size and modification time.
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
  /** Time of the first unprocessed event; 0: none. */
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
    // Synchronous, so that changes after this call are reported.
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
      // The directory does not exist, or the system's watch limit is reached: polling covers it.
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

  /** Compares every file with its last state. A change is reported after the quiet period. */
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

/** Identifies a file's content without reading it: identity, size, modification time. */
function describe({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${size} ${mtimeNs}`;
}

function describeAbsence(error: unknown): string {
  return `cannot be seen: ${(error as NodeJS.ErrnoException).code}`;
}
