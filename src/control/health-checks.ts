/**
 * Schedules active health checks, and marks unhealthy endpoints in the shared columns. An endpoint keeps its state from
 * version to version, by its row. One check of an endpoint runs at a time, and a bounded number in total.
 */

import type { EndpointHealth } from "../admin/api.ts";
import type { Log } from "../observe/log.ts";
import type { Plan } from "../plan/plan.ts";
import { type CheckTarget, EndpointCheck, type Result } from "./endpoint-check.ts";
import type { OnResult } from "./probe.ts";

export type HealthChecksOptions = {
  /** Starts a check; the returned function cancels it, without a result. */
  readonly probe: (target: CheckTarget, onResult: OnResult) => () => void;
  /** Excludes an endpoint from traffic, or includes it again. */
  readonly mark: (slot: number, unhealthy: boolean) => void;
  readonly log: Pick<Log, "info" | "warn">;
  /** Maximum number of concurrent checks. */
  readonly maxChecks?: number;
};

export type CheckCounts = {
  readonly cluster: string;
  readonly endpoint: string;
  readonly counts: Readonly<Record<Result, number>>;
};

const MAX_CHECKS = 256;
/** ms between first checks; shorter if they would take more than this share of their interval. */
const STEP = 10;
const FIRST_SHARE = 0.5;

type ScheduledCheck = {
  readonly check: EndpointCheck;
  timer: NodeJS.Timeout | null;
  /** Cancels the running check. */
  stop: (() => void) | null;
};

export class HealthChecks {
  readonly #options: HealthChecksOptions;
  readonly #maxChecks: number;
  /** By row. */
  readonly #watched = new Map<number, ScheduledCheck>();
  /** Checks that are due while too many others run. */
  readonly #queue = new Set<ScheduledCheck>();
  #running = 0;
  #closed = false;

  constructor(options: HealthChecksOptions) {
    this.#options = options;
    this.#maxChecks = options.maxChecks ?? MAX_CHECKS;
  }

  /** Checks the endpoints of this plan from now on, and no others. */
  take(plan: Plan): void {
    // The plan was committed while the proxy was closing.
    if (this.#closed) return;
    const removed = new Set(this.#watched.keys());
    const added: ScheduledCheck[] = [];
    for (const { name, check, set } of plan.clusters) {
      if (check === null) continue;
      for (const endpoint of set.endpoints) {
        removed.delete(endpoint.slot);
        const watched = this.#watch({ cluster: name, endpoint, check });
        if (watched !== null) added.push(watched);
      }
    }
    for (const slot of removed) this.#forget(slot);
    for (const [index, watched] of added.entries()) {
      const { interval } = watched.check.target.check;
      this.#schedule(watched, Math.min(index * STEP, (interval * FIRST_SHARE * index) / added.length));
    }
    this.#runQueue();
  }

  /** Health of the endpoint in a row; null if it is not checked. */
  describe(slot: number): EndpointHealth | null {
    return this.#watched.get(slot)?.check.describe() ?? null;
  }

  *counts(): Iterable<CheckCounts> {
    for (const { check } of this.#watched.values())
      yield { cluster: check.target.cluster, endpoint: check.target.endpoint.address, counts: check.counts };
  }

  /** Cancels all checks; the health states stay in the columns. */
  close(): void {
    this.#closed = true;
    for (const watched of this.#watched.values()) this.#stop(watched);
    this.#watched.clear();
  }

  /** Adds or updates an endpoint's check. Returns it if it must be scheduled. */
  #watch(target: CheckTarget): ScheduledCheck | null {
    const known = this.#watched.get(target.endpoint.slot);
    if (known === undefined) {
      const watched = { check: new EndpointCheck(target), timer: null, stop: null };
      this.#watched.set(target.endpoint.slot, watched);
      return watched;
    }
    if (!known.check.renew(target)) return null;
    this.#stop(known);
    return known;
  }

  /** Removes a check. An unhealthy endpoint gets traffic again, since its state will not be updated. */
  #forget(slot: number): void {
    const watched = this.#watched.get(slot)!;
    const { healthy, target } = watched.check;
    this.#stop(watched);
    this.#watched.delete(slot);
    if (healthy) return;
    this.#options.mark(slot, false);
    this.#options.log.info(fieldsOf(target), "unhealthy endpoint is not checked any more: it gets traffic again");
  }

  #stop(watched: ScheduledCheck): void {
    if (watched.timer !== null) clearTimeout(watched.timer);
    watched.timer = null;
    this.#queue.delete(watched);
    if (watched.stop === null) return;
    watched.stop();
    watched.stop = null;
    this.#running--;
  }

  #schedule(watched: ScheduledCheck, delay: number): void {
    watched.timer = setTimeout(() => {
      watched.timer = null;
      this.#queue.add(watched);
      this.#runQueue();
    }, delay);
  }

  #runQueue(): void {
    for (const watched of this.#queue) {
      if (this.#running >= this.#maxChecks) return;
      this.#queue.delete(watched);
      this.#start(watched);
    }
  }

  #start(watched: ScheduledCheck): void {
    const began = performance.now();
    let completed = false;
    this.#running++;
    const stop = this.#options.probe(watched.check.target, (result) => {
      completed = true;
      watched.stop = null;
      this.#running--;
      const took = performance.now() - began;
      if (watched.check.record(result, took)) this.#change(watched.check);
      this.#schedule(watched, Math.max(0, watched.check.pause() - took));
      this.#runQueue();
    });
    if (!completed) watched.stop = stop;
  }

  #change({ healthy, problem, target }: EndpointCheck): void {
    const { log, mark } = this.#options;
    mark(target.endpoint.slot, !healthy);
    if (healthy) log.info(fieldsOf(target), "endpoint is healthy again");
    else log.warn({ ...fieldsOf(target), problem }, "endpoint is unhealthy: it gets no traffic");
  }
}

function fieldsOf({ cluster, endpoint }: CheckTarget): { cluster: string; endpoint: string } {
  return { cluster, endpoint: endpoint.address };
}
