/** Gives a test access to the entries of a key-value namespace. */
import type { TestNamespace } from "../../sdk/test.js";
import { LIMIT, STATUS } from "../abi/abi.ts";
import { type KeyValue, Operation } from "../state/key-value.ts";

const LENGTH = 4;

export class StoreView implements TestNamespace {
  readonly #store: KeyValue;
  readonly #namespace: number;
  readonly #now: () => number;
  readonly #out = Buffer.alloc(LIMIT.kvValue);

  constructor(store: KeyValue, namespace: number, now: () => number) {
    this.#store = store;
    this.#namespace = namespace;
    this.#now = now;
  }

  get(key: string): string | null {
    const length = this.#store.get(this.#operation(key));
    return length < 0 ? null : this.#out.toString("utf8", 0, length);
  }

  set(key: string, value: string | Uint8Array, ttl = 0): void {
    const operation = this.#operation(key);
    operation.value = Buffer.from(value as string);
    operation.valueEnd = operation.value.length;
    operation.ttl = ttl;
    const status = this.#store.set(operation);
    if (status !== STATUS.ok) throw new RangeError(`the key "${key}" cannot be set: it or its value is too large`);
  }

  delete(key: string): void {
    this.#store.delete(this.#operation(key));
  }

  keys(): string[] {
    const keys: string[] = [];
    const operation = this.#operation("");
    do {
      const end = this.#store.list(operation);
      for (let at = 0; at < end; ) {
        const length = this.#out.readUInt32LE(at);
        keys.push(this.#out.toString("utf8", at + LENGTH, at + LENGTH + length));
        at += LENGTH + length;
      }
    } while (operation.cursor !== 0);
    return keys.sort();
  }

  #operation(key: string): Operation {
    const operation = new Operation();
    operation.namespace = this.#namespace;
    operation.key = Buffer.from(key);
    operation.keyEnd = operation.key.length;
    operation.now = this.#now();
    operation.out = this.#out;
    operation.cap = this.#out.length;
    return operation;
  }
}
