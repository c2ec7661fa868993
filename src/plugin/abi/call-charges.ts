/** Charges the memory that the host uses because of one hook call to its configuration; refunds it if the call fails. */
import type { HookContext } from "../host/hook-context.ts";
import { ExchangeMemory, type HostMemory } from "./host-memory.ts";

/** Memory until the hook call ends: the fetched response, bytes of a probe, saved state, names. */
export const CALL_MEMORY = { fetched: 0, probed: 1, state: 2, names: 3 } as const;
const KINDS = Object.keys(CALL_MEMORY).length;

/** Bytes per hook call that are not charged to the exchange: usual edits then need no lookup. */
const UNCOUNTED = 4096;

export class CallCharges {
  #memory: HostMemory | null = null;
  #target: HookContext | null = null;
  /** Bytes until the call ends, by CALL_MEMORY, and their sum. */
  readonly #byKind = new Float64Array(KINDS);
  #total = 0;
  /** Bytes of the local response's body set by this call. */
  #body = 0;
  /** Bytes for the exchange: not charged yet, and charged by this call. */
  #uncharged = 0;
  #charged = 0;

  /** `memory`: the configuration's limit; null: none. */
  begin(memory: HostMemory | null, target: HookContext | null): void {
    this.#memory = memory;
    this.#target = target;
    this.#body = 0;
    this.#uncharged = 0;
    this.#charged = 0;
    if (this.#total === 0) return;
    this.#byKind.fill(0);
    this.#total = 0;
  }

  /** Drops the references to the context. */
  end(): void {
    this.#memory = null;
    this.#target = null;
  }

  /** Charges bytes that a host call of that name stores until the exchange ends; the first 4 KiB are free. @throws Fault */
  keep(call: string, bytes: number): void {
    if ((this.#uncharged += bytes) <= UNCOUNTED) return;
    const account = this.reserve(call, this.#uncharged);
    account?.add(this.#uncharged);
    this.#charged += this.#uncharged;
    this.#uncharged = 0;
  }

  /** Charges the body of the local response; a second body of the same call replaces the first. @throws Fault */
  keepBody(call: string, bytes: number): void {
    if (bytes <= this.#body) return;
    this.keep(call, bytes - this.#body);
    this.#body = bytes;
  }

  /** Charges bytes until the hook call ends, replacing those of that kind. @throws Fault */
  charge(call: string, kind: number, bytes: number): void {
    const more = bytes - this.#byKind[kind]!;
    if (more > 0) this.reserve(call, more);
    this.setCharged(kind, bytes);
  }

  /** Like `charge`, for names, in addition to those charged before. @throws Fault */
  chargeNames(call: string, bytes: number): void {
    this.charge(call, CALL_MEMORY.names, this.#byKind[CALL_MEMORY.names]! + bytes);
  }

  /** Like `charge`, for bytes within `available`, which need no check. */
  setCharged(kind: number, bytes: number): void {
    this.#total += bytes - this.#byKind[kind]!;
    this.#byKind[kind] = bytes;
  }

  /** The most bytes that can be charged for that kind. */
  available(kind: number): number {
    if (this.#memory === null) return Number.POSITIVE_INFINITY;
    const present = this.#total - this.#byKind[kind]! + (this.#exchangeMemory?.bytes ?? 0);
    return Math.max(0, this.#memory.limit - present);
  }

  /** Checks that `bytes` more fit; returns the account to add them to, null if they are not counted. @throws Fault */
  reserve(call: string, bytes: number): ExchangeMemory | null {
    const account = this.#exchangeMemory;
    this.#memory?.check(call, bytes, this.#total + (account?.bytes ?? 0));
    return account;
  }

  /** Refunds the bytes charged to the exchange by this call, whose changes were reverted. */
  rollback(): void {
    if (this.#charged > 0) this.#exchangeMemory?.add(-this.#charged);
    this.#charged = 0;
  }

  /** The memory of the exchange for this configuration; a linear search, because an exchange has few. */
  get #exchangeMemory(): ExchangeMemory | null {
    const memory = this.#memory;
    if (memory === null || this.#target === null) return null;
    const all = (this.#target.pluginMemory ??= []);
    for (const account of all) if (account.memory === memory) return account;
    const account = new ExchangeMemory(memory);
    all.push(account);
    return account;
  }
}
