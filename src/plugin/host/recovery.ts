/**
 * When a guest that failed may be made again.
 *
 * What a failing plugin costs the others is the time of its failing calls and restarts, so that is what is limited: a
 * tenth of the thread's time, a fiftieth when no call succeeds in between, after a second's worth at once. Nothing else
 * refuses a call: a client that knows a request which a plugin fails on could otherwise put that plugin out of service
 * for all. One client alone may cause a third of that at once, and half of it lasting (`client-failures.ts`); what it causes beyond is refused to it alone,
 * and never begins a quarantine of a plugin that has worked.
 */
import { CLIENT, ClientFailures } from "./client-failures.ts";

export const RECOVERY = {
  /** Of the thread's time, that restarts may take; and when the last calls all failed. */
  share: 0.1,
  fruitlessShare: 0.02,
  /** Milliseconds of restarts that may have been saved up. */
  burst: 1000,
  /** What a restart costs at least: what it leaves to the garbage collector cannot be measured here. */
  leastCost: 0.5,
  /** Milliseconds for each MiB of a lost guest's memory above the first: it is held until the collector comes by. */
  memoryCost: 8,
  /** Milliseconds for each unit of fuel that a failing call took. */
  fuelCost: 1e-5,
  /** Failures in a row, with no success of that hook between them, that begin a quarantine. */
  failures: 20,
  /** Clients that must have seen them, unless the hook has never succeeded. */
  clients: 3,
  /** Successes of that hook in a row that end one, or no failure for so long. */
  passes: 20,
  quiet: 10_000,
  /** A start that fails does so by itself, whatever clients send: pauses grow between these. */
  firstPause: 100,
  longestPause: 60_000,
} as const;

const MEBIBYTE = 1024 * 1024;

export class Recovery {
  readonly #now: () => number;
  readonly #random: () => number;
  /** Milliseconds; below 0 is owed. */
  #budget: number = RECOVERY.burst;
  #filledAt: number;
  #failedAt = Number.NEGATIVE_INFINITY;
  #until = Number.NEGATIVE_INFINITY;
  /** Failures since any call succeeded: they decide what restarts may cost. */
  #fruitless = 0;
  #failedStarts = 0;
  /** Failures since a call of the hook that fails succeeded, and its successes since the last one: they are the state. */
  #failures = 0;
  #passes = 0;
  #quarantined = false;
  /** Clients that failures were for since a call of the hook that fails succeeded; all of them, when it is not known. */
  readonly #seenBy = new Set<string>();
  #seenByAll = false;
  /** The client that the last failure was for. */
  #payer = "";
  /** What single clients have caused. */
  readonly clients: ClientFailures;

  /** `now`: a monotonic clock, milliseconds. */
  constructor(now: () => number, random: () => number = Math.random) {
    this.#now = now;
    this.#random = random;
    this.#filledAt = now();
    this.clients = new ClientFailures(now);
  }

  /** From the failure after which a call may be refused, to the proof that calls succeed again. */
  get quarantined(): boolean {
    return this.#quarantined;
  }

  mayStart(): boolean {
    return this.#now() >= this.#until;
  }

  /** A restart took so long, whether or not it succeeded. */
  spend(cost: number): void {
    this.#charge(Math.max(cost, RECOVERY.leastCost), this.#payer);
  }

  /** A guest with so many bytes of memory is gone, in a call for that client; empty: for none. */
  lose(memory: number, client = ""): void {
    this.#charge(Math.max(0, memory / MEBIBYTE - 1) * RECOVERY.memoryCost, client);
  }

  /**
   * A call for a client failed (empty: for none) after so much fuel, and its guest is gone. `proven`: the hook has
   * succeeded before. True when this begins a quarantine.
   */
  failCall(client = "", fuel = 0, proven = false): boolean {
    this.#payer = client;
    this.#charge(fuel * RECOVERY.fuelCost, client);
    if (client === "") this.#seenByAll = true;
    else {
      this.clients.fail(client);
      if (this.#seenBy.size < RECOVERY.clients) this.#seenBy.add(client);
    }
    return this.#fail(0, proven);
  }

  /** The guest could not be made. True when this begins a quarantine. */
  failStart(): boolean {
    const pause = Math.min(RECOVERY.longestPause, RECOVERY.firstPause * 2 ** this.#failedStarts);
    this.#failedStarts++;
    this.#payer = "";
    this.#seenByAll = true;
    // Up to a fifth less, so that threads that failed together try apart.
    return this.#fail(pause * (1 - this.#random() / 5), false);
  }

  /**
   * A call succeeded; needs telling after a failure only. `same`: of the hook that failed last. A plugin whose every
   * request fails is not well for its ticks' sake. True when it ends a quarantine.
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
    // What was saved up is for plugins that mostly work.
    if (this.#isFruitless) this.#budget = Math.min(this.#budget, 0);
    const owed = this.#budget < 0 ? -this.#budget / this.#share : 0;
    const pause = Math.max(owed, least);
    this.#until = this.#now() + pause;
    const isBroken = this.#failures >= RECOVERY.failures && (this.#isWidespread || !proven);
    const begins = !this.#quarantined && (pause > 0 || isBroken);
    if (begins) this.#quarantined = true;
    return begins;
  }

  /** The failures are not those of one client, or two. */
  get #isWidespread(): boolean {
    return this.#seenByAll || this.#seenBy.size >= RECOVERY.clients;
  }

  get #isFruitless(): boolean {
    return this.#fruitless >= RECOVERY.failures && this.#isWidespread;
  }

  get #share(): number {
    return this.#isFruitless ? RECOVERY.fruitlessShare : RECOVERY.share;
  }

  /** One failure for a client takes no more from all than one client may have saved up: it alone owes the rest. */
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
