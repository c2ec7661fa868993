/** What a plugin's failures and log lines become: one line at a time, never a flood. */
import { HOOKS, type LEVEL, LIMIT } from "../../abi/abi.ts";
import { STARTING } from "../abi/hook-scope.ts";
import type { GuestFailure } from "./guest.ts";

export type Level = keyof typeof LEVEL;
export type Report = (level: Level, message: string, fields: Record<string, unknown>) => void;

/** How a plugin fares on one thread: told when it changes, and with each failure that is logged. */
export type PluginEvent = {
  readonly plugin: string;
  /** The number of the canary rollout, if this is its canary version. */
  readonly rollout?: number;
  readonly quarantined: boolean;
  readonly failure: {
    /** Milliseconds since 1970. */
    readonly at: number;
    readonly hook: string;
    readonly reason: string;
    readonly message: string;
    /** The guest's frames, a line each; empty where there are none. */
    readonly stack: string;
  } | null;
};

const SECOND = 1000;

export function hookName(hook: number): string {
  return hook === STARTING ? "start" : HOOKS[hook]!;
}

export type PluginReportParts = {
  readonly plugin: string;
  /** The number of the canary rollout, for its canary version. */
  readonly rollout?: number;
  readonly report: Report;
  readonly notify: (news: PluginEvent) => void;
  readonly now: () => number;
};

/** Of one plugin on one thread, across versions. */
export class PluginReport {
  readonly #plugin: string;
  readonly #rollout: number | undefined;
  readonly #report: Report;
  readonly #notifyEvent: (news: PluginEvent) => void;
  readonly #now: () => number;
  readonly #reasons = new Set<string>();
  #failedAt = Number.NEGATIVE_INFINITY;
  #suppressed = 0;
  #last: PluginEvent["failure"] = null;
  /** Guests in quarantine: one for each configuration. */
  #quarantined = 0;
  #quarantinedAt = 0;
  /** Since the last quarantine ended, and since one began. */
  #failures = 0;
  #refused = 0;
  #linesFrom = Number.NEGATIVE_INFINITY;
  #lines = 0;
  #dropped = 0;

  constructor({ plugin, rollout, report, notify, now }: PluginReportParts) {
    this.#plugin = plugin;
    this.#rollout = rollout;
    this.#report = report;
    this.#notifyEvent = notify;
    this.#now = now;
  }

  /** Whether `fail` logs such a failure now: the first of each kind, then one a second; in quarantine none. */
  logs(hook: number, reason: GuestFailure["reason"]): boolean {
    if (this.#quarantined > 0) return false;
    const past = this.#now() - this.#failedAt;
    return past >= SECOND || past < 0 || !this.#reasons.has(`${hook} ${reason}`);
  }

  /** Logs a failure as `logs` says, with how many were not. */
  fail(hook: number, failure: GuestFailure): void {
    this.#failures++;
    const isLogged = this.logs(hook, failure.reason);
    this.#remember(hook, failure);
    if (!isLogged) {
      this.#suppressed++;
      return;
    }
    this.#reasons.add(`${hook} ${failure.reason}`);
    this.#failedAt = this.#now();
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    this.#write("error", `plugin ${this.#plugin} failed in ${hookName(hook)}: ${failure.message}`, {
      ...fieldsOf(hook, failure),
      ...(suppressed === 0 ? {} : { suppressed }),
    });
    this.#notify();
  }

  /** A call was not made, since there is no guest in quarantine. */
  refuse(): void {
    this.#refused++;
  }

  /** One of its guests fails more than restarts may cost. */
  quarantine(hook: number, failure: GuestFailure): void {
    if (this.#quarantined++ > 0) return;
    this.#quarantinedAt = this.#now();
    this.#refused = 0;
    this.#remember(hook, failure);
    this.#write("error", `plugin ${this.#plugin} is quarantined: ${failure.message}`, {
      ...fieldsOf(hook, { ...failure, stack: this.#last!.stack }),
      failures: this.#failures,
    });
    this.#notify();
  }

  /** `why` one of them is in quarantine no more. */
  recover(why: string): void {
    // Guests of a version that was promoted may have been told of to the report that it had before.
    if (this.#quarantined === 0 || --this.#quarantined > 0) return;
    this.#write("warn", `plugin ${this.#plugin} is quarantined no more: ${why}`, {
      failures: this.#failures,
      refused: this.#refused,
      seconds: Math.max(0, this.#now() - this.#quarantinedAt) / SECOND,
    });
    this.#failures = 0;
    this.#suppressed = 0;
    this.#notify();
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
    this.#write(level, text, { hook: hookName(hook), ...(dropped === 0 ? {} : { dropped }) });
    return true;
  }

  #write(level: Level, text: string, fields: Record<string, unknown>): void {
    const which = this.#rollout === undefined ? {} : { plugin_version: "canary" };
    this.#report(level, text, { plugin: this.#plugin, ...which, ...fields });
  }

  #remember(hook: number, { reason, message, stack }: GuestFailure): void {
    const last = this.#last;
    // Of most failures no stack was made: that of an equal one before says the same.
    const isSame = last !== null && last.hook === hookName(hook) && last.reason === reason && last.message === message;
    const known = stack === "" && isSame ? last.stack : stack;
    this.#last = { at: this.#now(), hook: hookName(hook), reason, message, stack: known };
  }

  #notify(): void {
    const which = this.#rollout === undefined ? {} : { rollout: this.#rollout };
    this.#notifyEvent({ plugin: this.#plugin, ...which, quarantined: this.#quarantined > 0, failure: this.#last });
  }
}

function fieldsOf(hook: number, { reason, stack }: GuestFailure): Record<string, unknown> {
  return { hook: hookName(hook), reason, ...(stack === "" ? {} : { stack }) };
}
