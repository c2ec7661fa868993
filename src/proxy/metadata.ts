/**
 * What a head says of its body, where plugins change that body. Lengths, ranges, entity tags and digests that the sender
 * wrote are of other bytes then, and are removed; what a plugin has set itself stays. HEAD and 304 have no body that
 * could be looked at: there, and while a body streams on behind its head, what plugins may do counts. A module that
 * imports neither `body_replace` nor `body_append` changes no body, and costs its messages nothing.
 */

import { REWRITES } from "../abi/abi.ts";
import { equalsWord } from "../http/bytes.ts";
import { FIELD_WORDS, type Head, NAME, NAME_END, NAME_ID, NAME_START, VALUE_START } from "../http/head.ts";
import type { Exchange } from "./exchange.ts";

const names = (list: string): readonly Buffer[] => list.split(" ").map((name) => Buffer.from(name));

const DIGESTS = "content-md5 digest content-digest repr-digest";
/** Of trailers, and of a request's head. `Content-Range` of a PUT stays: without it the part would be taken for all. */
const DIGEST_NAMES = names(DIGESTS);
const CHANGED_REQUEST = names(`${DIGESTS} content-encoding`);
/** Of a response whose body is sent while plugins may still change it, and has not been changed so far: the coding stays. */
const UNSURE = names(`${DIGESTS} etag accept-ranges`);
const CHANGED = names(`${DIGESTS} etag accept-ranges content-range content-length content-encoding`);
const RANGES = names("range if-range");

function rewrites({ listener, route }: Exchange, direction: number): boolean {
  return ((listener!.hooks | (route === null ? 0 : route.hooks)) & direction) !== 0;
}

/** Before a request is sent: a part of a body cannot be changed as the whole would be, so the whole is asked for. */
export function askForWhole(x: Exchange): void {
  if (rewrites(x, REWRITES.response)) removeOld(x.request, RANGES, x.request.end);
}

/** Before the request's head is sent, when what has come of its body went through plugins. */
export function fitRequest(x: Exchange): void {
  if (x.requestBody?.chunk.changed) removeOld(x.request, CHANGED_REQUEST, x.originalEnd);
  else if (!x.requestComplete && rewrites(x, REWRITES.request)) removeOld(x.request, DIGEST_NAMES, x.originalEnd);
}

/** Before the response's head is sent. */
export function fitResponse(x: Exchange): void {
  const changed = x.responseBody?.chunk.changed === true;
  if (!changed && !rewrites(x, REWRITES.response)) return;
  const { response } = x;
  const bodiless = x.isHead || response.status === 204 || response.status === 304;
  if (changed || (bodiless && x.localStatus === 0)) removeOld(response, CHANGED, x.responseEnd);
  else if (!x.attempt.bodyDone && x.localStatus === 0) removeOld(response, UNSURE, x.responseEnd);
}

/** When trailers have come, before a plugin sees the body's end. */
export function fitTrailers(x: Exchange, trailers: Head, direction: number): void {
  if (rewrites(x, direction)) removeOld(trailers, DIGEST_NAMES, trailers.end);
}

/** Removes the fields of those names whose value the sender wrote: bytes from `end` on are plugins'. */
function removeOld(head: Head, list: readonly Buffer[], end: number): void {
  const { fields, count } = head;
  for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS) {
    if (fields[at + NAME_ID]! >= NAME.lookalike || fields[at + VALUE_START]! >= end) continue;
    const [start, stop] = [fields[at + NAME_START]!, fields[at + NAME_END]!];
    for (const name of list) if (equalsWord(head.bytes, start, stop, name)) head.removeAt(i);
  }
}
