/**
 * Removes headers that describe a body which plugins have changed: lengths, ranges, entity tags and digests of the sender;
 * those that plugins have set stay. For HEAD and 304, and while a body is still being filtered, headers are removed if a
 * plugin may change the body. Modules that import neither `body_replace` nor `body_append` cannot, and have no effect.
 */

import { REWRITES } from "../abi/abi.ts";
import { equalsWord } from "../http/bytes.ts";
import { FIELD_WORDS, type Head, NAME, NAME_END, NAME_ID, NAME_START, VALUE_START } from "../http/head.ts";
import type { Exchange } from "./exchange.ts";

const names = (list: string): readonly Buffer[] => list.split(" ").map((name) => Buffer.from(name));

const DIGESTS = "content-md5 digest content-digest repr-digest";
/** Of trailers and request heads. `Content-Range` of a PUT stays: without it the part would replace the whole. */
const DIGEST_NAMES = names(DIGESTS);
const CHANGED_REQUEST = names(`${DIGESTS} content-encoding`);
/** Of a response whose body plugins may still change, and have not changed so far: Content-Encoding stays. */
const UNSURE = names(`${DIGESTS} etag accept-ranges`);
const CHANGED = names(`${DIGESTS} etag accept-ranges content-range content-length content-encoding`);
const RANGES = names("range if-range");

function rewrites({ listener, route }: Exchange, direction: number): boolean {
  return ((listener!.hooks | (route === null ? 0 : route.hooks)) & direction) !== 0;
}

/** Removes ranges before a request is sent: plugins need the whole body to change it. */
export function removeRanges(x: Exchange): void {
  if (rewrites(x, REWRITES.response)) removeOld(x.request, RANGES, x.request.end);
}

/** Called before the request head is sent, after the received part of the body was filtered. */
export function fitRequest(x: Exchange): void {
  if (x.requestBody?.chunk.changed) removeOld(x.request, CHANGED_REQUEST, x.originalEnd);
  else if (!x.requestComplete && rewrites(x, REWRITES.request)) removeOld(x.request, DIGEST_NAMES, x.originalEnd);
}

/** Called before the response head is sent. */
export function fitResponse(x: Exchange): void {
  const changed = x.responseBody?.chunk.changed === true;
  if (!changed && !rewrites(x, REWRITES.response)) return;
  const { response } = x;
  const bodiless = x.isHead || response.status === 204 || response.status === 304;
  if (changed || (bodiless && x.localStatus === 0)) removeOld(response, CHANGED, x.responseEnd);
  else if (!x.attempt.bodyDone && x.localStatus === 0) removeOld(response, UNSURE, x.responseEnd);
}

/** Called with the received trailers, before plugins process the last chunk. */
export function fitTrailers(x: Exchange, trailers: Head, direction: number): void {
  if (rewrites(x, direction)) removeOld(trailers, DIGEST_NAMES, trailers.end);
}

/** Removes the fields of those names that the sender wrote; values from `end` on were set by plugins. */
function removeOld(head: Head, list: readonly Buffer[], end: number): void {
  const { fields, count } = head;
  for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS) {
    if (fields[at + NAME_ID]! >= NAME.lookalike || fields[at + VALUE_START]! >= end) continue;
    const [start, stop] = [fields[at + NAME_START]!, fields[at + NAME_END]!];
    for (const name of list) if (equalsWord(head.bytes, start, stop, name)) head.removeAt(i);
  }
}
