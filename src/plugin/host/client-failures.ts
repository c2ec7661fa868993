/**
 * Limits the cost of failures that a single client causes, by a token bucket per client. A client over its limit is
 * blocked: its calls are refused like failed ones, and calls for other clients continue.
 */
import { networkOf } from "../../net/client-rows.ts";
import type { HookContext } from "./hook-context.ts";

/** Limits per client: an IPv4 address, or the first 64 bits of an IPv6 address. */
export const CLIENT = {
  /** Share of the worker's time; and while all calls for it fail. Half of the limits for all clients together. */
  share: 0.05,
  fruitlessShare: 0.01,
  /** The burst in milliseconds: less than a third of that for all clients. */
  burst: 300,
  /**
   * A failure or restart of at least this cost is followed by a pause as long as its cost, milliseconds: the burst pays for
   * several, which one after the other would be one long delay of all other requests.
   */
  costly: 20,
  /** Consecutive failures for it after which it has no burst. */
  failures: 20,
  /** Most clients that are tracked; the oldest are evicted. */
  most: 256,
} as const;

/** Interval in milliseconds at which clients with a full budget are removed. */
const SWEEP = 10_000;

class Budget {
  #budget: number = CLIENT.burst;
  #filledAt: number;
  #fruitless = 0;
  #pausedUntil = Number.NEGATIVE_INFINITY;

  constructor(now: number) {
    this.#filledAt = now;
  }

  charge(cost: number, now: number): void {
    this.#fill(now);
    this.#budget -= cost;
    // A restart is charged later than its failure.
    if (cost >= CLIENT.costly) this.#pausedUntil = Math.max(this.#pausedUntil, now + cost);
  }

  fail(now: number): void {
    this.#fill(now);
    if (++this.#fruitless === CLIENT.failures) this.#budget = Math.min(this.#budget, 0);
  }

  pass(): void {
    this.#fruitless = 0;
  }

  isBlocked(now: number): boolean {
    this.#fill(now);
    return this.#budget < 0 || now < this.#pausedUntil;
  }

  isFull(now: number): boolean {
    this.#fill(now);
    return this.#budget === CLIENT.burst;
  }

  #fill(now: number): void {
    const share = this.#fruitless >= CLIENT.failures ? CLIENT.fruitlessShare : CLIENT.share;
    this.#budget = Math.min(CLIENT.burst, this.#budget + (now - this.#filledAt) * share);
    this.#filledAt = now;
  }
}

/** The failures of one guest, by client. */
export class ClientFailures {
  readonly #now: () => number;
  /** By client, oldest first. */
  readonly #budgets = new Map<string, Budget>();
  #sweptAt = 0;

  /** `now`: a monotonic clock, milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether any client is tracked; otherwise `isBlocked` is false for all. */
  get any(): boolean {
    const now = this.#now();
    if (this.#budgets.size > 0 && now - this.#sweptAt >= SWEEP) this.#sweep(now);
    return this.#budgets.size > 0;
  }

  /** Whether calls for the client are refused. */
  isBlocked(client: string): boolean {
    return this.#budgets.get(client)?.isBlocked(this.#now()) ?? false;
  }

  /** Charges the client with `cost` ms of a failed call or a restart. */
  charge(client: string, cost: number): void {
    this.#budgetOf(client).charge(cost, this.#now());
  }

  fail(client: string): void {
    this.#budgetOf(client).fail(this.#now());
  }

  /** A call for the client succeeded. */
  pass(client: string): void {
    this.#budgets.get(client)?.pass();
  }

  #budgetOf(client: string): Budget {
    let budget = this.#budgets.get(client);
    if (budget === undefined) {
      const now = this.#now();
      if (this.#budgets.size >= CLIENT.most) this.#evict(now);
      this.#budgets.set(client, (budget = new Budget(now)));
    }
    return budget;
  }

  #evict(now: number): void {
    this.#sweep(now);
    // With more active clients, the limit for all clients together applies.
    for (const oldest of this.#budgets.keys()) {
      if (this.#budgets.size < CLIENT.most) return;
      this.#budgets.delete(oldest);
    }
  }

  #sweep(now: number): void {
    this.#sweptAt = now;
    for (const [client, budget] of this.#budgets) if (budget.isFull(now)) this.#budgets.delete(client);
  }
}

/** The client to which failures of a context are charged; empty without one: a health check, a tick, a Unix socket. */
export function clientOf(target: HookContext | null): string {
  if (target === null) return "";
  // The client that caused a subrequest is not known: all subrequests count as one client.
  return target.isSubrequest ? "subrequests" : networkOf(target.clientAddress);
}
