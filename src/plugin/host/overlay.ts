/**
 * A copy-on-write view of a key-value store: writes go to a private store, and keys that were not written are read
 * from the store below. Used by dry runs, whose writes must have no effect (`worker/dry-run.ts`).
 */
import { LIMIT, STATUS } from "../../abi/abi.ts";
import { WORK } from "../../abi/prices.ts";
import { type KeyValue, Operation } from "../../state/key-value.ts";

const PAGE = 64 * 1024;
/** Most keys that one `list` examines, and that can be written. */
const MAX_KEYS = 10_000;

export class Overlay implements KeyValue {
  readonly #below: KeyValue;
  /** Takes the writes; of the same class as `#below`, so that results are the same. */
  readonly #own: KeyValue;
  /** Keys that were written or deleted. */
  readonly #written = new Set<string>();
  readonly #copy = new Operation();

  constructor(below: KeyValue, own: KeyValue) {
    this.#below = below;
    this.#own = own;
    this.#copy.out = Buffer.alloc(LIMIT.kvValue);
    this.#copy.cap = LIMIT.kvValue;
  }

  get(operation: Operation): number {
    return (this.#written.has(nameOf(operation)) ? this.#own : this.#below).get(operation);
  }

  set(operation: Operation): number {
    if (this.#isFull(operation)) return STATUS.tooLarge;
    const status = this.#own.set(operation);
    // A write that fails leaves the value below visible.
    if (status === STATUS.ok) this.#written.add(nameOf(operation));
    return status;
  }

  compareAndSet(operation: Operation): number {
    if (this.#written.has(nameOf(operation))) return this.#own.compareAndSet(operation);
    const found = this.#readBelow(operation);
    if (found === STATUS.busy) return found;
    const version = found === STATUS.absent ? 0 : this.#copy.version;
    if (operation.version === version) return this.set(operation) === STATUS.ok ? 1 : STATUS.tooLarge;
    operation.version = version;
    return 0;
  }

  increment(operation: Operation): number {
    const status = this.#copyUp(operation);
    return status < 0 ? status : this.#own.increment(operation);
  }

  delete(operation: Operation): number {
    const status = this.#copyUp(operation);
    return status < 0 ? status : this.#own.delete(operation);
  }

  /** The cursor is an index into the keys of both stores. */
  list(operation: Operation): number {
    operation.work = 0;
    const keys = [...this.#keys(this.#below, operation, (name) => !this.#written.has(name))];
    keys.push(...this.#keys(this.#own, operation, () => true));
    const { out, outStart, cap, cursor } = operation;
    if (!Number.isInteger(cursor) || cursor < 0 || cursor > keys.length) return STATUS.invalid;
    let end = 0;
    for (let index = cursor; index < keys.length; index++) {
      const key = keys[index]!;
      if (end + 4 + key.length > cap) {
        operation.cursor = index;
        return end === 0 ? STATUS.tooLarge : end;
      }
      out.writeUInt32LE(key.length, outStart + end);
      key.copy(out, outStart + end + 4);
      end += 4 + key.length;
    }
    operation.cursor = 0;
    return end;
  }

  #isFull(operation: Operation): boolean {
    return this.#written.size >= MAX_KEYS && !this.#written.has(nameOf(operation));
  }

  /** Reads the value below into `#copy`. */
  #readBelow(operation: Operation): number {
    const { namespace, key, keyStart, keyEnd, now } = operation;
    return this.#below.get(Object.assign(this.#copy, { namespace, key, keyStart, keyEnd, now }));
  }

  /** Copies the value from the store below into the private store, so that it can be changed. */
  #copyUp(operation: Operation): number {
    const name = nameOf(operation);
    if (this.#written.has(name)) return STATUS.ok;
    if (this.#isFull(operation)) return STATUS.tooLarge;
    const found = this.#readBelow(operation);
    if (found < 0 && found !== STATUS.absent) return found;
    this.#written.add(name);
    if (found === STATUS.absent) return STATUS.ok;
    const value = { value: this.#copy.out, valueStart: 0, valueEnd: found, ttl: 0 };
    return this.#own.set(Object.assign(this.#copy, value));
  }

  *#keys(store: KeyValue, operation: Operation, is: (name: string) => boolean) {
    const { namespace, key, keyStart, keyEnd, now } = operation;
    const page = new Operation();
    Object.assign(page, { namespace, key, keyStart, keyEnd, now, out: Buffer.alloc(PAGE), cap: PAGE });
    let left = MAX_KEYS;
    do {
      const length = store.list(page);
      operation.work += page.work;
      for (let at = 0; at < length; left--) {
        const end = at + 4 + page.out.readUInt32LE(at);
        const found = Buffer.from(page.out.subarray(at + 4, end));
        at = end;
        operation.work += WORK.removal;
        if (is(`${namespace} ${found.toString("latin1")}`)) yield found;
      }
    } while (page.cursor !== 0 && left > 0);
  }
}

function nameOf({ namespace, key, keyStart, keyEnd }: Operation): string {
  return `${namespace} ${key.toString("latin1", keyStart, keyEnd)}`;
}
