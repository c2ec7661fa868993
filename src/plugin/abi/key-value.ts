/** Operands of the shared key-value store, for the host calls of every ABI. */
import { LIMIT, STATUS } from "../../abi/abi.ts";
import type { KeyValue, Operation } from "../../state/key-value.ts";
import type { CallContext } from "./call-context.ts";

/** Sets the operands that all calls have and returns the store, or a STATUS if it cannot be used. */
export function prepare(
  context: CallContext,
  operation: Operation,
  namespace: number,
  key: number,
  length: number,
  least = 1,
): KeyValue | number {
  const start = context.memory.check(key, length);
  const { configuration } = context;
  if (configuration === null || configuration.keyValue === null || context.scope.isStarting) return STATUS.notHere;
  if (!configuration.mayUse(namespace)) return STATUS.denied;
  if (length >>> 0 < least) return STATUS.invalid;
  if (length >>> 0 > LIMIT.kvKey) return STATUS.tooLarge;
  operation.namespace = namespace;
  operation.key = context.memory.bytes;
  operation.keyStart = start;
  operation.keyEnd = start + (length >>> 0);
  operation.now = context.now();
  operation.work = 0;
  return configuration.keyValue;
}

export function takeValue({ memory }: CallContext, operation: Operation, value: number, length: number): void {
  operation.value = memory.bytes;
  operation.valueStart = memory.check(value, length);
  operation.valueEnd = operation.valueStart + (length >>> 0);
}

/** Whether a number is from 0 to 2^53 - 1, not necessarily an integer. */
export function isTime(value: number): boolean {
  return value >= 0 && value <= Number.MAX_SAFE_INTEGER;
}
