/** `sluice:kv/1` for Extism plugins: the shared key-value store, by block handles. A rejected call fails the hook. */
import { LIMIT, STATUS } from "../../../abi/abi.ts";
import { type KeyValue, Operation } from "../../../state/key-value.ts";
import { Fault } from "../../host/fault.ts";
import type { CallContext } from "../call-context.ts";
import { isTime, prepare, takeValue } from "../key-value.ts";
import { give } from "./blocks.ts";
import type { KEY_VALUE_FUNCTIONS } from "./interface.ts";
import type { Kernel } from "./kernel.ts";

/** Attempts to read an entry that grows between reading its length and its value. */
const ATTEMPTS = 3;

type Calls = Record<keyof typeof KEY_VALUE_FUNCTIONS, WebAssembly.ImportValue>;

export function makeKeyValueCalls(context: CallContext, kernel: Kernel): Calls {
  const { memory } = context;
  const operation = new Operation();

  /** Checks and sets the operands common to all calls; returns the store. @throws Fault */
  const open = (call: string, namespace: bigint, key: bigint): KeyValue => {
    const nameLength = kernel.size(call, namespace);
    const keyLength = kernel.size(call, key);
    context.spend(nameLength + keyLength);
    const name = nameLength > LIMIT.configPath ? "" : memory.takeUtf8(Number(namespace), nameLength);
    const number = context.configuration?.findNamespace(name) ?? STATUS.notHere;
    const store = number < 0 ? number : prepare(context, operation, number, Number(key), keyLength);
    return typeof store === "number" ? refuse(call, store) : store;
  };
  /** Charges the work of the store. @throws Fault if it rejected the call */
  const settle = (call: string, result: number): number => {
    context.spend(operation.work);
    return result < 0 ? refuse(call, result) : result;
  };
  const setTime = (call: string, ttl: bigint): void => {
    operation.ttl = Number(ttl);
    if (!isTime(operation.ttl)) refuse(call, STATUS.invalid);
  };

  return {
    get(namespace: bigint, key: bigint): bigint {
      context.enter("get", 0);
      let value: Buffer | null = null;
      for (let attempt = 0; ; attempt++) {
        const store = open("get", namespace, key);
        operation.out = value ?? memory.bytes;
        operation.outStart = 0;
        operation.cap = value?.length ?? 0;
        const result = store.get(operation);
        if (result === STATUS.absent) return give(context, kernel, "get", null);
        const length = settle("get", result);
        if (length <= operation.cap) return give(context, kernel, "get", value?.subarray(0, length) ?? null);
        if (attempt === ATTEMPTS) refuse("get", STATUS.busy);
        value = Buffer.allocUnsafe(length);
      }
    },

    set(namespace: bigint, key: bigint, value: bigint, ttl: bigint): void {
      context.enter("set", 0);
      const store = open("set", namespace, key);
      const length = kernel.size("set", value);
      context.spend(length);
      takeValue(context, operation, Number(value), length);
      setTime("set", ttl);
      settle("set", store.set(operation));
      context.leave(0);
    },

    delete(namespace: bigint, key: bigint): void {
      context.enter("delete", 0);
      const result = open("delete", namespace, key).delete(operation);
      if (result !== STATUS.absent) settle("delete", result);
      context.leave(0);
    },

    increment(namespace: bigint, key: bigint, by: bigint, ttl: bigint): bigint {
      context.enter("increment", 0);
      const store = open("increment", namespace, key);
      setTime("increment", ttl);
      operation.number = Number(by);
      if (!Number.isSafeInteger(operation.number)) refuse("increment", STATUS.invalid);
      settle("increment", store.increment(operation));
      context.leave(0);
      return BigInt(operation.number);
    },
  };
}

function refuse(call: string, status: number): never {
  const why = PROBLEMS[status] ?? "an empty key, a number beyond 2^53, or an entry that is not a number";
  throw new Fault(status === STATUS.busy ? "host" : "bad_result", `${call}: ${why}`);
}

const PROBLEMS: Readonly<Record<number, string>> = {
  [STATUS.denied]: "the namespace is not allowed (allow.kv)",
  [STATUS.notHere]: "not possible in start-up code",
  [STATUS.tooLarge]: `a key has at most ${LIMIT.kvKey} bytes, a value ${LIMIT.kvValue}`,
  [STATUS.busy]: "the store is busy",
};
