/**
 * What the failures of single clients cost, so that each bears its own: a client whose requests make a plugin fail more
 * often than its share of restarts allows gets the answer of a failure, without a call, and the others go on.
 */
import type { HookContext } from "./hook-context.ts";

/** Of one client, milliseconds of the thread; a client is an IPv4 address or the first 64 bits of an IPv6 address. */
export const CLIENT = {
  /** Of the thread's time, and when the last calls for it all failed: half of what all clients together may cost. */
  share: 0.05,
  fruitlessShare: 0.01,
  /** Saved up: less than a third of what all may have, since it is spent at once. */
  burst: 300,
  /** Failures in a row for it, with no success between them, after which nothing saved up is left. */
  failures: 20,
  /** Clients that are known at one time; those beyond take the place of the oldest. */
  most: 256,
} as const;

/** How often those that owe nothing are looked for. */
const SWEEP = 10_000;

class Account {
  #budget: number = CLIENT.burst;
  #filledAt: number;
  #fruitless = 0;

  constructor(now: number) {
    this.#filledAt = now;
  }

  charge(cost: number, now: number): void {
    this.#fill(now);
    this.#budget -= cost;
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
    return this.#budget < 0;
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

/** Of one guest on one thread. */
export class ClientFailures {
  readonly #now: () => number;
  /** The oldest first. */
  readonly #accounts = new Map<string, Account>();
  #sweptAt = 0;

  /** `now`: a monotonic clock, milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether any is known: only then must calls ask. */
  get any(): boolean {
    const now = this.#now();
    if (this.#accounts.size > 0 && now - this.#sweptAt >= SWEEP) this.#sweep(now);
    return this.#accounts.size > 0;
  }

  /** Whether no call is made for it now. */
  isBlocked(client: string): boolean {
    return this.#accounts.get(client)?.isBlocked(this.#now()) ?? false;
  }

  /** A failure for it has cost so many milliseconds, or the restart after one. */
  charge(client: string, cost: number): void {
    this.#accountOf(client).charge(cost, this.#now());
  }

  fail(client: string): void {
    this.#accountOf(client).fail(this.#now());
  }

  /** A call for it succeeded. */
  pass(client: string): void {
    this.#accounts.get(client)?.pass();
  }

  #accountOf(client: string): Account {
    let account = this.#accounts.get(client);
    if (account === undefined) {
      const now = this.#now();
      if (this.#accounts.size >= CLIENT.most) this.#evict(now);
      this.#accounts.set(client, (account = new Account(now)));
    }
    return account;
  }

  #evict(now: number): void {
    this.#sweep(now);
    // So many at one time are a flood, which the share of all clients together bounds.
    for (const oldest of this.#accounts.keys()) {
      if (this.#accounts.size < CLIENT.most) return;
      this.#accounts.delete(oldest);
    }
  }

  #sweep(now: number): void {
    this.#sweptAt = now;
    for (const [client, account] of this.#accounts) if (account.isFull(now)) this.#accounts.delete(client);
  }
}

/** Who a context's failures are charged to; empty where it is no client: a check, a timer, a Unix socket. */
export function clientOf(target: HookContext | null): string {
  if (target === null) return "";
  // Which client a plugin's own request goes back to is not known: all of them are one.
  return target.isSubrequest ? "subrequests" : clientKey(target.clientAddress);
}

const GROUPS = 8;
const PREFIX_GROUPS = 4;
const LONGEST = 64;

/** An IPv4 address, also one mapped into IPv6; the network (64 bits) of an IPv6 address; other text as it is. */
export function clientKey(address: string): string {
  if (!address.includes(":")) return address.slice(0, LONGEST);
  const text = address.toLowerCase();
  if (text.startsWith("::ffff:") && text.includes(".")) return text.slice("::ffff:".length, LONGEST);
  const gap = text.indexOf("::");
  const before = (gap < 0 ? text : text.slice(0, gap)).split(":", GROUPS).filter((group) => group !== "");
  const behind =
    gap < 0
      ? []
      : text
          .slice(gap + 2)
          .split(":", GROUPS)
          .filter((group) => group !== "");
  const zeros = Math.max(0, GROUPS - before.length - behind.length);
  const groups = [...before, ...Array<string>(zeros).fill("0"), ...behind].slice(0, PREFIX_GROUPS);
  return groups.map((group) => group.replace(/^0{1,3}(?=.)/, "").slice(0, 4)).join(":");
}
