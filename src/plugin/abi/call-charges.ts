/** What one hook call makes the host keep: charged to what its configuration may, and given back when the call fails. */
import type { HookContext } from "../host/hook-context.ts";
import { type HostMemory, Kept } from "./host-memory.ts";

/** What is held until the hook call ends: a response that was fetched, bytes that a probe read, saved state, names. */
export const CALL_MEMORY = { fetched: 0, probed: 1, state: 2, names: 3 } as const;
const KINDS = Object.keys(CALL_MEMORY).length;

/** Bytes for an exchange that one hook call is not charged for: what plugins usually set costs no look-up. */
const UNCOUNTED = 4096;

export class CallCharges {
  #memory: HostMemory | null = null;
  #target: HookContext | null = null;
  /** By HELD, and all together. */
  readonly #byKind = new Float64Array(KINDS);
  #total = 0;
  /** Bytes of a response's body that this call has given. */
  #body = 0;
  /** Bytes for the exchange: not charged yet, and charged, to be given back when the call fails. */
  #uncharged = 0;
  #charged = 0;

  /** `memory`: what the configuration may have kept; null: as much as it likes. */
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

  /** Nothing of the exchange is reached any more. */
  end(): void {
    this.#memory = null;
    this.#target = null;
  }

  /** Bytes that a host call of that name keeps for the exchange. A few in one hook call are not counted. @throws Fault */
  keep(call: string, bytes: number): void {
    if ((this.#uncharged += bytes) <= UNCOUNTED) return;
    const kept = this.reserve(call, this.#uncharged);
    kept?.add(this.#uncharged);
    this.#charged += this.#uncharged;
    this.#uncharged = 0;
  }

  /** A response's body for the exchange: a second one of the same call takes the first one's place. @throws Fault */
  keepBody(call: string, bytes: number): void {
    if (bytes <= this.#body) return;
    this.keep(call, bytes - this.#body);
    this.#body = bytes;
  }

  /** Bytes that are held until the hook call ends, instead of those of that kind before. @throws Fault */
  charge(call: string, kind: number, bytes: number): void {
    const more = bytes - this.#byKind[kind]!;
    if (more > 0) this.reserve(call, more);
    this.setCharged(kind, bytes);
  }

  /** The same, beside those before. @throws Fault */
  chargeMore(call: string, kind: number, bytes: number): void {
    this.charge(call, kind, this.#byKind[kind]! + bytes);
  }

  /** Of what was bounded by `roomFor`. */
  setCharged(kind: number, bytes: number): void {
    this.#total += bytes - this.#byKind[kind]!;
    this.#byKind[kind] = bytes;
  }

  /** Bytes that there may be of that kind. */
  roomFor(kind: number): number {
    if (this.#memory === null) return Number.POSITIVE_INFINITY;
    const present = this.#total - this.#byKind[kind]! + (this.#kept?.bytes ?? 0);
    return Math.max(0, this.#memory.limit - present);
  }

  /** What so many bytes more are to be added to; null: they are not counted. @throws Fault */
  reserve(call: string, bytes: number): Kept | null {
    const kept = this.#kept;
    this.#memory?.check(call, bytes, this.#total + (kept?.bytes ?? 0));
    return kept;
  }

  /** The hook has failed, and what it changed is dropped. */
  rollback(): void {
    if (this.#charged > 0) this.#kept?.add(-this.#charged);
    this.#charged = 0;
  }

  /** What the exchange keeps for the configuration: an exchange meets a few. */
  get #kept(): Kept | null {
    const memory = this.#memory;
    if (memory === null || this.#target === null) return null;
    const all = (this.#target.kept ??= []);
    for (const kept of all) if (kept.memory === memory) return kept;
    const kept = new Kept(memory);
    all.push(kept);
    return kept;
  }
}
