/** Log lines of plugins, for every ABI. */
import { type LEVEL, LIMIT, STATUS } from "../../abi/abi.ts";
import type { CallContext } from "./call-context.ts";
import type { GuestMemory } from "./memory.ts";

/** Logs UTF-8 text of a guest's memory, whose range was checked; returns `ok`, or `tooLarge` for a dropped line. */
export function writeLine(
  context: CallContext,
  level: keyof typeof LEVEL,
  text: number,
  length: number,
  memory: GuestMemory = context.memory,
): number {
  const { configuration } = context;
  if (length >>> 0 > LIMIT.logLine || context.logLines >= LIMIT.logLinesPerCall) {
    configuration?.dropLog(context.scope.hook);
    return STATUS.tooLarge;
  }
  if (configuration === null) return STATUS.notHere;
  context.logLines++;
  const line = memory.takeUtf8(text, length);
  context.recorder?.log(level, line);
  if (configuration.log(level, context.scope.hook, line)) return STATUS.ok;
  configuration.dropLog(context.scope.hook);
  return STATUS.tooLarge;
}
