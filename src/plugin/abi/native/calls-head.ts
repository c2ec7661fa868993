/** Host calls on heads. Bytes are compared and copied where they stand; no string is made. */

import { HEADERS, LIMIT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { isFieldValue, isProtected, isToken, nameId, setAuthority } from "../../../http/fields.ts";
import {
  FIELD_WORDS,
  type Head,
  MAX_AREA,
  NAME,
  NAME_END,
  NAME_ID,
  NAME_START,
  VALUE_END,
  VALUE_START,
} from "../../../http/head.ts";
import type { CallContext } from "../call-context.ts";
import type { HiddenNames } from "../hidden-names.ts";
import { whyNot } from "../hook-scope.ts";
import { copyBytes } from "../memory.ts";

/** A field that plugins see: not one of the connection's own (RFC 9110 section 7.6.1), nor one that was taken away. */
const VISIBLE = new Uint8Array(256).fill(1);
VISIBLE.fill(0, NAME.connection, NAME["http2-settings"] + 1);
VISIBLE.fill(0, NAME.lookalike);

/** `hidden`: the names that the plugin must not see; null where it is the host that looks. */
function isVisible(head: Head, index: number, hidden: HiddenNames | null): boolean {
  const at = index * FIELD_WORDS;
  if (VISIBLE[head.fields[at + NAME_ID]!] === 0) return false;
  return hidden === null || !hidden.has(head.bytes, head.fields[at + NAME_START]!, head.fields[at + NAME_END]!);
}

/** Whether the name that the guest asks for is hidden from it. */
function isHidden(context: CallContext, start: number, end: number): boolean {
  return context.hidden?.has(context.memory.bytes, start, end) ?? false;
}

export function makeHeadCalls(context: CallContext) {
  const { memory } = context;
  return {
    header_get(part: number, name: number, nameLength: number, nth: number, out: number, cap: number): number {
      context.enter("header_get", 0);
      const start = memory.check(name, nameLength);
      const head = context.scope.readable(part);
      if (head === null) return context.leave(whyNot(part));
      const end = start + (nameLength >>> 0);
      const index = nth < 0 || isHidden(context, start, end) ? -1 : find(context, head, start, end, nth);
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
      if (head === null) return context.leave(whyNot(part));
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
      if (head === null) return context.leave(whyNot(part));
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
      const end = start + (nameLength >>> 0);
      const head = context.scope.editable(part);
      if (head === null) return context.leave(whyNot(part));
      if (!isToken(memory.bytes, start, end)) return context.leave(STATUS.invalid);
      const id = nameId(memory.bytes, start, end);
      if (id === NAME.host || isProtected(id)) return context.leave(STATUS.invalid);
      const first = isHidden(context, start, end) ? -1 : find(context, head, start, end, 0);
      return context.leave(first < 0 ? 0 : removeNamed(head, first));
    },

    header_own(name: number, nameLength: number): number {
      context.enter("header_own", nameLength >>> 0);
      const start = memory.check(name, nameLength);
      return context.leave(own(context, start, start + (nameLength >>> 0)));
    },

    head_read(part: number, out: number, cap: number): number {
      context.enter("head_read", 0);
      const head = context.scope.readable(part);
      if (head === null) return context.leave(whyNot(part));
      const at = memory.check(out, cap);
      const { hidden } = context;
      const length = readLength(head, hidden);
      context.spend(length + WORK.givenField * head.count);
      if (length <= cap >>> 0) writeHead(head, hidden, memory.bytes, at);
      return context.leave(length);
    },
  };
}

/** `header_set` (`replace`) and `header_add`: checks everything, then changes the head. */
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
  const head = context.scope.editable(part);
  if (head === null) return whyNot(part);
  const { bytes } = memory;
  if (nameEnd - nameStart > LIMIT.headerName || valueEnd - valueStart > LIMIT.headerValue) return STATUS.tooLarge;
  context.spend(WORK.checkedByte * (nameEnd - nameStart + valueEnd - valueStart) + WORK.field * head.count);
  if (!isToken(bytes, nameStart, nameEnd) || !isFieldValue(bytes, valueStart, valueEnd)) return STATUS.invalid;
  const id = nameId(bytes, nameStart, nameEnd);
  if (isProtected(id)) return STATUS.invalid;
  if (isHidden(context, nameStart, nameEnd)) return STATUS.denied;
  const more = nameEnd - nameStart + valueEnd - valueStart;
  if (!hasRoom(head, more + 8)) return STATUS.tooLarge;
  if (id === NAME.host) {
    if (part !== HEADERS.request || !replace) return STATUS.invalid;
    context.charges.keep("header_set", more);
    return setAuthority(head, bytes, valueStart, valueEnd) ? STATUS.ok : STATUS.invalid;
  }
  const first = replace ? find(context, head, nameStart, nameEnd, 0) : -1;
  if (first < 0 && head.count >= ENTRIES) return STATUS.tooLarge;
  if (first < 0 && countVisible(head, null) >= LIMIT.headerCount) return STATUS.tooLarge;
  context.charges.keep(replace ? "header_set" : "header_add", more);
  setField(head, first, id, bytes, nameStart, nameEnd, valueStart, valueEnd);
  return STATUS.ok;
}

