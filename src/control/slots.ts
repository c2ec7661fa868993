/**
 * Places in shared memory, handed out by identity: an endpoint's row, a series' range of cells. A place stays with its
 * identity from version to version, and is used again only when no version that names it is alive on any thread.
 */

/** Where places come from and go back to. */
export type Ground = {
  /** @throws Error with the figure when there is no place left. */
  allocate(identity: string): number;
  free(identity: string, place: number): void;
};

export class Slots {
  readonly #ground: Ground;
  readonly #held = new Map<string, { place: number; versions: Set<number> }>();

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** The place of `identity`, held for `version` until `release(version)`. */
  hold(version: number, identity: string): number {
    let held = this.#held.get(identity);
    if (held === undefined) {
      held = { place: this.#ground.allocate(identity), versions: new Set() };
      this.#held.set(identity, held);
    }
    held.versions.add(version);
    return held.place;
  }

  /** `version` is gone from every thread, or was never taken. */
  release(version: number): void {
    for (const [identity, held] of this.#held) {
      if (!held.versions.delete(version) || held.versions.size > 0) continue;
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
