/**
 * What the plugins of the chains make of a body on its way: each piece goes through the hooks of those that were entered,
 * the request's in their order, the answer's backwards. A head may be held until its body is whole.
 */

import { HOOK, REWRITES } from "../abi/abi.ts";
import { FRAMING, Head, NAME } from "../http/head.ts";
import { Carry } from "../net/pending-buffer.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { Piece } from "./chunk.ts";
import type { Exchange } from "./exchange.ts";
import { fitRequest, fitTrailers } from "./metadata.ts";

const REQUEST_HOOKS = (1 << HOOK.request_body) | (1 << HOOK.request_trailers);
const RESPONSE_HOOKS = (1 << HOOK.response_body) | (1 << HOOK.response_trailers);
const CONTENT_LENGTH = Buffer.from("content-length");

/** A 100 (Continue) of our own: a head that is held keeps the endpoint from sending one (RFC 9110 section 10.1.1). */
export const CONTINUE = new Head(16, 1);
CONTINUE.status = 100;

/** Whether the request's body, if there is one, goes through a plugin. */
export function stagesRequest(x: Exchange): boolean {
  if (x.requestHeld) return true;
  const hooks = x.listener!.hooks | x.route!.hooks;
  return (hooks & REQUEST_HOOKS) !== 0 && x.request.framing !== FRAMING.none;
}

/** The same of the answer's. */
export function stagesAnswer(x: Exchange): boolean {
  if (x.answerHeld) return true;
  const hooks = x.listener!.hooks | (x.route === null ? 0 : x.route.hooks);
  if ((hooks & RESPONSE_HOOKS) === 0) return false;
  const { status, framing } = x.response;
  if (x.localStatus !== 0) return x.localBody !== null && x.localBody.length > 0;
  return !x.isHead && status !== 204 && status !== 304 && framing !== FRAMING.none;
}

/** `instance` holds a head back: its body is gathered up to the smallest limit of those who do. */
export function hold(x: Exchange, instance: Instance): void {
  (x.holders ??= []).push(instance);
}

/**
 * The present piece through the request's plugins: OUTCOME.continue when all have seen it, else what one of them came to.
 * Called again after a plugin has waited, it goes on behind that one.
 */
export function stageRequestPiece(x: Exchange): number {
  const total = countEntered(x);
  const piece = x.requestPiece!;
  if (piece.isNothing && x.requestSettled < 0) return OUTCOME.continue;
  if (piece.last && x.requestTrailers !== null && x.requestStage === 0 && x.requestSettled < 0)
    fitTrailers(x, x.requestTrailers, REWRITES.request);
  for (; x.requestStage < total; x.requestStage++) {
    const instance = instanceAt(x, x.requestStage);
    if (!seesBody(instance, HOOK.request_body, x)) continue;
    const outcome = x.requestSettled >= 0 ? x.requestSettled : instance.call(HOOK.request_body, x);
    x.requestSettled = -1;
    if (outcome !== OUTCOME.continue) return outcome;
    piece.accept();
  }
  x.requestStage = 0;
  if (!piece.last || x.requestTrailers === null) return OUTCOME.continue;
  for (let i = 0; i < total; i++) {
    const outcome = runTrailers(instanceAt(x, i), HOOK.request_trailers, x);
    if (outcome !== OUTCOME.continue) return outcome;
  }
  return OUTCOME.continue;
}

/** The same of the answer's, last first. */
export function stageAnswerPiece(x: Exchange): number {
  const total = countEntered(x);
  const piece = x.answerPiece!;
  if (piece.isNothing && x.settled < 0) return OUTCOME.continue;
  if (piece.last && x.responseTrailers !== null && x.stage === 0 && x.settled < 0)
    fitTrailers(x, x.responseTrailers, REWRITES.response);
  for (; x.stage < total; x.stage++) {
    const instance = instanceAt(x, total - 1 - x.stage);
    if (!seesBody(instance, HOOK.response_body, x)) continue;
    const outcome = x.settled >= 0 ? x.settled : instance.call(HOOK.response_body, x);
    x.settled = -1;
    if (outcome !== OUTCOME.continue) return outcome;
    piece.accept();
  }
  x.stage = 0;
  if (!piece.last || x.responseTrailers === null) return OUTCOME.continue;
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
  return ((instance.hooks >>> hook) & 1) === 1 && !x.passedOver?.has(passedOverAs(instance, hook));
}

/** In which direction a plugin is passed over: how the set tells that. */
function passedOverAs({ index }: Instance, hook: number): number {
  return hook === HOOK.request_body ? index : ~index;
}

function runTrailers(instance: Instance, hook: number, x: Exchange): number {
  return ((instance.hooks >>> hook) & 1) === 0 ? OUTCOME.continue : instance.call(hook, x);
}

/**
 * `size` bytes of a held body have come, for that body hook. Plugins whose limit that is over, and that would rather not
 * see it then, hold the head no longer and are passed over. False: one of them wants the message refused.
 */
export function withinLimits(x: Exchange, size: number, hook: number): boolean {
  const { holders } = x;
  if (holders === null) return true;
  for (let i = holders.length - 1; i >= 0; i--) {
    const holder = holders[i]!;
    if (size <= holder.bodyLimit) continue;
    if (holder.refusesTooLarge) return false;
    (x.passedOver ??= new Set()).add(passedOverAs(holder, hook));
    holders.splice(i, 1);
  }
  if (holders.length === 0) x.holders = null;
  return true;
}

/** The bytes of the answer's body that a held head waits for, those of this turn included. */
export function gatherAnswer(x: Exchange): Carry {
  const gathered = (x.gathered ??= new Carry());
  if (x.attempt.body !== null && x.attempt.bodyEnd > x.attempt.bodyStart)
    gathered.append(x.attempt.body, x.attempt.bodyStart, x.attempt.bodyEnd);
  x.attempt.body = null;
  return gathered;
}

export function requestPieceOf(x: Exchange): Piece {
  return (x.requestPiece ??= new Piece());
}

export function answerPieceOf(x: Exchange): Piece {
  return (x.answerPiece ??= new Piece());
}

/** How a request whose body went through plugins is framed: by its length where it is whole, else in chunks. */
export function frameStagedRequest(x: Exchange): void {
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
