/** `sluice:balance/1`: endpoints for `update` and `pick`, results of attempts for `outcome`. */

import { ATTEMPT, COLUMN, ENDPOINT_TEXT, HOOK, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import type { CallContext } from "../call-context.ts";

const LAST_COLUMN = COLUMN.latency_age;

/** Scratch space for one column, shared by all guests of the worker. */
let values = new Int32Array(256);
let valueBytes = Buffer.from(values.buffer);

export function makeBalanceCalls(context: CallContext) {
  const { memory } = context;
  return {
    endpoint_count(): number {
      context.enter("endpoint_count", 0);
      return context.leave(context.scope.view === null ? STATUS.notHere : context.scope.view.count);
    },

    endpoint(index: number, column: number): number {
      context.enter("endpoint", 0);
      const { view } = context.scope;
      if (view === null) return context.leave(STATUS.notHere);
      if (column < 0 || column > LAST_COLUMN) return context.leave(STATUS.invalid);
      return context.leave(index >= 0 && index < view.count ? view.value(index, column) : STATUS.absent);
    },

    column_read(column: number, out: number, cap: number): number {
      context.enter("column_read", 0);
      const { view } = context.scope;
      const at = memory.check(out, cap);
      if (view === null) return context.leave(STATUS.notHere);
      if (column < 0 || column > LAST_COLUMN) return context.leave(STATUS.invalid);
      const length = 4 * view.count;
      if (length > cap >>> 0) return context.leave(length);
      context.spend(WORK.columnByte * length);
      if (view.count > values.length) {
        values = new Int32Array(2 * view.count);
        valueBytes = Buffer.from(values.buffer);
      }
      view.read(column, values);
      // Copied as bytes, because the guest's offset may be unaligned; both sides are little-endian.
      valueBytes.copy(memory.bytes, at, 0, length);
      return context.leave(length);
    },

    endpoint_text(index: number, what: number, out: number, cap: number): number {
      context.enter("endpoint_text", 0);
      const { view } = context.scope;
      memory.check(out, cap);
      if (view === null) return context.leave(STATUS.notHere);
      if (what !== ENDPOINT_TEXT.address && what !== ENDPOINT_TEXT.zone) return context.leave(STATUS.invalid);
      const endpoint = index >= 0 && index < view.count ? view.list[index] : undefined;
      const text = endpoint === undefined ? "" : what === ENDPOINT_TEXT.address ? endpoint.address : endpoint.zone;
      if (text === "") return context.leave(STATUS.absent);
      context.spend(text.length);
      return context.leave(memory.giveUtf8(text, out, cap));
    },

    attempt(id: number): number {
      context.enter("attempt", 0);
      const { exchange, hook } = context.scope;
      if (exchange === null || hook !== HOOK.outcome) return context.leave(STATUS.notHere);
      switch (id) {
        case ATTEMPT.endpoint:
          return context.leave(exchange.endpoint?.slot ?? STATUS.absent);
        case ATTEMPT.latency:
          return context.leave(exchange.attempt.latency | 0);
        case ATTEMPT.status:
          return context.leave(exchange.attempt.status);
        case ATTEMPT.failed:
          return context.leave(exchange.attempt.failed ? 1 : 0);
        default:
          return context.leave(STATUS.invalid);
      }
    },
  };
}
