/** Blocks of the kernel's memory that host functions return. */
import type { CallContext } from "../call-context.ts";
import { copyBytes } from "../memory.ts";
import type { Kernel } from "./kernel.ts";

/** Ends a host call that returns a block; returns its handle, 0 for null and for an empty block. @throws Fault */
export function give(context: CallContext, kernel: Kernel, call: string, bytes: Buffer | null): bigint {
  if (bytes === null || bytes.length === 0) {
    context.leave(0);
    return 0n;
  }
  const at = kernel.allocate(call, bytes.length);
  context.spend(bytes.length);
  copyBytes(context.memory.refresh(), at, bytes, 0, bytes.length);
  context.leave(0);
  return BigInt(at);
}
