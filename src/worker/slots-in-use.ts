/**
 * Slots of removed endpoints, until the last request and the last tunnel of this worker to them have ended: these still
 * decrement the slot's count, so the main thread must not assign it to another endpoint before.
 */
import type { EndpointColumns } from "../cluster/columns.ts";

type Release = { slots: readonly number[]; readonly done: () => void; readonly freed: (slot: number) => void };

export class SlotsInUse {
  readonly #worker: number;
  readonly #columns: EndpointColumns;
  #pending: Release[] = [];

  constructor(worker: number, columns: EndpointColumns) {
    this.#worker = worker;
    this.#columns = columns;
  }

  /** Calls `freed` for each slot that is not in use, and `done` after the last one: now, or from `sweep`. */
  whenFree(slots: readonly number[], done: () => void, freed: (slot: number) => void = () => {}): void {
    const release = { slots, done, freed };
    if (!this.#isDone(release)) this.#pending.push(release);
  }

  /** Called on each tick. */
  sweep(): void {
    if (this.#pending.length > 0) this.#pending = this.#pending.filter((release) => !this.#isDone(release));
  }

  #isDone(release: Release): boolean {
    const used = release.slots.filter((slot) => this.#columns.inFlightOf(this.#worker, slot) > 0);
    for (const slot of release.slots) if (!used.includes(slot)) release.freed(slot);
    release.slots = used;
    if (used.length > 0) return false;
    release.done();
    return true;
  }
}
