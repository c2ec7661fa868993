/**
 * The readings of an ambiguous path by other programs: nginx merges slashes and decodes escapes, application servers
 * decode `%2F`, Java servers truncate a segment at `;`. They may serve another resource than the selected route allows.
 */
import { hexValue, PERCENT, SEMICOLON, SLASH } from "./bytes.ts";
import { DOUBT } from "./head.ts";
import { isReserved, removeDotSegments } from "./target.ts";

const DECODE = { nothing: 0, butSlashes: 1, all: 2 } as const;
/** Slashes are merged before dot segments are resolved (nginx) or after it (Envoy). */
const MERGE = { never: 0, before: 1, after: 2 } as const;

export type Reading = {
  readonly decode: number;
  /** `;` and the rest of its segment are removed. */
  readonly cut: boolean;
  readonly merge: number;
  /** Bits of DOUBT, all of which a path must have for this reading to differ from it. */
  readonly needs: number;
};

/** All combinations that can differ from the path as received. */
export const READINGS: readonly Reading[] = listReadings();

function listReadings(): Reading[] {
  const readings: Reading[] = [];
  for (const decode of Object.values(DECODE))
    for (const cut of [false, true])
      for (const merge of Object.values(MERGE)) {
        // Only these create dot segments and pairs of slashes.
        const makesMore = cut || decode === DECODE.all;
        if (merge === MERGE.after && !makesMore) continue;
        const needs =
          (decode === DECODE.butSlashes ? DOUBT.escape : 0) |
          (decode === DECODE.all ? DOUBT.encodedSlash : 0) |
          (cut ? DOUBT.parameter : 0) |
          (merge !== MERGE.never && !makesMore ? DOUBT.slashes : 0);
        if (needs !== 0) readings.push({ decode, cut, merge, needs });
      }
  return readings;
}

/** Writes a reading of the path `bytes[start, end)` to `out[to]`; returns its end. It is at most as long as the path. */
export function writeReading(
  bytes: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  to: number,
  reading: Reading,
): number {
  const { decode, cut, merge } = reading;
  let at = to;
  for (let i = start; i < end; i++) {
    let byte = bytes[i]!;
    if (byte === SEMICOLON && cut) {
      while (i + 1 < end && bytes[i + 1] !== SLASH) i++;
      continue;
    }
    if (byte === PERCENT && decode !== DECODE.nothing && i + 2 < end) {
      const decoded = hexValue(bytes[i + 1]!) * 16 + hexValue(bytes[i + 2]!);
      if (isReserved(decoded) && (decoded !== SLASH || decode === DECODE.all)) {
        byte = decoded;
        i += 2;
      }
    }
    if (byte === SLASH && merge === MERGE.before && at > to && out[at - 1] === SLASH) continue;
    out[at++] = byte;
  }
  const resolved = removeDotSegments(out, to, at);
  return merge === MERGE.after ? mergeSlashes(out, to, resolved) : resolved;
}

function mergeSlashes(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  for (let i = start; i < end; i++)
    if (bytes[i] !== SLASH || at === start || bytes[at - 1] !== SLASH) bytes[at++] = bytes[i]!;
  return at;
}
