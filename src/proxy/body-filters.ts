/**
 * Body filters: each chunk of a body goes through the body hooks of the plugins that have seen the request, the request's
 * in their order, the response's backwards. Headers may be held back until the body is complete.
 */

import { HOOK, REWRITES } from "../abi/abi.ts";
import { FRAMING, Head, NAME } from "../http/head.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { Chunk } from "./chunk.ts";
import type { Exchange } from "./exchange.ts";
import { fitRequest, fitTrailers } from "./metadata.ts";

const REQUEST_HOOKS = (1 << HOOK.request_body) | (1 << HOOK.request_trailers);
const RESPONSE_HOOKS = (1 << HOOK.response_body) | (1 << HOOK.response_trailers);
const CONTENT_LENGTH = Buffer.from("content-length");

/** Sent where headers are held back, so that the endpoint cannot send it (RFC 9110 section 10.1.1). */
export const CONTINUE = new Head(16, 1);
CONTINUE.status = 100;

/** Whether the request's body, if there is one, goes through a plugin. */
export function filtersRequest(x: Exchange): boolean {
  if (x.requestBuffered) return true;
  const hooks = x.listener!.hooks | x.route!.hooks;
  return (hooks & REQUEST_HOOKS) !== 0 && x.request.framing !== FRAMING.none;
}

/** The same of the response's. */
export function filtersResponse(x: Exchange): boolean {
  if (x.responseBuffered) return true;
  const hooks = x.listener!.hooks | (x.route === null ? 0 : x.route.hooks);
  if ((hooks & RESPONSE_HOOKS) === 0) return false;
  const { status, framing } = x.response;
  if (x.localStatus !== 0) return x.localBody !== null && x.localBody.length > 0;
  return !x.isHead && status !== 204 && status !== 304 && framing !== FRAMING.none;
}

/** `instance` holds the headers back: the body is buffered up to the smallest limit of the instances that do. */
export function bufferFor(x: Exchange, instance: Instance): void {
  (x.bufferedBy ??= []).push(instance);
}

/**
 * Calls the request's plugins with the present chunk: OUTCOME.continue when all have seen it, else the outcome that ends
 * it. Called again after a suspended call, it continues after that plugin.
 */
export function filterRequestChunk(x: Exchange): number {
  const total = countEntered(x);
  const chunk = x.requestChunk!;
  if (chunk.isEmpty && x.requestOutcome < 0) return OUTCOME.continue;
  if (chunk.last && x.requestTrailers !== null && x.requestFiltersDone === 0 && x.requestOutcome < 0)
    fitTrailers(x, x.requestTrailers, REWRITES.request);
  for (; x.requestFiltersDone < total; x.requestFiltersDone++) {
    const instance = instanceAt(x, x.requestFiltersDone);
    if (!seesBody(instance, HOOK.request_body, x)) continue;
    const outcome = x.requestOutcome >= 0 ? x.requestOutcome : instance.call(HOOK.request_body, x);
    x.requestOutcome = -1;
    if (outcome !== OUTCOME.continue) return outcome;
    chunk.accept();
  }
  x.requestFiltersDone = 0;
  if (!chunk.last || x.requestTrailers === null) return OUTCOME.continue;
  for (let i = 0; i < total; i++) {
    const outcome = runTrailers(instanceAt(x, i), HOOK.request_trailers, x);
    if (outcome !== OUTCOME.continue) return outcome;
  }
  return OUTCOME.continue;
}

