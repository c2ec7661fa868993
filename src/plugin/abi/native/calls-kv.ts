/** `sluice:kv/1`: the shared key-value store. Cursors, versions and sums are f64: integers below 2^53. */

import { LIMIT, STATUS } from "../../../abi/abi.ts";
import { Operation } from "../../../state/key-value.ts";
import type { CallContext } from "../call-context.ts";
import { isTime, prepare, takeValue } from "../key-value.ts";

const FLOAT_BYTES = 8;

export function makeKeyValueCalls(context: CallContext) {
  const { memory } = context;
  const operation = new Operation();

  /** Ends a call and charges the work of the store. */
  const leave = (result: number): number => {
    context.spend(operation.work);
    return context.leave(result);
  };
  const giveFloat = (at: number, value: number): void => void memory.bytes.writeDoubleLE(value, at);

  return {
    kv_find(name: number, length: number): number {
      context.enter("kv_find", length >>> 0);
      memory.check(name, length);
      if (context.configuration === null) return context.leave(STATUS.notHere);
      if (length >>> 0 > LIMIT.configPath) return context.leave(STATUS.denied);
      return context.leave(context.configuration.findNamespace(memory.takeUtf8(name, length)));
    },

    kv_get(namespace: number, key: number, keyLength: number, out: number, cap: number, versionOut: number): number {
      context.enter("kv_get", keyLength >>> 0);
      const store = prepare(context, operation, namespace, key, keyLength);
      operation.outStart = memory.check(out, cap);
      if (versionOut !== 0) memory.check(versionOut, FLOAT_BYTES);
      if (typeof store === "number") return context.leave(store);
      operation.out = memory.bytes;
      operation.cap = cap >>> 0;
      const result = store.get(operation);
      if (result >= 0 && versionOut !== 0) giveFloat(versionOut >>> 0, operation.version);
      return leave(result);
    },

    kv_set(namespace: number, key: number, keyLength: number, value: number, valueLength: number, ttl: number): number {
      context.enter("kv_set", (keyLength >>> 0) + (valueLength >>> 0));
      const store = prepare(context, operation, namespace, key, keyLength);
      takeValue(context, operation, value, valueLength);
      if (typeof store === "number") return context.leave(store);
      if (!isTime(ttl)) return context.leave(STATUS.invalid);
      operation.ttl = ttl;
      return leave(store.set(operation));
    },

    kv_compare_and_set(
      namespace: number,
      key: number,
      keyLength: number,
      value: number,
      valueLength: number,
      ttl: number,
      version: number,
    ): number {
      context.enter("kv_compare_and_set", (keyLength >>> 0) + (valueLength >>> 0));
      const store = prepare(context, operation, namespace, key, keyLength);
      takeValue(context, operation, value, valueLength);
      if (typeof store === "number") return context.leave(store);
      if (!isTime(ttl) || !isTime(version)) return context.leave(STATUS.invalid);
      operation.ttl = ttl;
      operation.version = version;
      return leave(store.compareAndSet(operation));
    },

    kv_increment(namespace: number, key: number, keyLength: number, by: number, ttl: number, sumOut: number): number {
      context.enter("kv_increment", keyLength >>> 0);
      const store = prepare(context, operation, namespace, key, keyLength);
      const at = memory.check(sumOut, FLOAT_BYTES);
      if (typeof store === "number") return context.leave(store);
      if (!isTime(ttl) || !Number.isSafeInteger(by)) return context.leave(STATUS.invalid);
      operation.ttl = ttl;
      operation.number = by;
      const result = store.increment(operation);
      if (result >= 0) giveFloat(at, operation.number);
      return leave(result);
    },

    kv_delete(namespace: number, key: number, keyLength: number): number {
      context.enter("kv_delete", keyLength >>> 0);
      const store = prepare(context, operation, namespace, key, keyLength);
      return typeof store === "number" ? context.leave(store) : leave(store.delete(operation));
    },

    kv_list(
      namespace: number,
      prefix: number,
      prefixLength: number,
      cursor: number,
      out: number,
      cap: number,
      cursorOut: number,
    ): number {
      context.enter("kv_list", prefixLength >>> 0);
      // An empty prefix matches every key; an empty key is invalid.
      const store = prepare(context, operation, namespace, prefix, prefixLength, 0);
      operation.outStart = memory.check(out, cap);
      memory.check(cursorOut, FLOAT_BYTES);
      if (typeof store === "number") return context.leave(store);
      operation.out = memory.bytes;
      operation.cap = cap >>> 0;
      operation.cursor = cursor;
      const result = store.list(operation);
      if (result >= 0) giveFloat(cursorOut >>> 0, operation.cursor);
      return leave(result);
    },
  };
}
