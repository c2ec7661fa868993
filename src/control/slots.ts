/**
 * Places in shared memory, handed out by identity: an endpoint's row, a series' range of cells. A place stays with its
 * identity from holder to holder (a version of the plan, or an endpoint set of one), and is used again only when no
 * holder that names it is alive on any worker.
 */

/** Where places come from and go back to. */
export type Ground = {
  /** @throws Error with the figure when there is no place left. */
  allocate(identity: string): number;
  free(identity: string, place: number): void;
};

export class Slots {
  readonly #ground: Ground;
  readonly #held = new Map<string, { place: number; holders: Set<number> }>();

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** The place of `identity`, held until `release(holder)`. */
  hold(holder: number, identity: string): number {
    let held = this.#held.get(identity);
    if (held === undefined) {
      held = { place: this.#ground.allocate(identity), holders: new Set() };
      this.#held.set(identity, held);
    }
    held.holders.add(holder);
    return held.place;
  }

  /** `holder` is gone from every worker, or was never taken. */
  release(holder: number): void {
    for (const [identity, held] of this.#held) {
      if (!held.holders.delete(holder) || held.holders.size > 0) continue;
      this.#held.delete(identity);
      this.#ground.free(identity, held.place);
    }
  }
}

/** The rows of a table with `size` rows; `clear` makes a row like new. */
export function rowsOf(what: string, size: number, clear: (row: number) => void): Ground {
  const free: number[] = [];
  let fresh = 0;
  return {
    allocate() {
      const row = free.pop() ?? fresh++;
      if (row >= size) {
        fresh = size;
        throw new Error(`more than ${size} ${what} at one time, those of versions still in use counted`);
      }
      clear(row);
      return row;
    },
    free(_identity, row) {
      free.push(row);
    },
  };
}