/** The same of the response's, last first. */
export function filterResponseChunk(x: Exchange): number {
  const total = countEntered(x);
  const chunk = x.responseChunk!;
  if (chunk.isEmpty && x.outcome < 0) return OUTCOME.continue;
  if (chunk.last && x.responseTrailers !== null && x.filtersDone === 0 && x.outcome < 0)
    fitTrailers(x, x.responseTrailers, REWRITES.response);
  for (; x.filtersDone < total; x.filtersDone++) {
    const instance = instanceAt(x, total - 1 - x.filtersDone);
    if (!seesBody(instance, HOOK.response_body, x)) continue;
    const outcome = x.outcome >= 0 ? x.outcome : instance.call(HOOK.response_body, x);
    x.outcome = -1;
    if (outcome !== OUTCOME.continue) return outcome;
    chunk.accept();
  }
  x.filtersDone = 0;
  if (!chunk.last || x.responseTrailers === null) return OUTCOME.continue;
  for (let i = total - 1; i >= 0; i--) {
    const outcome = runTrailers(instanceAt(x, i), HOOK.response_trailers, x);
    if (outcome !== OUTCOME.continue) return outcome;
  }
  return OUTCOME.continue;
}

/** The plugins of both chains that have seen the request. */
export function countEntered({ enteredListener, enteredRoute }: Exchange): number {
  return enteredListener + enteredRoute;
}

/** One of them, in the order in which they saw it. */
export function instanceAt(x: Exchange, at: number): Instance {
  const { chain } = x.listener!;
  return at < x.enteredListener ? chain[at]! : x.route!.chain[at - x.enteredListener]!;
}

function seesBody(instance: Instance, hook: number, x: Exchange): boolean {
  return ((instance.hooks >>> hook) & 1) === 1 && !x.bypassed?.has(bypassKey(instance, hook));
}

/** The key in `Exchange.bypassed`, by direction. */
function bypassKey({ index }: Instance, hook: number): number {
  return hook === HOOK.request_body ? index : ~index;
}

function runTrailers(instance: Instance, hook: number, x: Exchange): number {
  return ((instance.hooks >>> hook) & 1) === 0 ? OUTCOME.continue : instance.call(hook, x);
}

/**
 * Checks the size of a buffered body for that hook. Plugins whose limit it exceeds, and whose `tooLarge` is `skip`, no
 * longer hold the headers back and are bypassed. Returns false when one of them has the message rejected.
 */
export function withinLimits(x: Exchange, size: number, hook: number): boolean {
  const { bufferedBy } = x;
  if (bufferedBy === null) return true;
  for (let i = bufferedBy.length - 1; i >= 0; i--) {
    const instance = bufferedBy[i]!;
    if (size <= instance.bodyLimit) continue;
    if (instance.refusesTooLarge) return false;
    (x.bypassed ??= new Set()).add(bypassKey(instance, hook));
    bufferedBy.splice(i, 1);
  }
  if (bufferedBy.length === 0) x.bufferedBy = null;
  return true;
}

/** Buffers what was received of the response's body. */
export function bufferResponse(x: Exchange): PendingBuffer {
  const buffer = (x.responseBuffer ??= new PendingBuffer());
  if (x.attempt.body !== null && x.attempt.bodyEnd > x.attempt.bodyStart)
    buffer.append(x.attempt.body, x.attempt.bodyStart, x.attempt.bodyEnd);
  x.attempt.body = null;
  return buffer;
}

export function requestChunkOf(x: Exchange): Chunk {
  return (x.requestChunk ??= new Chunk());
}

export function responseChunkOf(x: Exchange): Chunk {
  return (x.responseChunk ??= new Chunk());
}

/** How a request whose body went through plugins is framed: by its length where it is complete, else chunked. */
export function frameFilteredRequest(x: Exchange): void {
  const head = x.request;
  fitRequest(x);
  if (!x.requestComplete || x.requestTrailers !== null) {
    head.framing = FRAMING.chunked;
    return;
  }
  const length = x.replayLength;
  if (head.framing === FRAMING.length ? length === head.length : head.framing === FRAMING.none && length === 0) return;
  for (let i = head.findKnown(NAME["content-length"]); i >= 0; i = head.findKnown(NAME["content-length"], i + 1))
    head.removeAt(i);
  head.add(CONTENT_LENGTH, Buffer.from(String(length)), NAME["content-length"]);
  head.framing = FRAMING.length;
  head.length = length;
}
