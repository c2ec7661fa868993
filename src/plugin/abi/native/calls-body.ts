/** `sluice:core/1`: host calls on the current body chunk. */

import { STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { type BodyChunk, chunkOf } from "../../host/hook-context.ts";
import type { CallContext } from "../call-context.ts";

export function makeBodyCalls(context: CallContext) {
  const { memory } = context;
  return {
    body_size(): number {
      context.enter("body_size", 0);
      const chunk = currentChunk(context);
      return context.leave(chunk === null ? STATUS.notHere : chunk.end - chunk.start);
    },

    body_last(): number {
      context.enter("body_last", 0);
      const chunk = currentChunk(context);
      return context.leave(chunk === null ? STATUS.notHere : chunk.last ? 1 : 0);
    },

    body_read(offset: number, out: number, cap: number): number {
      context.enter("body_read", 0);
      const at = memory.check(out, cap);
      const chunk = currentChunk(context);
      if (chunk === null) return context.leave(STATUS.notHere);
      const start = Math.min(chunk.end, chunk.start + (offset >>> 0));
      const end = Math.min(chunk.end, start + (cap >>> 0));
      context.spend(end - start);
      chunk.bytes.copy(memory.bytes, at, start, end);
      return context.leave(end - start);
    },

    body_replace(pointer: number, length: number): number {
      context.enter("body_replace", length >>> 0);
      memory.check(pointer, length);
      const chunk = currentChunk(context);
      if (chunk === null) return context.leave(STATUS.notHere);
      if (length >>> 0 > context.configuration!.bodyLimit) return context.leave(STATUS.tooLarge);
      context.spend(WORK.keptByte * (length >>> 0));
      chunk.replace(memory.take(pointer, length));
      return context.leave(STATUS.ok);
    },

    body_append(pointer: number, length: number): number {
      context.enter("body_append", length >>> 0);
      const start = memory.check(pointer, length);
      const chunk = currentChunk(context);
      if (chunk === null) return context.leave(STATUS.notHere);
      // `limits.body` limits what a plugin adds, not the size of a received chunk.
      const most = Math.max(chunk.end - chunk.start, 0) + context.configuration!.bodyLimit;
      if (chunk.size + (length >>> 0) > most) return context.leave(STATUS.tooLarge);
      chunk.append(memory.bytes, start, start + (length >>> 0));
      return context.leave(STATUS.ok);
    },
  };
}

function currentChunk({ scope: { exchange, hook } }: CallContext): BodyChunk | null {
  return chunkOf(hook, exchange);
}
