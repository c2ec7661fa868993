/** `sluice:log/1`: lines of the program's log, fields of the access log. */

import { LEVEL, LIMIT, STATUS } from "../../../abi/abi.ts";
import { ACCESS_FIELDS } from "../../../observe/series.ts";
import type { CallContext } from "../call-context.ts";
import { writeLine } from "../log-lines.ts";

export function makeLogCalls(context: CallContext) {
  const names = Object.keys(LEVEL) as (keyof typeof LEVEL)[];
  return {
    write(level: number, text: number, length: number): number {
      context.enter("write", length >>> 0);
      context.memory.check(text, length);
      const name = names[level];
      if (name === undefined) return context.leave(STATUS.invalid);
      return context.leave(writeLine(context, name, text, length));
    },

    field(name: number, nameLength: number, value: number, length: number): number {
      context.enter("field", (nameLength >>> 0) + (length >>> 0));
      return context.leave(addLogField(context, name, nameLength, value, length));
    },
  };
}

/** Fields of the access log that plugins cannot set, because the proxy sets them. */
const OWN_FIELDS: ReadonlySet<string> = new Set(ACCESS_FIELDS);

/** `field`: replaces a field of that name, also one of another plugin. */
function addLogField(context: CallContext, name: number, nameLength: number, value: number, length: number): number {
  const { memory, configuration } = context;
  const { exchange, hook } = context.scope;
  const start = memory.check(name, nameLength);
  memory.check(value, length);
  if (exchange === null || configuration === null) return STATUS.notHere;
  if (nameLength >>> 0 > LIMIT.logFieldName) return STATUS.tooLarge;
  const key = memory.bytes.toString("latin1", start, start + nameLength);
  if (!/^[A-Za-z][A-Za-z0-9_.-]*$/.test(key) || OWN_FIELDS.has(key)) return STATUS.invalid;
  const fields = (exchange.logFields ??= new Map());
  if (length >>> 0 > LIMIT.logFieldValue || (!fields.has(key) && fields.size >= LIMIT.logFields)) {
    configuration.dropLog(hook);
    return STATUS.tooLarge;
  }
  context.charges.keep("field", key.length + length);
  fields.set(key, memory.takeUtf8(value, length));
  return STATUS.ok;
}
