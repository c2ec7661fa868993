/**
 * A rate-limited log for events that can occur with every request: failed attempts, rejected requests, shed load. Of each
 * kind and object the first event is logged at once, then one per second, decreasing to one every ten seconds; each line
 * has the number of suppressed events.
 *
 *     if (warnings.admits("upstream_failure", address)) warnings.write("attempt failed", { endpoint: address, … });
 *
 * Callers build the fields only for lines that are written, and count every event in a metric.
 */

const FIRST_INTERVAL = 1000;
const LONGEST_INTERVAL = 10_000;
/** Most objects with an entry; further ones share one entry per kind. */
const MAX_ENTRIES = 1024;
/** Most lines per second and worker. */
const MAX_LINES = 50;
const SECOND = 1000;

type Entry = {
  readonly kind: string;
  /** Earliest time of the next line, and the interval after it. */
  next: number;
  interval: number;
  suppressed: number;
  message: string;
  fields: Record<string, unknown> | null;
};

export class ThrottledLog {
  readonly #report: Report;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  #admitted: Entry | null = null;
  #second = Number.NEGATIVE_INFINITY;
  #lines = 0;
  #sweptAt = 0;

  /** `now`: a monotonic clock, ms. */
  constructor(report: Report, now: () => number) {
    this.#report = report;
    this.#now = now;
  }

  /**
   * Whether a line is due; if so `write` must follow at once. `object`: the subject within the kind (an endpoint's
   * address, a listener and a reason); it must come from the configuration or the code, never from a client.
   */
  admits(kind: string, object: string): boolean {
    const now = this.#now();
    const entry = this.#entry(kind, object);
    if (now < entry.next || !this.#hasRoom(now)) {
      entry.suppressed++;
      return false;
    }
    this.#schedule(entry, now);
    this.#admitted = entry;
    return true;
  }

  /** Writes the line for which `admits` returned true. */
  write(message: string, fields: Record<string, unknown>): void {
    const entry = this.#admitted!;
    entry.message = message;
    entry.fields = fields;
    this.#write(entry);
  }

  /** Once a second, logs the suppressed events of entries that are quiet, and removes these. */
  tick(): void {
    const now = this.#now();
    if (now - this.#sweptAt < SECOND) return;
    this.#sweptAt = now;
    for (const [key, entry] of this.#entries) {
      if (now < entry.next) continue;
      if (entry.suppressed === 0) this.#entries.delete(key);
      else if (entry.fields !== null && this.#hasRoom(now)) {
        this.#schedule(entry, now);
        this.#write(entry);
      }
    }
  }

  #entry(kind: string, object: string): Entry {
    const full = this.#entries.size >= MAX_ENTRIES;
    const own = `${kind} ${object}`;
    const key = full && !this.#entries.has(own) ? kind : own;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      const next = Number.NEGATIVE_INFINITY;
      entry = { kind, next, interval: FIRST_INTERVAL, suppressed: 0, message: "", fields: null };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #hasRoom(now: number): boolean {
    if (now - this.#second >= SECOND) {
      this.#second = now;
      this.#lines = 0;
    }
    return this.#lines < MAX_LINES;
  }

  #schedule(entry: Entry, now: number): void {
    this.#lines++;
    entry.next = now + entry.interval;
    entry.interval = Math.min(LONGEST_INTERVAL, 2 * entry.interval);
  }

  #write(entry: Entry): void {
    const { kind, suppressed, message, fields } = entry;
    entry.suppressed = 0;
    this.#report("warn", message, { event: kind, ...fields, ...(suppressed === 0 ? {} : { suppressed }) });
  }
}

export type Level = "debug" | "info" | "warn" | "error";

/** Posts a line to the program's log. */
export type Report = (level: Level, message: string, fields: Record<string, unknown>) => void;
