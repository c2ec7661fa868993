/**
 * Decides when a failed guest may be restarted, and when the plugin is in quarantine.
 *
 * The cost of a failing plugin to others is the time of its failing calls and restarts. A token bucket limits it: to a
 * tenth of the worker's time, to a fiftieth while no call succeeds, with a burst of one second. Failures alone never
 * refuse calls: otherwise a client with a request that makes the plugin fail could take it out of service for all clients.
 * A single client may use a third of the burst and half of the rate (`client-failures.ts`); beyond that its own calls
 * are refused, which never quarantines a plugin whose calls have succeeded.
 */
import { CLIENT, ClientFailures } from "./client-failures.ts";

export const RECOVERY = {
  /** The share of the worker's time for restarts; and while all calls fail. */
  share: 0.1,
  fruitlessShare: 0.02,
  /** The burst, in milliseconds of restarts. */
  burst: 1000,
  /** Least cost of a restart in milliseconds, for its garbage, which cannot be measured here. */
  leastCost: 0.5,
  /** Milliseconds per MiB of a dropped guest's memory above the first: it stays allocated until garbage collection. */
  memoryCost: 8,
  /** Milliseconds per unit of fuel of a failing call. */
  fuelCost: 1e-5,
  /** Consecutive failures of a hook that start a quarantine. */
  failures: 20,
  /** Least number of clients affected by them, unless the hook has never succeeded. */
  clients: 3,
  /** Consecutive successes of that hook that end it, or milliseconds without a failure. */
  passes: 20,
  quiet: 10_000,
  /** Pauses after failed starts double between these, milliseconds: a start does not depend on clients. */
  firstPause: 100,
  longestPause: 60_000,
} as const;

const MEBIBYTE = 1024 * 1024;

export class Recovery {
  readonly #now: () => number;
  readonly #random: () => number;
  /** Milliseconds; negative: no restart until it is 0 again. */
  #budget: number = RECOVERY.burst;
  #filledAt: number;
  #failedAt = Number.NEGATIVE_INFINITY;
  #until = Number.NEGATIVE_INFINITY;
  /** Failures since any call succeeded; they select the refill rate. */
  #fruitless = 0;
  #failedStarts = 0;
  /** Failures since the failing hook succeeded last, and its successes since the last failure. */
  #failures = 0;
  #passes = 0;
  #quarantined = false;
  /** Clients affected since the failing hook succeeded last; all, if a failure had no client. */
  readonly #seenBy = new Set<string>();
  #seenByAll = false;
  /** The client of the last failure, to which the restart is charged. */
  #chargedClient = "";
  /** The same limits for single clients. */
  readonly clients: ClientFailures;

  /** `now`: a monotonic clock, milliseconds. */
  constructor(now: () => number, random: () => number = Math.random) {
    this.#now = now;
    this.#random = random;
    this.#filledAt = now();
    this.clients = new ClientFailures(now);
  }

  /** Calls may be refused: from the failure that starts the quarantine until calls succeed again. */
  get quarantined(): boolean {
    return this.#quarantined;
  }

  mayStart(): boolean {
    return this.#now() >= this.#until;
  }

  /** Charges a restart of `cost` ms, successful or not. */
  chargeRestart(cost: number): void {
    this.#charge(Math.max(cost, RECOVERY.leastCost), this.#chargedClient);
  }

  /** Charges the memory of a dropped guest, in bytes, to a client; empty: none. */
  chargeMemory(memory: number, client = ""): void {
    this.#charge(Math.max(0, memory / MEBIBYTE - 1) * RECOVERY.memoryCost, client);
  }

  /**
   * A call for a client (empty: none) failed after `fuel` units. `proven`: the hook has succeeded before. Returns true if
   * this starts a quarantine.
   */
  failCall(client = "", fuel = 0, proven = false): boolean {
    this.#chargedClient = client;
    this.#charge(fuel * RECOVERY.fuelCost, client);
    if (client === "") this.#seenByAll = true;
    else {
      this.clients.fail(client);
      if (this.#seenBy.size < RECOVERY.clients) this.#seenBy.add(client);
    }
    return this.#fail(0, proven);
  }

  /** The guest could not be started. Returns true if this starts a quarantine. */
  failStart(): boolean {
    const pause = Math.min(RECOVERY.longestPause, RECOVERY.firstPause * 2 ** this.#failedStarts);
    this.#failedStarts++;
    this.#chargedClient = "";
    this.#seenByAll = true;
    // Up to a fifth less, so that workers that failed together do not restart together.
    return this.#fail(pause * (1 - this.#random() / 5), false);
  }

  /**
   * A call succeeded; must be called after a failure only. `same`: it was a call of the hook that failed last; successful
   * ticks do not prove that requests succeed. Returns true if this ends a quarantine.
   */
  pass(same: boolean, client = ""): boolean {
    this.#fill();
    this.clients.pass(client);
    this.#fruitless = 0;
    this.#failedStarts = 0;
    if (same) {
      this.#failures = 0;
      this.#passes++;
      this.#seenBy.clear();
      this.#seenByAll = false;
    }
    if (!this.#quarantined) return false;
    if (this.#passes < RECOVERY.passes && this.#now() - this.#failedAt < RECOVERY.quiet) return false;
    this.#quarantined = false;
    return true;
  }

  #fail(least: number, proven: boolean): boolean {
    this.#fill();
    this.#passes = 0;
    this.#failedAt = this.#now();
    this.#failures++;
    this.#fruitless++;
    // The burst is for plugins whose calls mostly succeed.
    if (this.#isFruitless) this.#budget = Math.min(this.#budget, 0);
    const refill = this.#budget < 0 ? -this.#budget / this.#share : 0;
    const pause = Math.max(refill, least);
    this.#until = this.#now() + pause;
    const isBroken = this.#failures >= RECOVERY.failures && (this.#isWidespread || !proven);
    const starts = !this.#quarantined && (pause > 0 || isBroken);
    if (starts) this.#quarantined = true;
    return starts;
  }

  /** The failures affect enough clients not to be caused by one or two. */
  get #isWidespread(): boolean {
    return this.#seenByAll || this.#seenBy.size >= RECOVERY.clients;
  }

  get #isFruitless(): boolean {
    return this.#fruitless >= RECOVERY.failures && this.#isWidespread;
  }

  get #share(): number {
    return this.#isFruitless ? RECOVERY.fruitlessShare : RECOVERY.share;
  }

  /** A failure for a client charges the common budget with at most the client's burst, and the client with all of it. */
  #charge(cost: number, client: string): void {
    this.#fill();
    this.#budget -= client === "" ? cost : Math.min(cost, CLIENT.burst);
    if (client !== "") this.clients.charge(client, cost);
  }

  #fill(): void {
    const now = this.#now();
    this.#budget = Math.min(RECOVERY.burst, this.#budget + (now - this.#filledAt) * this.#share);
    this.#filledAt = now;
  }
}
