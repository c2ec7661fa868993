/** Host calls on the piece of a body that is at hand. */

import { HOOK, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import type { BodyChunk } from "../../host/hook-context.ts";
import type { CallContext } from "../call-context.ts";

export function makeBodyCalls(context: CallContext) {
  const { memory } = context;
  return {
    body_size(): number {
      context.enter("body_size", 0);
      const piece = currentChunk(context);
      return context.leave(piece === null ? STATUS.notHere : piece.end - piece.start);
    },

    body_last(): number {
      context.enter("body_last", 0);
      const piece = currentChunk(context);
      return context.leave(piece === null ? STATUS.notHere : piece.last ? 1 : 0);
    },

    body_read(offset: number, out: number, cap: number): number {
      context.enter("body_read", 0);
      const at = memory.check(out, cap);
      const piece = currentChunk(context);
      if (piece === null) return context.leave(STATUS.notHere);
      const start = Math.min(piece.end, piece.start + (offset >>> 0));
      const end = Math.min(piece.end, start + (cap >>> 0));
      context.spend(end - start);
      piece.bytes.copy(memory.bytes, at, start, end);
      return context.leave(end - start);
    },

    body_replace(pointer: number, length: number): number {
      context.enter("body_replace", length >>> 0);
      memory.check(pointer, length);
      const piece = currentChunk(context);
      if (piece === null) return context.leave(STATUS.notHere);
      if (length >>> 0 > context.configuration!.bodyLimit) return context.leave(STATUS.tooLarge);
      context.spend(WORK.keptByte * (length >>> 0));
      piece.replace(memory.take(pointer, length));
      return context.leave(STATUS.ok);
    },

    body_append(pointer: number, length: number): number {
      context.enter("body_append", length >>> 0);
      const start = memory.check(pointer, length);
      const piece = currentChunk(context);
      if (piece === null) return context.leave(STATUS.notHere);
      // A piece that came is as large as it is; what a plugin adds to it is bounded.
      const most = Math.max(piece.end - piece.start, 0) + context.configuration!.bodyLimit;
      if (piece.size + (length >>> 0) > most) return context.leave(STATUS.tooLarge);
      piece.append(memory.bytes, start, start + (length >>> 0));
      return context.leave(STATUS.ok);
    },
  };
}

export function currentChunk({ scope: { exchange, hook } }: CallContext): BodyChunk | null {
  if (exchange === null) return null;
  if (hook === HOOK.request_body) return exchange.requestChunk;
  return hook === HOOK.response_body ? exchange.responseChunk : null;
}
