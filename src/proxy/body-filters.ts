/** Decides which bodies go through body filters, and frames messages with a filtered body. */

import { HOOK } from "../abi/abi.ts";
import { FRAMING, Head, NAME } from "../http/head.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { Exchange } from "./exchange.ts";
import type { FilteredBody } from "./filtered-body.ts";
import { fitRequest } from "./metadata.ts";

const REQUEST_HOOKS = (1 << HOOK.request_body) | (1 << HOOK.request_trailers);
const RESPONSE_HOOKS = (1 << HOOK.response_body) | (1 << HOOK.response_trailers);
const CONTENT_LENGTH = Buffer.from("content-length");

/** Sent for a buffered request, which the endpoint cannot do (RFC 9110 section 10.1.1). */
export const CONTINUE = new Head(16, 1);
CONTINUE.status = 100;

/** Whether plugins filter or buffer the request body. */
export function filtersRequest(x: Exchange): boolean {
  if (x.requestBody !== null) return true;
  const hooks = x.listener!.hooks | x.route!.hooks;
  return (hooks & REQUEST_HOOKS) !== 0 && x.request.framing !== FRAMING.none;
}

/** The same for the response body. */
export function filtersResponse(x: Exchange): boolean {
  if (x.responseBody !== null) return true;
  const hooks = x.listener!.hooks | (x.route === null ? 0 : x.route.hooks);
  if ((hooks & RESPONSE_HOOKS) === 0) return false;
  const { status, framing } = x.response;
  if (x.localStatus !== 0) return x.localBody !== null && x.localBody.length > 0;
  return !x.isHead && status !== 204 && status !== 304 && framing !== FRAMING.none;
}

/** Buffers the received part of the response body. */
export function bufferResponse(body: FilteredBody, { attempt }: Exchange): PendingBuffer {
  const buffer = (body.pending ??= new PendingBuffer());
  if (attempt.body !== null && attempt.bodyEnd > attempt.bodyStart)
    buffer.append(attempt.body, attempt.bodyStart, attempt.bodyEnd);
  attempt.body = null;
  return buffer;
}

/** Frames a request with a filtered body: by its length if it is complete, else chunked. */
export function frameFilteredRequest(x: Exchange): void {
  const head = x.request;
  fitRequest(x);
  if (!x.requestComplete || x.requestTrailers !== null) {
    head.framing = FRAMING.chunked;
    return;
  }
  const length = x.replayLength;
  if (head.framing === FRAMING.length ? length === head.length : head.framing === FRAMING.none && length === 0) return;
  head.removeKnown(1 << NAME["content-length"]);
  head.add(CONTENT_LENGTH, Buffer.from(String(length)), NAME["content-length"]);
  head.framing = FRAMING.length;
  head.length = length;
}
