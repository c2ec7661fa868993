/**
 * Ids of cluster and strategy names, which guests store. An id is never reassigned within the process, so that a guest
 * that is reused by a version with other clusters never chooses a wrong one.
 */
import { STATUS } from "../../abi/abi.ts";

export class NameIds {
  readonly #ids = new Map<string, number>();

  get size(): number {
    return this.#ids.size;
  }

  take(name: string): number {
    return this.#ids.getOrInsert(name, this.#ids.size);
  }
}

/** The names of one version: name to id, and id to index. */
export class NameTable {
  readonly #idByName = new Map<string, number>();
  readonly #indices: Int32Array;

  constructor(names: readonly string[], ids: NameIds) {
    for (const name of names) this.#idByName.set(name, ids.take(name));
    this.#indices = new Int32Array(ids.size).fill(STATUS.invalid);
    for (const [index, name] of names.entries()) this.#indices[this.#idByName.get(name)!] = index;
  }

  idOf(name: string): number {
    return this.#idByName.get(name) ?? STATUS.absent;
  }

  /** The index in this version, or `invalid`. */
  indexOf(id: number): number {
    return id >= 0 && id < this.#indices.length ? this.#indices[id]! : STATUS.invalid;
  }

  idsOf(names: readonly string[]): ReadonlySet<number> {
    return new Set(names.map((name) => this.idOf(name)));
  }
}
