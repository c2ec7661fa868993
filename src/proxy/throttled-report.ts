/** Lines for the program's log about things that may happen with every request: one a second for each kind and object. */
import type { Clock } from "./clock.ts";
import type { Report } from "./context.ts";

const INTERVAL = 1000;

export class ThrottledReport {
  readonly #report: Report;
  readonly #clock: Clock;
  readonly #last = new Map<string, { at: number; suppressed: number }>();

  constructor(report: Report, clock: Clock) {
    this.#report = report;
    this.#clock = clock;
  }

  /** `object` is a name of the configuration, never anything that a client sent: so many are remembered. */
  warn(message: string, object: string, fields: Record<string, unknown>): void {
    const key = `${message}\0${object}`;
    const { now } = this.#clock;
    const last = this.#last.get(key);
    if (last === undefined) this.#last.set(key, { at: now, suppressed: 0 });
    else if (now - last.at < INTERVAL) {
      last.suppressed++;
      return;
    } else if (last.suppressed > 0) fields.suppressed = last.suppressed;
    if (last !== undefined) {
      last.at = now;
      last.suppressed = 0;
    }
    this.#report("warn", message, fields);
  }
}
