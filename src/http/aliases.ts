/**
 * Which field names a server behind the proxy cannot tell apart. CGI, WSGI, Rack and PHP turn a name into a variable:
 * letters lose their case, and every byte but letters and digits becomes `_`. `X_User` and `x.user` then set, or
 * overwrite, what `X-User` says. This file is the one place that decides it, for the core and for all filters.
 */

import { FIELD_WORDS, type Head, NAME, NAME_END, NAME_ID, NAME_START } from "./head.ts";

const HYPHEN = 45;

/** The byte that a name's byte is read as: letters in lower case, digits, and `-` for everything else. */
export const FOLD: Uint8Array = new Uint8Array(256).fill(HYPHEN);
for (const char of "abcdefghijklmnopqrstuvwxyz0123456789") {
  FOLD[char.charCodeAt(0)] = char.charCodeAt(0);
  FOLD[char.toUpperCase().charCodeAt(0)] = char.charCodeAt(0);
}

/** Whether both names can be read as one: `x-user`, `X_User`, `x~user`. */
export function isAlias(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): boolean {
  if (aEnd - aStart !== bEnd - bStart) return false;
  for (let i = aStart, k = bStart; i < aEnd; i++, k++) if (FOLD[a[i]!] !== FOLD[b[k]!]) return false;
  return true;
}

/** Removes every field that can be read as `name[start, end)`, the name itself included; returns how many. */
export function removeAliases(head: Head, name: Uint8Array, start: number, end: number): number {
  const { bytes, fields, count } = head;
  let removed = 0;
  for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS) {
    if (fields[at + NAME_ID]! >= NAME.lookalike) continue;
    if (!isAlias(bytes, fields[at + NAME_START]!, fields[at + NAME_END]!, name, start, end)) continue;
    head.removeAt(i);
    removed++;
  }
  return removed;
}
