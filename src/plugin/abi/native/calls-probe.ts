/** `sluice:probe/1`: exchanges bytes with the endpoint under check, for protocols without HTTP. */
import { HOOK, LIMIT, STATUS } from "../../../abi/abi.ts";
import { CALL_MEMORY } from "../call-charges.ts";
import type { CallContext } from "../call-context.ts";
import type { AsyncResult } from "./calls-sleep.ts";

/** Defaults: milliseconds, bytes. */
const TIMEOUT = 5000;
const MOST = 16 * 1024;

export function makeProbeCalls(context: CallContext) {
  const { memory } = context;
  return {
    probe(
      send: number,
      sendLength: number,
      until: number,
      untilLength: number,
      most: number,
      timeout: number,
    ): AsyncResult {
      context.enter("probe", (sendLength >>> 0) + (untilLength >>> 0));
      memory.check(send, sendLength);
      memory.check(until, untilLength);
      if (sendLength >>> 0 > LIMIT.probeText || untilLength >>> 0 > LIMIT.probeText)
        return context.leave(STATUS.tooLarge);
      if (timeout < 0 || most < 0 || most > LIMIT.probeAnswer) return context.leave(STATUS.invalid);
      const { configuration } = context;
      const endpoint = context.scope.checkedEndpoint;
      if (configuration === null || configuration.fetcher === null || endpoint === null)
        return context.leave(STATUS.notHere);
      const { charges } = context;
      const wanted = most || MOST;
      charges.charge("probe", CALL_MEMORY.probed, (sendLength >>> 0) + (untilLength >>> 0));
      const available = charges.available(CALL_MEMORY.probed);
      const request = {
        endpoint,
        send: memory.take(send, sendLength),
        until: memory.take(until, untilLength),
        most: Math.min(wanted, available),
        timeout: Math.min(timeout || TIMEOUT, context.scope.timeLeft),
      };
      const { fetcher } = configuration;
      context.probed = null;
      context.leave(STATUS.ok);
      const result = context.suspension.suspend((complete) =>
        fetcher.probe(request, (received) => {
          if (typeof received === "number") return complete(received);
          context.probed = received;
          context.grant(received.length);
          charges.setCharged(CALL_MEMORY.probed, received.length);
          complete(received.length);
        }),
      );
      return available < wanted ? context.failTooLarge(result, "probe", available) : result;
    },

    probe_read(offset: number, out: number, cap: number): number {
      context.enter("probe_read", 0);
      const at = memory.check(out, cap);
      if (context.probed === null || context.scope.hook !== HOOK.health_check) return context.leave(STATUS.absent);
      const start = Math.min(context.probed.length, offset >>> 0);
      const end = Math.min(context.probed.length, start + (cap >>> 0));
      context.spend(end - start);
      context.probed.copy(memory.bytes, at, start, end);
      return context.leave(end - start);
    },
  };
}
