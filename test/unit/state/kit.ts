/** The store as host calls use it, with texts instead of memory. */
import { STATUS } from "../../../src/abi/abi.ts";
import { type KeyValue, Operation } from "../../../src/state/key-value.ts";

export class Keys {
  readonly store: KeyValue;
  readonly namespace: number;
  readonly operation = new Operation();
  now = 1_000_000;
  /** Repeats calls that return `busy`. */
  repeatsBusy = false;

  constructor(store: KeyValue, namespace = 0) {
    this.store = store;
    this.namespace = namespace;
  }

  #begin(key: string | Buffer): Operation {
    const { operation } = this;
    operation.namespace = this.namespace;
    operation.key = Buffer.from(key as string);
    operation.keyStart = 0;
    operation.keyEnd = operation.key.length;
    operation.now = this.now;
    operation.ttl = 0;
    return operation;
  }

  #value(value: string | Buffer, ttl: number): Operation {
    const { operation } = this;
    operation.value = Buffer.from(value as string);
    operation.valueStart = 0;
    operation.valueEnd = operation.value.length;
    operation.ttl = ttl;
    return operation;
  }

  bytes(key: string | Buffer): Buffer | null {
    const operation = this.#begin(key);
    operation.out = Buffer.alloc(65_536);
    operation.outStart = 0;
    operation.cap = operation.out.length;
    let length = this.store.get(operation);
    while (this.repeatsBusy && length === STATUS.busy) length = this.store.get(operation);
    if (length === STATUS.absent) return null;
    if (length < 0) throw new Error(`get returned ${length}`);
    return operation.out.subarray(0, length);
  }

  get(key: string): string | null {
    return this.bytes(key)?.toString() ?? null;
  }

  /** The version of the last entry read or written. */
  get version(): number {
    return this.operation.version;
  }

  set(key: string | Buffer, value: string | Buffer, ttl = 0): number {
    this.#begin(key);
    return this.store.set(this.#value(value, ttl));
  }

  compareAndSet(key: string, value: string, version: number, ttl = 0): number {
    this.#begin(key);
    this.#value(value, ttl).version = version;
    return this.store.compareAndSet(this.operation);
  }

  /** The sum, or a status below 0 as text. */
  increment(key: string, by = 1, ttl = 0): number | string {
    const operation = this.#begin(key);
    operation.ttl = ttl;
    operation.number = by;
    const status = this.store.increment(operation);
    return status === STATUS.ok ? operation.number : `${status}`;
  }

  delete(key: string): number {
    return this.store.delete(this.#begin(key));
  }

  /** Every key, in pages of `cap` bytes. */
  list(prefix = "", cap = 65_536): string[] {
    const keys: string[] = [];
    let cursor = 0;
    do {
      const operation = this.#begin(prefix);
      operation.out = Buffer.alloc(cap);
      operation.outStart = 0;
      operation.cap = cap;
      operation.cursor = cursor;
      const length = this.store.list(operation);
      if (length < 0) throw new Error(`list returned ${length}`);
      for (let at = 0; at < length; ) {
        const end = at + 4 + operation.out.readUInt32LE(at);
        keys.push(operation.out.toString("utf8", at + 4, end));
        at = end;
      }
      cursor = operation.cursor;
    } while (cursor !== 0);
    return keys;
  }
}