/** `header_own`: checks everything, then removes what the client sent. */
function own(context: CallContext, start: number, end: number): number {
  const { bytes } = context.memory;
  const head = context.scope.editable(HEADERS.request);
  if (head === null) return STATUS.notHere;
  if (end - start > LIMIT.headerName) return STATUS.tooLarge;
  if (!isToken(bytes, start, end)) return STATUS.invalid;
  const id = nameId(bytes, start, end);
  if (id === NAME.host || isProtected(id)) return STATUS.invalid;
  if (isHidden(context, start, end)) return STATUS.denied;
  const exchange = context.scope.owning();
  if (exchange.owned >= LIMIT.ownedNames) return STATUS.tooLarge;
  context.spend((end - start + WORK.field) * (head.count + exchange.owned));
  return exchange.ownHeader(bytes, start, end);
}

function setField(
  head: Head,
  first: number,
  id: number,
  bytes: Buffer,
  nameStart: number,
  nameEnd: number,
  valueStart: number,
  valueEnd: number,
): void {
  if (first < 0) {
    const nameAt = head.append(bytes, nameStart, nameEnd);
    const valueAt = head.append(bytes, valueStart, valueEnd);
    head.push(nameAt, nameAt + nameEnd - nameStart, valueAt, valueAt + valueEnd - valueStart, id);
    return;
  }
  const valueAt = head.append(bytes, valueStart, valueEnd);
  head.fields[first * FIELD_WORDS + VALUE_START] = valueAt;
  head.fields[first * FIELD_WORDS + VALUE_END] = valueAt + valueEnd - valueStart;
  if (first < head.count - 1) takeOthersAway(head, first);
}

/** Entries of a field table, removed ones included, that a guest may bring about: adding and removing is not free. */
const ENTRIES = 2 * LIMIT.headerCount;

function find(context: CallContext, head: Head, start: number, end: number, nth: number): number {
  if (end - start > LIMIT.headerValue) return -1;
  context.spend((end - start + WORK.field) * head.count);
  return head.find(context.memory.bytes, start, end, nth);
}

/** Takes away the fields after `first` that have its name; returns how many. */
function takeOthersAway(head: Head, first: number): number {
  const { fields, bytes } = head;
  const at = first * FIELD_WORDS;
  const start = fields[at + NAME_START]!;
  const end = fields[at + NAME_END]!;
  let removed = 0;
  for (let index = first + 1; index < head.count; index++) {
    const other = index * FIELD_WORDS;
    if (fields[other + NAME_END]! - fields[other + NAME_START]! !== end - start || !isVisible(head, index, null))
      continue;
    if (!sameName(bytes, start, end, fields[other + NAME_START]!)) continue;
    head.removeAt(index);
    removed++;
  }
  return removed;
}

function removeNamed(head: Head, first: number): number {
  const removed = 1 + takeOthersAway(head, first);
  head.removeAt(first);
  return removed;
}

function sameName(bytes: Buffer, start: number, end: number, other: number): boolean {
  for (let i = start, k = other; i < end; i++, k++) if (lower(bytes[i]!) !== lower(bytes[k]!)) return false;
  return true;
}

function lower(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte + 32 : byte;
}

function nthVisible(head: Head, nth: number, hidden: HiddenNames | null): number {
  let left = nth;
  if (left < 0) return -1;
  for (let index = 0; index < head.count; index++) if (isVisible(head, index, hidden) && left-- === 0) return index;
  return -1;
}

function countVisible(head: Head, hidden: HiddenNames | null): number {
  let count = 0;
  for (let index = 0; index < head.count; index++) if (isVisible(head, index, hidden)) count++;
  return count;
}

/** Kept free for what the core adds behind a plugin's edits: another reading of the path, and fields of its own. */
const CORE_AREA = 2 * LIMIT.headBytes;
/** Bytes of the area that a text may take which is checked, laid down, and escaped into a copy. */
const COPIES = 4;

/**
 * Whether `more` bytes fit, also where they are normalised into a copy: the area only grows, so what is in use is counted
 * when the area as a whole is too full.
 */
export function hasRoom(head: Head, more: number): boolean {
  if (head.end + more <= LIMIT.headBytes) return true;
  if (head.end + COPIES * more > MAX_AREA - CORE_AREA) return false;
  let used = 0;
  for (let part = 0; part < head.parts.length; part += 2) used += head.parts[part + 1]! - head.parts[part]!;
  const { fields } = head;
  for (let index = 0; index < head.count; index++) {
    if (!isVisible(head, index, null)) continue;
    const at = index * FIELD_WORDS;
    used += fields[at + NAME_END]! - fields[at + NAME_START]! + fields[at + VALUE_END]! - fields[at + VALUE_START]!;
  }
  return used + more <= LIMIT.headBytes;
}

/** A count, four words for each field, then the bytes that they point at. */
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
