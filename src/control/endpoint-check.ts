/** The checks of one endpoint: what they came to, what that makes of the endpoint, and when the next one is due. */

import type { CheckRecord, EndpointHealth } from "../admin/api.ts";
import type * as health from "../cluster/health.ts";
import type { CheckResult } from "../cluster/health.ts";
import type { CheckPlan, EndpointPlan } from "../plan/plan.ts";

/** What is to be checked, and how. */
export type Duty = { readonly cluster: string; readonly endpoint: EndpointPlan; readonly check: CheckPlan };

export type Result = CheckResult["result"];

const HISTORY = 10;
/** Of an interval, by chance, so that proxies that began together do not check together for ever. */
const JITTER = 0.1;
/** After so many bad checks of an endpoint that is out its interval doubles, up to this. */
const PATIENCE = 5;
const SLOWEST = 4;
/** Characters of a problem. */
const MOST_TOLD = 200;

export class EndpointCheck {
  readonly counts: Record<Result, number> = { healthy: 0, unhealthy: 0, failed: 0 };
  readonly #states: typeof health;
  readonly #history: CheckRecord[] = [];
  #duty: Duty;
  #stand: health.Stand;
  #since = new Date();
  /** What the last bad check said. */
  #problem = "";
  /** Bad checks in a row since it is out. */
  #misses = 0;

  constructor(states: typeof health, duty: Duty) {
    this.#states = states;
    this.#duty = duty;
    this.#stand = states.UNCHECKED;
  }

  get duty(): Duty {
    return this.#duty;
  }

  get healthy(): boolean {
    return this.#stand.healthy;
  }

  /** Why it is unhealthy. */
  get problem(): string {
    return this.#stand.healthy ? "" : this.#problem;
  }

  /** A new version's. Whether it is to be checked in another way than before. */
  renew(duty: Duty): boolean {
    const differs = duty.check.key !== this.#duty.check.key;
    this.#duty = duty;
    if (!differs) return false;
    this.#stand = this.#states.renew(this.#stand);
    this.#misses = 0;
    return true;
  }

  /** Takes what a check came to, that took so many milliseconds. Whether the endpoint is another than before by that. */
  record({ result, problem: told }: CheckResult, took: number): boolean {
    const problem = tidy(told);
    this.counts[result]++;
    const ok = result === "failed" ? null : result === "healthy";
    this.#history.push({ at: new Date().toISOString(), ok, took: took / 1000, problem });
    if (this.#history.length > HISTORY) this.#history.shift();
    if (ok === null) return false;
    if (!ok) this.#problem = problem;
    const before = this.#stand.healthy;
    this.#stand = this.#states.judge(this.#stand, ok, this.#duty.check);
    this.#misses = ok || before ? 0 : this.#misses + 1;
    if (this.#stand.healthy === before) return false;
    this.#since = new Date();
    return true;
  }

  /** Milliseconds from the beginning of the last check to the next. */
  pause(): number {
    const slower = Math.min(SLOWEST, 2 ** Math.floor(this.#misses / PATIENCE));
    return this.#duty.check.interval * slower * (1 + JITTER * (2 * Math.random() - 1));
  }

  describe(): EndpointHealth {
    return {
      state: this.#stand.healthy ? "healthy" : "unhealthy",
      checked: this.#stand.checked,
      since: this.#since.toISOString(),
      problem: this.problem,
      lastCheck: this.#history.at(-1) ?? null,
      history: [...this.#history],
    };
  }
}

/** It may hold what an endpoint or a plugin has said: one line, and no control characters, wherever it is shown. */
function tidy(problem: string): string {
  const line = problem.replace(/[\s\p{Cc}\p{Cf}]+/gu, " ").trim();
  return line.length > MOST_TOLD ? `${line.slice(0, MOST_TOLD)}...` : line;
}
