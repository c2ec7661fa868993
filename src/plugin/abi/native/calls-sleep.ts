/** `sluice:sleep/1`. Asynchronous host calls are only entered in suspendable calls (`wasm/meter-code.ts`). */
import { STATUS } from "../../../abi/abi.ts";
import type { CallContext } from "../call-context.ts";

/** The longest timer in milliseconds; `limits.time` limits the whole call. */
const LONGEST = 2 ** 31 - 1;

/** The result of an asynchronous host call: a number if it has completed, else a promise. */
export type AsyncResult = number | Promise<number>;

export function makeSleepCalls(context: CallContext) {
  return {
    sleep(milliseconds: number): AsyncResult {
      context.enter("sleep", 0);
      if (!context.scope.maySuspend) return context.leave(STATUS.notHere);
      if (milliseconds < 0 || milliseconds > LONGEST) return context.leave(STATUS.invalid);
      context.leave(STATUS.ok);
      const time = context.recorder?.instant ? 0 : milliseconds;
      return context.suspension.suspend((complete) => context.after(time, () => complete(STATUS.ok)));
    },
  };
}
