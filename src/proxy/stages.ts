/**
 * What the plugins of the chains make of a body on its way: each piece goes through the hooks of those that were entered,
 * the request's in their order, the answer's backwards. A head may be held until its body is whole.
 */
import { FRAMING, Head, NAME } from "../http/head.ts";
import { HOOK } from "../plugin/abi.ts";
import type { Instance } from "../plugin/host.ts";
import { OUTCOME } from "../plugin/outcome.ts";
import { Carry } from "./carry.ts";
import type { Exchange } from "./exchange.ts";
import { Piece } from "./piece.ts";

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

/** The present piece through the request's plugins: OUTCOME.continue, or what ended it. */
export function stageRequestPiece(x: Exchange): number {
  const total = x.enteredListener + x.enteredRoute;
  if (x.piece!.isNothing) return OUTCOME.continue;
  for (; x.stage < total; x.stage++) {
    const outcome = runStage(instanceAt(x, x.stage), HOOK.request_body, x);
    if (outcome !== OUTCOME.continue) return outcome;
  }
  x.stage = 0;
  if (!x.piece!.last || x.requestTrailers === null) return OUTCOME.continue;
  for (let i = 0; i < total; i++) {
    const outcome = runTrailers(instanceAt(x, i), HOOK.request_trailers, x);
    if (outcome !== OUTCOME.continue) return outcome;
  }
  return OUTCOME.continue;
}

/** The present piece through the answer's plugins, last first. */
export function stageAnswerPiece(x: Exchange): number {
  const total = x.enteredListener + x.enteredRoute;
  if (x.piece!.isNothing) return OUTCOME.continue;
  for (; x.stage < total; x.stage++) {
    const outcome = runStage(instanceAt(x, total - 1 - x.stage), HOOK.response_body, x);
    if (outcome !== OUTCOME.continue) return outcome;
  }
  x.stage = 0;
  if (!x.piece!.last || x.responseTrailers === null) return OUTCOME.continue;
  for (let i = total - 1; i >= 0; i--) {
    const outcome = runTrailers(instanceAt(x, i), HOOK.response_trailers, x);
    if (outcome !== OUTCOME.continue) return outcome;
  }
  return OUTCOME.continue;
}

function instanceAt(x: Exchange, at: number): Instance {
  const { chain } = x.listener!;
  return at < x.enteredListener ? chain[at]! : x.route!.chain[at - x.enteredListener]!;
}

function runStage(instance: Instance, hook: number, x: Exchange): number {
  if (((instance.hooks >>> hook) & 1) === 0 || x.passedOver?.has(instance.index)) return OUTCOME.continue;
  const outcome = instance.call(hook, x);
  if (outcome === OUTCOME.continue) x.piece!.accept();
  return outcome;
}

function runTrailers(instance: Instance, hook: number, x: Exchange): number {
  return ((instance.hooks >>> hook) & 1) === 0 ? OUTCOME.continue : instance.call(hook, x);
}

/**
 * `size` bytes of a held body have come. Plugins whose limit that is over, and that would rather not see it then, hold
 * the head no longer and are passed over. False: one of them wants the message refused.
 */
export function withinLimits(x: Exchange, size: number): boolean {
  const { holders } = x;
  if (holders === null) return true;
  for (let i = holders.length - 1; i >= 0; i--) {
    const holder = holders[i]!;
    if (size <= holder.bodyLimit) continue;
    if (holder.refusesTooLarge) return false;
    (x.passedOver ??= new Set()).add(holder.index);
    holders.splice(i, 1);
  }
  if (holders.length === 0) x.holders = null;
  return true;
}

/** The bytes of the answer's body that a held head waits for, those of this turn included. */
export function gatherAnswer(x: Exchange): Carry {
  const gathered = (x.gathered ??= new Carry());
  if (x.body !== null && x.bodyEnd > x.bodyStart) gathered.append(x.body, x.bodyStart, x.bodyEnd);
  x.body = null;
  return gathered;
}

export function pieceOf(x: Exchange): Piece {
  return (x.piece ??= new Piece());
}

/** How a request whose body went through plugins is framed: by its length where it is whole, else in chunks. */
export function frameStagedRequest(x: Exchange): void {
  const head = x.request;
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
