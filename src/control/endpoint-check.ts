/** The active checks of one endpoint: results, health state, and the pause before the next check. */

import type { CheckRecord, EndpointHealth } from "../admin/api.ts";
import * as health from "../cluster/health.ts";
import type { CheckPlan, EndpointPlan } from "../plan/plan.ts";

export type CheckTarget = { readonly cluster: string; readonly endpoint: EndpointPlan; readonly check: CheckPlan };

export type Result = health.CheckResult["result"];

const HISTORY = 10;
/** Random share of the interval, so that proxies started together do not stay synchronised. */
const JITTER = 0.1;
/** The interval of an unhealthy endpoint doubles with every `DOUBLE_AFTER` failed checks, up to `MAX_SLOWDOWN` times. */
const DOUBLE_AFTER = 5;
const MAX_SLOWDOWN = 4;
/** Maximum characters of a problem. */
const MAX_PROBLEM = 200;

export class EndpointCheck {
  readonly counts: Record<Result, number> = { healthy: 0, unhealthy: 0, failed: 0 };
  readonly #history: CheckRecord[] = [];
  #target: CheckTarget;
  #state = health.UNCHECKED;
  #since = new Date();
  /** Problem of the last failed check. */
  #problem = "";
  /** Consecutive failed checks while it is unhealthy. */
  #failures = 0;

  constructor(target: CheckTarget) {
    this.#target = target;
  }

  get target(): CheckTarget {
    return this.#target;
  }

  get healthy(): boolean {
    return this.#state.healthy;
  }

  /** Why it is unhealthy. */
  get problem(): string {
    return this.#state.healthy ? "" : this.#problem;
  }

  /** Sets the target of a new version. Returns whether the check itself has changed. */
  renew(target: CheckTarget): boolean {
    const differs = target.check.key !== this.#target.check.key;
    this.#target = target;
    if (!differs) return false;
    this.#state = health.renew(this.#state);
    this.#failures = 0;
    return true;
  }

  /** Records the result of a check and its duration in milliseconds. Returns whether the health state has changed. */
  record({ result, problem: text }: health.CheckResult, took: number): boolean {
    const problem = toLine(text);
    this.counts[result]++;
    const ok = result === "failed" ? null : result === "healthy";
    this.#history.push({ at: new Date().toISOString(), ok, took: took / 1000, problem });
    if (this.#history.length > HISTORY) this.#history.shift();
    if (ok === null) return false;
    if (!ok) this.#problem = problem;
    const before = this.#state.healthy;
    this.#state = health.update(this.#state, ok, this.#target.check);
    this.#failures = ok || before ? 0 : this.#failures + 1;
    if (this.#state.healthy === before) return false;
    this.#since = new Date();
    return true;
  }

  /** Milliseconds from the start of the last check to the next. */
  pause(): number {
    const slower = Math.min(MAX_SLOWDOWN, 2 ** Math.floor(this.#failures / DOUBLE_AFTER));
    return this.#target.check.interval * slower * (1 + JITTER * (2 * Math.random() - 1));
  }

  describe(): EndpointHealth {
    return {
      state: this.#state.healthy ? "healthy" : "unhealthy",
      checked: this.#state.checked,
      since: this.#since.toISOString(),
      problem: this.problem,
      lastCheck: this.#history.at(-1) ?? null,
      history: [...this.#history],
    };
  }
}

/** Makes one line without control characters of a text that may come from an endpoint or a plugin. */
function toLine(problem: string): string {
  const line = problem.replace(/[\s\p{Cc}\p{Cf}]+/gu, " ").trim();
  return line.length > MAX_PROBLEM ? `${line.slice(0, MAX_PROBLEM)}...` : line;
}
