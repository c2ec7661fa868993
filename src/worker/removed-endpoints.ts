/** Keeps endpoints that were removed from a set until this worker's last attempt on them has ended. */
import type { Cluster } from "../cluster/cluster.ts";
import type { EndpointColumns } from "../cluster/columns.ts";

type Removal = { readonly cluster: Cluster; slots: readonly number[]; readonly replaced: number };

export class RemovedEndpoints {
  readonly #worker: number;
  readonly #columns: EndpointColumns;
  readonly #released: (replaced: number) => void;
  #removals: Removal[] = [];

  /** `released`: called when no removed endpoint of set number `replaced` is used any more. */
  constructor(worker: number, columns: EndpointColumns, released: (replaced: number) => void) {
    this.#worker = worker;
    this.#columns = columns;
    this.#released = released;
  }

  /** `slots`: endpoints of set `replaced` that its successor does not have. */
  add(cluster: Cluster, slots: readonly number[], replaced: number): void {
    const removal = { cluster, slots, replaced };
    if (!this.#isOver(removal)) this.#removals.push(removal);
  }

  /** Called on each tick. */
  sweep(): void {
    if (this.#removals.length > 0) this.#removals = this.#removals.filter((removal) => !this.#isOver(removal));
  }

  #isOver(removal: Removal): boolean {
    const used = removal.slots.filter((slot) => this.#columns.inFlightOf(this.#worker, slot) > 0);
    for (const slot of removal.slots) if (!used.includes(slot)) removal.cluster.release(slot);
    removal.slots = used;
    if (used.length > 0) return false;
    this.#released(removal.replaced);
    return true;
  }
}
