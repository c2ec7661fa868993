/**
 * Checks and applies header changes of plugins, for every ABI. Names and values are byte ranges, in the guest's memory or
 * elsewhere. Functions return a STATUS; an error changes nothing.
 */

import { HEADERS, LIMIT, STATUS } from "../../abi/abi.ts";
import { WORK } from "../../abi/prices.ts";
import { toLower } from "../../http/bytes.ts";
import { isFieldValue, isProtected, isToken, nameId, setAuthority } from "../../http/fields.ts";
import {
  FIELD_WORDS,
  type Head,
  MAX_AREA,
  NAME,
  NAME_END,
  NAME_START,
  VALUE_END,
  VALUE_START,
} from "../../http/head.ts";
import type { CallContext } from "./call-context.ts";
import { unavailable } from "./hook-scope.ts";
import { countVisible, isVisible } from "./visible-fields.ts";

/**
 * Sets (`replace`: replaces all values of the name) or adds a header: `bytes[nameStart, nameEnd)`, `bytes[valueStart,
 * valueEnd)`.
 */
export function setHeader(
  context: CallContext,
  part: number,
  bytes: Buffer,
  nameStart: number,
  nameEnd: number,
  valueStart: number,
  valueEnd: number,
  replace: boolean,
): number {
  const head = context.scope.editable(part);
  if (head === null) return unavailable(part);
  if (nameEnd - nameStart > LIMIT.headerName || valueEnd - valueStart > LIMIT.headerValue) return STATUS.tooLarge;
  context.spend(WORK.checkedByte * (nameEnd - nameStart + valueEnd - valueStart) + WORK.field * head.count);
  if (!isToken(bytes, nameStart, nameEnd) || !isFieldValue(bytes, valueStart, valueEnd)) return STATUS.invalid;
  const id = nameId(bytes, nameStart, nameEnd);
  if (isProtected(id)) return STATUS.invalid;
  if (isHidden(context, bytes, nameStart, nameEnd)) return STATUS.denied;
  const more = nameEnd - nameStart + valueEnd - valueStart;
  if (!hasRoom(head, more + 8)) return STATUS.tooLarge;
  if (id === NAME.host) {
    if (part !== HEADERS.request || !replace) return STATUS.invalid;
    context.charges.keep("header_set", more);
    return setAuthority(head, bytes, valueStart, valueEnd) ? STATUS.ok : STATUS.invalid;
  }
  const first = replace ? findField(context, head, bytes, nameStart, nameEnd, 0) : -1;
  if (first < 0 && head.count >= ENTRIES) return STATUS.tooLarge;
  if (first < 0 && head.count >= LIMIT.headerCount && countVisible(head, null) >= LIMIT.headerCount)
    return STATUS.tooLarge;
  context.charges.keep(replace ? "header_set" : "header_add", more);
  setField(head, first, id, bytes, nameStart, nameEnd, valueStart, valueEnd);
  return STATUS.ok;
}

/** Removes all headers of that name; returns their number. */
export function removeHeader(context: CallContext, part: number, bytes: Buffer, start: number, end: number): number {
  const head = context.scope.editable(part);
  if (head === null) return unavailable(part);
  if (!isToken(bytes, start, end)) return STATUS.invalid;
  const id = nameId(bytes, start, end);
  if (id === NAME.host || isProtected(id)) return STATUS.invalid;
  const first = isHidden(context, bytes, start, end) ? -1 : findField(context, head, bytes, start, end, 0);
  return first < 0 ? 0 : removeNamed(head, first);
}

/** Removes the client's headers of that name and owns the name (`header_own`); returns the number of removed headers. */
export function ownHeader(context: CallContext, bytes: Buffer, start: number, end: number): number {
  const head = context.scope.editable(HEADERS.request);
  if (head === null) return STATUS.notHere;
  if (end - start > LIMIT.headerName) return STATUS.tooLarge;
  if (!isToken(bytes, start, end)) return STATUS.invalid;
  const id = nameId(bytes, start, end);
  if (id === NAME.host || isProtected(id)) return STATUS.invalid;
  if (isHidden(context, bytes, start, end)) return STATUS.denied;
  const exchange = context.scope.owning();
  if (exchange.owned >= LIMIT.ownedNames) return STATUS.tooLarge;
  context.spend((end - start + WORK.field) * (head.count + exchange.owned));
  return exchange.ownHeader(bytes, start, end);
}

/** Whether a name is hidden from the plugin (`allow.headers.hide`). */
export function isHidden({ hidden }: CallContext, bytes: Buffer, start: number, end: number): boolean {
  return hidden?.has(bytes, start, end) ?? false;
}

/** Returns the index of the nth header of that name, or -1. */
export function findField(
  context: CallContext,
  head: Head,
  bytes: Buffer,
  start: number,
  end: number,
  nth: number,
): number {
  if (end - start > LIMIT.headerValue) return -1;
  context.spend((end - start + WORK.field) * head.count);
  return head.find(bytes, start, end, nth);
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
  if (first < head.count - 1) removeOthers(head, first);
}

/** Most entries of a header table, including removed ones, that a guest can create by adding and removing. */
const ENTRIES = 2 * LIMIT.headerCount;

/** Removes the headers after `first` that have its name; returns their number. */
function removeOthers(head: Head, first: number): number {
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
  const removed = 1 + removeOthers(head, first);
  head.removeAt(first);
  return removed;
}

function sameName(bytes: Buffer, start: number, end: number, other: number): boolean {
  for (let i = start, k = other; i < end; i++, k++) if (toLower(bytes[i]!) !== toLower(bytes[k]!)) return false;
  return true;
}

/** Bytes reserved for additions of the core after a plugin's edits: the normalised path and its own headers. */
const CORE_AREA = 2 * LIMIT.headBytes;
/** Most bytes of the area per byte of a text that is stored, normalised and escaped. */
const COPIES = 4;

/**
 * Whether `more` bytes fit, including a normalised copy. The area is append-only; the bytes in use are counted only if its
 * size exceeds the limit.
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
