/**
 * Active health checks: when each endpoint is checked, and the bit in the shared columns that keeps traffic from one that
 * is down. An endpoint keeps its state from version to version by its row; one check of it is made at a time, and a
 * bounded number of all.
 */

import type { EndpointHealth } from "../admin/api.ts";
import type * as health from "../cluster/health.ts";
import type { Log } from "../observe/log.ts";
import type { Plan } from "../plan/plan.ts";
import { type Duty, EndpointCheck, type Result } from "./endpoint-check.ts";
import type { Tell } from "./probe.ts";

export type HealthChecksOptions = {
  /** What checks make of an endpoint. */
  readonly states: typeof health;
  /** Makes a check; what it returns gives it up, and nothing is told then. */
  readonly probe: (duty: Duty, tell: Tell) => () => void;
  /** Takes an endpoint out of traffic, or puts it back. */
  readonly mark: (slot: number, unhealthy: boolean) => void;
  readonly log: Pick<Log, "info" | "warn">;
  /** Checks at one time. */
  readonly most?: number;
};

export type CheckCounts = {
  readonly cluster: string;
  readonly endpoint: string;
  readonly counts: Readonly<Record<Result, number>>;
};

const MOST = 256;
/** First checks follow each other by this, or all come within a part of their interval where there are many. */
const STEP = 10;
const FIRST_PART = 0.5;

type Watched = {
  readonly check: EndpointCheck;
  timer: NodeJS.Timeout | null;
  /** Gives up the check that is under way. */
  stop: (() => void) | null;
};

export class HealthChecks {
  readonly #options: HealthChecksOptions;
  readonly #most: number;
  /** By row. */
  readonly #watched = new Map<number, Watched>();
  /** Those whose time has come while too many others are checked. */
  readonly #line = new Set<Watched>();
  #running = 0;
  #closed = false;

  constructor(options: HealthChecksOptions) {
    this.#options = options;
    this.#most = options.most ?? MOST;
  }

  /** A version serves: from now on its endpoints are checked, as it says. */
  take(plan: Plan): void {
    // A version that was under way when the proxy began to end.
    if (this.#closed) return;
    const gone = new Set(this.#watched.keys());
    const fresh: Watched[] = [];
    for (const { name, check, set } of plan.clusters) {
      if (check === null) continue;
      for (const endpoint of set.endpoints) {
        gone.delete(endpoint.slot);
        const watched = this.#watch({ cluster: name, endpoint, check });
        if (watched !== null) fresh.push(watched);
      }
    }
    for (const slot of gone) this.#forget(slot);
    for (const [index, watched] of fresh.entries()) {
      const { interval } = watched.check.duty.check;
      this.#schedule(watched, Math.min(index * STEP, (interval * FIRST_PART * index) / fresh.length));
    }
    this.#serve();
  }

  /** What is known of the endpoint in that row; null when it is not checked. */
  describe(slot: number): EndpointHealth | null {
    return this.#watched.get(slot)?.check.describe() ?? null;
  }

  *counts(): Iterable<CheckCounts> {
    for (const { check } of this.#watched.values())
      yield { cluster: check.duty.cluster, endpoint: check.duty.endpoint.address, counts: check.counts };
  }

  /** Gives up all checks; endpoints stay as they are. */
  close(): void {
    this.#closed = true;
    for (const watched of this.#watched.values()) this.#halt(watched);
    this.#watched.clear();
  }

  /** The endpoint's, if it is to be checked anew. */
  #watch(duty: Duty): Watched | null {
    const known = this.#watched.get(duty.endpoint.slot);
    if (known === undefined) {
      const watched = { check: new EndpointCheck(this.#options.states, duty), timer: null, stop: null };
      this.#watched.set(duty.endpoint.slot, watched);
      return watched;
    }
    if (!known.check.renew(duty)) return null;
    this.#halt(known);
    return known;
  }

  /** Nobody checks it any more: what was found says nothing by now. */
  #forget(slot: number): void {
    const watched = this.#watched.get(slot)!;
    const { healthy, duty } = watched.check;
    this.#halt(watched);
    this.#watched.delete(slot);
    if (healthy) return;
    this.#options.mark(slot, false);
    this.#options.log.info(fieldsOf(duty), "an endpoint that was out is not checked any more: it gets traffic again");
  }

  #halt(watched: Watched): void {
    if (watched.timer !== null) clearTimeout(watched.timer);
    watched.timer = null;
    this.#line.delete(watched);
    if (watched.stop === null) return;
    watched.stop();
    watched.stop = null;
    this.#running--;
  }

  #schedule(watched: Watched, delay: number): void {
    watched.timer = setTimeout(() => {
      watched.timer = null;
      this.#line.add(watched);
      this.#serve();
    }, delay);
  }

  #serve(): void {
    for (const watched of this.#line) {
      if (this.#running >= this.#most) return;
      this.#line.delete(watched);
      this.#begin(watched);
    }
  }

  #begin(watched: Watched): void {
    const began = performance.now();
    let told = false;
    this.#running++;
    const stop = this.#options.probe(watched.check.duty, (verdict) => {
      told = true;
      watched.stop = null;
      this.#running--;
      const took = performance.now() - began;
      if (watched.check.record(verdict, took)) this.#change(watched.check);
      this.#schedule(watched, Math.max(0, watched.check.pause() - took));
      this.#serve();
    });
    if (!told) watched.stop = stop;
  }

  #change({ healthy, problem, duty }: EndpointCheck): void {
    const { log, mark } = this.#options;
    mark(duty.endpoint.slot, !healthy);
    if (healthy) log.info(fieldsOf(duty), "an endpoint is healthy again");
    else log.warn({ ...fieldsOf(duty), problem }, "an endpoint is unhealthy: it gets no traffic");
  }
}

function fieldsOf({ cluster, endpoint }: Duty): { cluster: string; endpoint: string } {
  return { cluster, endpoint: endpoint.address };
}
