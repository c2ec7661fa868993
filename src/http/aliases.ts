/**
 * Which field names an origin server cannot distinguish. CGI, WSGI, Rack and PHP turn a name into a variable: case is
 * lost, and every byte other than a letter or digit becomes `_`. `X_User` and `x.user` then set, or overwrite, `X-User`.
 * The core and all filters decide by this file alone.
 */

import { FIELD_WORDS, type Head, NAME, NAME_END, NAME_ID, NAME_START } from "./head.ts";

const HYPHEN = 45;

/** Canonical byte for each byte of a name: letters in lower case, digits, `-` for everything else. */
export const FOLD: Uint8Array = new Uint8Array(256).fill(HYPHEN);
for (const char of "abcdefghijklmnopqrstuvwxyz0123456789") {
  FOLD[char.charCodeAt(0)] = char.charCodeAt(0);
  FOLD[char.toUpperCase().charCodeAt(0)] = char.charCodeAt(0);
}

/** Whether an origin server may read both names as the same: `x-user`, `X_User`, `x~user`. */
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

/** Removes every field whose name is `name[start, end)` or an alias of it; returns how many. */
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
