/** What a plugin's failures and log lines become: one line at a time, never a flood. */
import { HOOKS, type LEVEL, LIMIT } from "./abi.ts";
import { STARTING } from "./call-context.ts";
import type { GuestFailure } from "./guest.ts";

export type Level = keyof typeof LEVEL;
export type Report = (level: Level, message: string, fields: Record<string, unknown>) => void;

const SECOND = 1000;

export function hookName(hook: number): string {
  return hook === STARTING ? "start" : HOOKS[hook]!;
}

/** Of one plugin on one thread, across versions. */
export class PluginReport {
  readonly #plugin: string;
  readonly #report: Report;
  readonly #now: () => number;
  readonly #reasons = new Set<string>();
  #failedAt = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #linesFrom = Number.NEGATIVE_INFINITY;
  #lines = 0;
  #dropped = 0;

  constructor(plugin: string, report: Report, now: () => number) {
    this.#plugin = plugin;
    this.#report = report;
    this.#now = now;
  }

  /** The first of each kind is told, then one a second, with how many were not. */
  fail(hook: number, failure: GuestFailure): void {
    const now = this.#now();
    const kind = `${hook} ${failure.reason}`;
    const known = this.#reasons.has(kind);
    if (known && now - this.#failedAt < SECOND && now >= this.#failedAt) {
      this.#failures++;
      return;
    }
    this.#reasons.add(kind);
    this.#failedAt = now;
    const suppressed = this.#failures;
    this.#failures = 0;
    this.#report("error", `plugin ${this.#plugin} failed in ${hookName(hook)}: ${failure.message}`, {
      plugin: this.#plugin,
      hook: hookName(hook),
      reason: failure.reason,
      ...(failure.stack === "" ? {} : { stack: failure.stack }),
      ...(suppressed === 0 ? {} : { suppressed }),
    });
  }

  /** A line that the plugin writes. False when it has written too many in this second. */
  write(level: Level, hook: number, text: string): boolean {
    const now = this.#now();
    if (now - this.#linesFrom >= SECOND || now < this.#linesFrom) {
      this.#linesFrom = now;
      this.#lines = 0;
    }
    if (++this.#lines > LIMIT.logLinesPerSecond) {
      this.#dropped++;
      return false;
    }
    const dropped = this.#dropped;
    this.#dropped = 0;
    this.#report(level, text, {
      plugin: this.#plugin,
      hook: hookName(hook),
      ...(dropped === 0 ? {} : { dropped }),
    });
    return true;
  }
}
