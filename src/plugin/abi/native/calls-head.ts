/** `sluice:core/1`: host calls on headers. They compare and copy bytes and create no strings. */
import { STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { FIELD_WORDS, type Head, NAME_END, NAME_START, VALUE_END, VALUE_START } from "../../../http/head.ts";
import type { CallContext } from "../call-context.ts";
import { findField, isHidden, ownHeader, removeHeader, setHeader } from "../head-edits.ts";
import type { HiddenNames } from "../hidden-names.ts";
import { unavailable } from "../hook-scope.ts";
import { copyBytes } from "../memory.ts";
import { countVisible, isVisible, nthVisible } from "../visible-fields.ts";

export function makeHeadCalls(context: CallContext) {
  const { memory } = context;
  return {
    header_get(part: number, name: number, nameLength: number, nth: number, out: number, cap: number): number {
      context.enter("header_get", 0);
      const start = memory.check(name, nameLength);
      const head = context.scope.readable(part);
      if (head === null) return context.leave(unavailable(part));
      const end = start + (nameLength >>> 0);
      const index =
        nth < 0 || isHidden(context, memory.bytes, start, end)
          ? -1
          : findField(context, head, memory.bytes, start, end, nth);
      if (index < 0 || !isVisible(head, index, null)) {
        memory.check(out, cap);
        return context.leave(STATUS.absent);
      }
      const at = index * FIELD_WORDS;
      const valueStart = head.fields[at + VALUE_START]!;
      const valueEnd = head.fields[at + VALUE_END]!;
      context.spend(valueEnd - valueStart);
      return context.leave(memory.give(head.bytes, valueStart, valueEnd, out, cap));
    },

    header_at(part: number, index: number, what: number, out: number, cap: number): number {
      context.enter("header_at", 0);
      const head = context.scope.readable(part);
      if (head === null) return context.leave(unavailable(part));
      memory.check(out, cap);
      if (what !== 0 && what !== 1) return context.leave(STATUS.invalid);
      context.spend(WORK.field * head.count);
      const found = nthVisible(head, index, context.hidden);
      if (found < 0) return context.leave(STATUS.absent);
      const at = found * FIELD_WORDS + (what === 0 ? NAME_START : VALUE_START);
      const start = head.fields[at]!;
      const end = head.fields[at + 1]!;
      context.spend(end - start);
      return context.leave(memory.give(head.bytes, start, end, out, cap));
    },

    header_count(part: number): number {
      context.enter("header_count", 0);
      const head = context.scope.readable(part);
      if (head === null) return context.leave(unavailable(part));
      context.spend(WORK.field * head.count);
      return context.leave(countVisible(head, context.hidden));
    },

    header_set(part: number, name: number, nameLength: number, value: number, valueLength: number): number {
      context.enter("header_set", (nameLength >>> 0) + (valueLength >>> 0));
      return context.leave(edit(context, part, name, nameLength, value, valueLength, true));
    },

    header_add(part: number, name: number, nameLength: number, value: number, valueLength: number): number {
      context.enter("header_add", (nameLength >>> 0) + (valueLength >>> 0));
      return context.leave(edit(context, part, name, nameLength, value, valueLength, false));
    },

    header_remove(part: number, name: number, nameLength: number): number {
      context.enter("header_remove", nameLength >>> 0);
      const start = memory.check(name, nameLength);
      return context.leave(removeHeader(context, part, memory.bytes, start, start + (nameLength >>> 0)));
    },

    header_own(name: number, nameLength: number): number {
      context.enter("header_own", nameLength >>> 0);
      const start = memory.check(name, nameLength);
      return context.leave(ownHeader(context, memory.bytes, start, start + (nameLength >>> 0)));
    },

    head_read(part: number, out: number, cap: number): number {
      context.enter("head_read", 0);
      const head = context.scope.readable(part);
      if (head === null) return context.leave(unavailable(part));
      const at = memory.check(out, cap);
      const { hidden } = context;
      const length = readLength(head, hidden);
      context.spend(length + WORK.givenField * head.count);
      if (length <= cap >>> 0) writeHead(head, hidden, memory.bytes, at);
      return context.leave(length);
    },
  };
}

function edit(
  context: CallContext,
  part: number,
  name: number,
  nameLength: number,
  value: number,
  valueLength: number,
  replace: boolean,
): number {
  const { memory } = context;
  const nameStart = memory.check(name, nameLength);
  const nameEnd = nameStart + (nameLength >>> 0);
  const valueStart = memory.check(value, valueLength);
  const valueEnd = valueStart + (valueLength >>> 0);
  return setHeader(context, part, memory.bytes, nameStart, nameEnd, valueStart, valueEnd, replace);
}

/** The format of `head_read`: a count, four words per header (docs/abi.md), then the bytes. */
const WORD = 4;
const ENTRY = 4 * WORD;

function readLength(head: Head, hidden: HiddenNames | null): number {
  const { fields } = head;
  let length = WORD;
  for (let index = 0; index < head.count; index++) {
    if (!isVisible(head, index, hidden)) continue;
    const at = index * FIELD_WORDS;
    length +=
      ENTRY + fields[at + NAME_END]! - fields[at + NAME_START]! + fields[at + VALUE_END]! - fields[at + VALUE_START]!;
  }
  return length;
}

function writeHead(head: Head, hidden: HiddenNames | null, target: Buffer, out: number): void {
  const { fields, bytes } = head;
  const count = countVisible(head, hidden);
  target.writeUInt32LE(count, out);
  let entry = out + WORD;
  let at = entry + count * ENTRY;
  for (let index = 0; index < head.count; index++) {
    if (!isVisible(head, index, hidden)) continue;
    for (let word = 0; word < 4; word += 2) {
      const start = fields[index * FIELD_WORDS + word]!;
      const end = fields[index * FIELD_WORDS + word + 1]!;
      target.writeUInt32LE(at - out, entry);
      target.writeUInt32LE(end - start, entry + WORD);
      copyBytes(target, at, bytes, start, end);
      entry += 2 * WORD;
      at += end - start;
    }
  }
}
