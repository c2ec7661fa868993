/**
 * Slots of endpoints that a set or a version of the plan has left, until the last request and the last tunnel of this
 * worker on them have ended: a slot that the main thread gives to another endpoint must not be counted down by them.
 */
import type { EndpointColumns } from "../cluster/columns.ts";

type Waiting = { slots: readonly number[]; readonly done: () => void; readonly freed: (slot: number) => void };

export class SlotsInUse {
  readonly #worker: number;
  readonly #columns: EndpointColumns;
  #waiting: Waiting[] = [];

  constructor(worker: number, columns: EndpointColumns) {
    this.#worker = worker;
    this.#columns = columns;
  }

  /** Calls `freed` for each slot that is not in use, and `done` after the last one: now, or from `sweep`. */
  whenFree(slots: readonly number[], done: () => void, freed: (slot: number) => void = () => {}): void {
    const waiting = { slots, done, freed };
    if (!this.#isOver(waiting)) this.#waiting.push(waiting);
  }

  /** Called on each tick. */
  sweep(): void {
    if (this.#waiting.length > 0) this.#waiting = this.#waiting.filter((waiting) => !this.#isOver(waiting));
  }

  #isOver(waiting: Waiting): boolean {
    const used = waiting.slots.filter((slot) => this.#columns.inFlightOf(this.#worker, slot) > 0);
    for (const slot of waiting.slots) if (!used.includes(slot)) waiting.freed(slot);
    waiting.slots = used;
    if (used.length > 0) return false;
    waiting.done();
    return true;
  }
}
