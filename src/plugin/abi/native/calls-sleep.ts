/** Host calls that suspend the guest. They are entered only where the hook may wait (`meter-code.ts`). */
import { STATUS } from "../../../abi/abi.ts";
import type { CallContext } from "../call-context.ts";

/** The longest that a timer can be set for; what a call may wait altogether is bounded by `limits.time`. */
const LONGEST = 2 ** 31 - 1;

/** What a host call that waits answers: nothing was waited for, or a promise of the answer. */
export type AsyncResult = number | Promise<number>;

export function makeSleepCalls(context: CallContext) {
  return {
    sleep(milliseconds: number): AsyncResult {
      context.enter("sleep", 0);
      if (!context.scope.maySuspend) return context.leave(STATUS.notHere);
      if (milliseconds < 0 || milliseconds > LONGEST) return context.leave(STATUS.invalid);
      context.leave(STATUS.ok);
      // In a dry run nothing is waited for.
      const time = context.recorder?.instant ? 0 : milliseconds;
      return context.suspension.suspend((answer) => context.after(time, () => answer(STATUS.ok)));
    },
  };
}
