/** `sluice:core/1`: migration of state to the next version, and the interval of `tick`. */
import { HOOK, LIMIT, STATUS } from "../../../abi/abi.ts";
import { CALL_MEMORY } from "../call-charges.ts";
import type { CallContext } from "../call-context.ts";
import { STARTING } from "../hook-scope.ts";
import { copyBytes } from "../memory.ts";

/** Hooks in which the interval can be set, in addition to start-up code. */
const SETTING = (1 << HOOK.configure) | (1 << HOOK.tick) | (1 << HOOK.restore);

export function makeStateCalls(context: CallContext) {
  const { memory } = context;
  return {
    tick_every(milliseconds: number): number {
      context.enter("tick_every", 0);
      const { configuration } = context;
      const { hook } = context.scope;
      if (configuration === null || (hook !== STARTING && ((SETTING >>> hook) & 1) === 0))
        return context.leave(STATUS.notHere);
      if (milliseconds < LIMIT.shortestTick || milliseconds > LIMIT.longestTick) return context.leave(STATUS.invalid);
      configuration.tickEvery(milliseconds);
      return context.leave(STATUS.ok);
    },

    state_put(pointer: number, length: number): number {
      context.enter("state_put", length >>> 0);
      const start = memory.check(pointer, length);
      const { state } = context;
      if (context.scope.hook !== HOOK.save || state === null) return context.leave(STATUS.notHere);
      if (state.length + (length >>> 0) > LIMIT.state) return context.leave(STATUS.tooLarge);
      context.charges.charge("state_put", CALL_MEMORY.state, state.length + (length >>> 0));
      state.append(memory.bytes, start, start + (length >>> 0));
      return context.leave(STATUS.ok);
    },

    state_get(offset: number, out: number, cap: number): number {
      context.enter("state_get", 0);
      const at = memory.check(out, cap);
      const { state } = context;
      if (context.scope.hook !== HOOK.restore || state === null) return context.leave(STATUS.notHere);
      const from = Math.min(offset >>> 0, state.length);
      const end = Math.min(state.length, from + (cap >>> 0));
      context.spend(end - from);
      copyBytes(memory.bytes, at, state.bytes, from, end);
      return context.leave(state.length - from);
    },
  };
}
