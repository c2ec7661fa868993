/**
 * Allocates slots of shared memory by identity: rows of endpoints, cells of series. An identity keeps its slot from owner
 * to owner (a version of the plan, or one of its endpoint sets); the slot is reused when all its owners are released.
 */

export type Allocator = {
  /** @throws Error with the limit if there is no free slot */
  allocate(identity: string): number;
  free(identity: string, slot: number): void;
};

export class Slots {
  readonly #allocator: Allocator;
  readonly #entries = new Map<string, { slot: number; owners: Set<number> }>();

  constructor(allocator: Allocator) {
    this.#allocator = allocator;
  }

  /** Returns the slot of `identity`, which stays allocated until `release(owner)`. */
  acquire(owner: number, identity: string): number {
    const entry = this.#entries.getOrInsertComputed(identity, () => {
      return { slot: this.#allocator.allocate(identity), owners: new Set() };
    });
    entry.owners.add(owner);
    return entry.slot;
  }

  /** Frees the slots that have no other owner. To be called when no worker uses the owner. */
  release(owner: number): void {
    for (const [identity, entry] of this.#entries) {
      if (!entry.owners.delete(owner) || entry.owners.size > 0) continue;
      this.#entries.delete(identity);
      this.#allocator.free(identity, entry.slot);
    }
  }
}

/** An allocator of a table's rows; `clear` resets a row before it is used. */
export function rowsOf(name: string, size: number, clear: (row: number) => void): Allocator {
  const free: number[] = [];
  let next = 0;
  return {
    allocate() {
      const row = free.pop() ?? next++;
      if (row >= size) {
        next = size;
        throw new Error(`more than ${size} ${name} at one time, including those of older versions still in use`);
      }
      clear(row);
      return row;
    },
    free(_identity, row) {
      free.push(row);
    },
  };
}
