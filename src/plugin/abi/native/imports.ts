/** Creates the imports of one guest: every host call of `abi/abi.ts`, bound to its context. */

import { type IMPORTS, LIMIT } from "../../../abi/abi.ts";
import { Fault } from "../../host/fault.ts";
import type { CallContext } from "../call-context.ts";
import { makeBalanceCalls } from "./calls-balance.ts";
import { makeBodyCalls } from "./calls-body.ts";
import { makeConfigCalls } from "./calls-config.ts";
import { makeCryptoCalls } from "./calls-crypto.ts";
import { makeExchangeCalls } from "./calls-exchange.ts";
import { makeFetchCalls } from "./calls-fetch.ts";
import { makeHeadCalls } from "./calls-head.ts";
import { makeKeyValueCalls } from "./calls-kv.ts";
import { makeLogCalls } from "./calls-log.ts";
import { makeMetricCalls } from "./calls-metrics.ts";
import { makeProbeCalls } from "./calls-probe.ts";
import { type AsyncResult, makeSleepCalls } from "./calls-sleep.ts";
import { makeStateCalls } from "./calls-state.ts";

/** A compile-time check that exactly the imports of `abi/abi.ts` are implemented. */
type Imports = {
  readonly [M in keyof typeof IMPORTS]: {
    readonly [N in keyof (typeof IMPORTS)[M]]: (...values: number[]) => AsyncResult | undefined;
  };
};

export function makeImports(context: CallContext) {
  return {
    "sluice:core/1": {
      ...makeHeadCalls(context),
      ...makeExchangeCalls(context),
      ...makeBodyCalls(context),
      ...makeConfigCalls(context),
      ...makeStateCalls(context),
      ...makeCoreCalls(context),
    },
    "sluice:log/1": makeLogCalls(context),
    "sluice:clock/1": makeClockCalls(context),
    "sluice:crypto/1": makeCryptoCalls(context),
    "sluice:metrics/1": makeMetricCalls(context),
    "sluice:kv/1": makeKeyValueCalls(context),
    "sluice:sleep/1": makeSleepCalls(context),
    "sluice:fetch/1": makeFetchCalls(context),
    "sluice:probe/1": makeProbeCalls(context),
    "sluice:balance/1": makeBalanceCalls(context),
  } satisfies Imports;
}

function makeCoreCalls(context: CallContext) {
  return {
    now(): number {
      context.enter("now", 0);
      return context.leave(context.now());
    },

    random(): number {
      context.enter("random", 0);
      return context.leave((Math.random() * 2 ** 32) | 0);
    },

    abort(
      message: number,
      messageLength: number,
      file: number,
      fileLength: number,
      line: number,
      column: number,
    ): undefined {
      context.enter("abort", (messageLength >>> 0) + (fileLength >>> 0));
      const text = takeLine(context, message, messageLength);
      const source = takeLine(context, file, fileLength);
      // Line 0: `file` contains the whole position.
      const place = source === "" || line === 0 ? source : `${source}:${line >>> 0}:${column >>> 0}`;
      const where = place === "" ? "" : ` (${place})`;
      throw new Fault("abort", `${text === "" ? "abort" : text}${where}`, place);
    },
  };
}

/** A separate permission, because precise times allow timing attacks on other requests. */
function makeClockCalls(context: CallContext) {
  return {
    now_precise(): number {
      context.enter("now_precise", 0);
      return context.leave(performance.timeOrigin + performance.now());
    },
  };
}

function takeLine(context: CallContext, pointer: number, length: number): string {
  context.memory.check(pointer, length);
  return context.memory.takeUtf8(pointer, Math.min(length >>> 0, LIMIT.logLine));
}
