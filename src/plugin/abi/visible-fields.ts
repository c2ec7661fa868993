/** Selects the headers that plugins can see. */
import { FIELD_WORDS, FLAG, type Head, NAME, NAME_END, NAME_ID, NAME_START } from "../../http/head.ts";
import type { HiddenNames } from "./hidden-names.ts";

/** By NAME: whether plugins see the header. They do not see hop-by-hop (RFC 9110 section 7.6.1) and removed ones. */
const VISIBLE = new Uint8Array(256).fill(1);
VISIBLE.fill(0, NAME.connection, NAME["http2-settings"] + 1);
VISIBLE.fill(0, NAME.lookalike);

/** `hidden`: the names hidden from the plugin; null: none. */
export function isVisible(head: Head, index: number, hidden: HiddenNames | null): boolean {
  const at = index * FIELD_WORDS;
  if (VISIBLE[head.fields[at + NAME_ID]!] === 0) return false;
  return hidden === null || !hidden.has(head.bytes, head.fields[at + NAME_START]!, head.fields[at + NAME_END]!);
}

export function nthVisible(head: Head, nth: number, hidden: HiddenNames | null): number {
  let left = nth;
  if (left < 0) return -1;
  for (let index = 0; index < head.count; index++) if (isVisible(head, index, hidden) && left-- === 0) return index;
  return -1;
}

export function countVisible(head: Head, hidden: HiddenNames | null): number {
  let count = 0;
  for (let index = 0; index < head.count; index++) if (isVisible(head, index, hidden)) count++;
  return count;
}

/** The value of Upgrade in lower case; empty if the request has none, or Connection does not name it. */
export function upgradeOf(request: Head): string {
  const index = (request.flags & FLAG.upgrade) === 0 ? -1 : request.findKnown(NAME.upgrade);
  return index < 0 ? "" : request.valueText(index).toLowerCase();
}
