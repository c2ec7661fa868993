/** Logs the failures and log lines of one plugin on one worker, rate-limited, and reports its state. */
import { HOOKS, type LEVEL, LIMIT } from "../../abi/abi.ts";
import { STARTING } from "../abi/hook-scope.ts";
import type { GuestFailure } from "./guest.ts";

export type Level = keyof typeof LEVEL;
export type Report = (level: Level, message: string, fields: Record<string, unknown>) => void;

/** The state of a plugin on one worker: sent when it changes, and with each failure that is logged. */
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
    /** The guest's frames, one per line; may be empty. */
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
  readonly rollout?: number | undefined;
  readonly report: Report;
  readonly notify: (event: PluginEvent) => void;
  readonly now: () => number;
};

/** The report of one plugin on one worker, over all versions. */
export class PluginReport {
  readonly #parts: PluginReportParts;
  readonly #reasons = new Set<string>();
  #failedAt = Number.NEGATIVE_INFINITY;
  #suppressed = 0;
  #last: PluginEvent["failure"] = null;
  /** Number of guests in quarantine: a plugin has one for each configuration. */
  #quarantined = 0;
  #quarantinedAt = 0;
  /** Failures since the last quarantine ended, and refused calls since one began. */
  #failures = 0;
  #refused = 0;
  #linesFrom = Number.NEGATIVE_INFINITY;
  #lines = 0;
  #dropped = 0;

  constructor(parts: PluginReportParts) {
    this.#parts = parts;
  }

  /** Whether `fail` logs a failure: the first of each kind, then one per second, none in quarantine. */
  logs(hook: number, reason: GuestFailure["reason"]): boolean {
    if (this.#quarantined > 0) return false;
    const past = this.#parts.now() - this.#failedAt;
    return past >= SECOND || past < 0 || !this.#reasons.has(`${hook} ${reason}`);
  }

  /** Logs a failure if `logs` permits, with the number of suppressed ones. */
  fail(hook: number, failure: GuestFailure): void {
    this.#failures++;
    const isLogged = this.logs(hook, failure.reason);
    this.#remember(hook, failure);
    if (!isLogged) {
      this.#suppressed++;
      return;
    }
    this.#reasons.add(`${hook} ${failure.reason}`);
    this.#failedAt = this.#parts.now();
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    this.#write("error", `plugin ${this.#parts.plugin} failed in ${hookName(hook)}: ${failure.message}`, {
      ...fieldsOf(hook, failure),
      ...(suppressed === 0 ? {} : { suppressed }),
    });
    this.#notify();
  }

  /** Counts a call that was not made because of a quarantine. */
  refuse(): void {
    this.#refused++;
  }

  /** A guest is quarantined: its failures cost more than is permitted (`recovery.ts`). */
  quarantine(hook: number, failure: GuestFailure): void {
    if (this.#quarantined++ > 0) return;
    this.#quarantinedAt = this.#parts.now();
    this.#refused = 0;
    this.#remember(hook, failure);
    this.#write("error", `plugin ${this.#parts.plugin} is quarantined: ${failure.message}`, {
      ...fieldsOf(hook, { ...failure, stack: this.#last!.stack }),
      failures: this.#failures,
    });
    this.#notify();
  }

  /** The quarantine of a guest has ended for that reason. */
  recover(reason: string): void {
    // A promoted canary version had another report, to which the quarantine of its guests was reported.
    if (this.#quarantined === 0 || --this.#quarantined > 0) return;
    this.#write("warn", `plugin ${this.#parts.plugin} is no longer quarantined: ${reason}`, {
      failures: this.#failures,
      refused: this.#refused,
      seconds: Math.max(0, this.#parts.now() - this.#quarantinedAt) / SECOND,
    });
    this.#failures = 0;
    this.#suppressed = 0;
    this.#notify();
  }

  /** Logs a line of the plugin. Returns false if it has written too many in this second. */
  write(level: Level, hook: number, text: string): boolean {
    const now = this.#parts.now();
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
    const { plugin, rollout, report } = this.#parts;
    report(level, text, { plugin, ...(rollout === undefined ? {} : { plugin_version: "canary" }), ...fields });
  }

  #remember(hook: number, { reason, message, stack }: GuestFailure): void {
    const last = this.#last;
    // Most failures have no stack: the stack of the last equal failure is reported.
    const isSame = last !== null && last.hook === hookName(hook) && last.reason === reason && last.message === message;
    const known = stack === "" && isSame ? last.stack : stack;
    this.#last = { at: this.#parts.now(), hook: hookName(hook), reason, message, stack: known };
  }

  #notify(): void {
    const { plugin, rollout, notify } = this.#parts;
    const which = rollout === undefined ? {} : { rollout };
    notify({ plugin, ...which, quarantined: this.#quarantined > 0, failure: this.#last });
  }
}

function fieldsOf(hook: number, { reason, stack }: GuestFailure): Record<string, unknown> {
  return { hook: hookName(hook), reason, ...(stack === "" ? {} : { stack }) };
}
