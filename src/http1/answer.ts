/** The form of an answer on its client's connection: where its body comes from, and how its end is told. */
import { FRAMING, NAME } from "../http/head.ts";
import type { Exchange } from "../proxy/exchange.ts";
import { type BodyFrame, writeBody } from "./body-frame.ts";
import { type AnswerFrame, answerHeadBound, writeAnswerHead } from "./headers.ts";

/** `untilClose`: the connection's end is the body's. */
export type AnswerForm = AnswerFrame & { untilClose: boolean };

/** One for the thread: it is used up before anything else runs. */
const frame: AnswerForm = {
  sized: false,
  chunked: false,
  close: false,
  keepAlive: false,
  ownLength: -1,
  date: Buffer.alloc(0),
  untilClose: false,
};

/**
 * Chooses the framing (RFC 9112 section 6.3) from the client's request and the head as it is now. A plugin may have made
 * another method or status of it since the endpoint responded.
 */
export function frameAnswer(x: Exchange): AnswerForm {
  const head = x.response;
  const { status } = head;
  const old = x.request.minor === 0;
  const bodiless = x.isHead || status === 204 || status === 304;
  frame.keepAlive = old;
  frame.sized = frame.chunked = frame.untilClose = false;
  frame.ownLength = -1;
  if (x.localStatus !== 0) {
    if (status !== 204 && status !== 304) frame.ownLength = x.localBody?.length ?? 0;
  } else if (bodiless) {
    frame.sized = status !== 204 && !x.answerStaged && head.findKnown(NAME["content-length"]) >= 0;
  } else if (x.answerStaged && x.attempt.bodyDone && x.responseTrailers === null)
    frame.ownLength = x.attempt.bodyEnd - x.attempt.bodyStart;
  else if (x.answerStaged) {
    frame.untilClose = old;
    frame.chunked = !old;
  } else if (head.framing === FRAMING.none) frame.ownLength = 0;
  else if (head.framing === FRAMING.length) frame.sized = true;
  else if (old) frame.untilClose = true;
  else frame.chunked = true;
  return frame;
}

/** Room for the head and what is written with it. */
export function answerBound(x: Exchange): number {
  const trailers = x.responseTrailers === null ? 0 : answerHeadBound(x.responseTrailers);
  return (
    answerHeadBound(x.response) +
    Math.max(x.localBody?.length ?? 0, x.attempt.bodyEnd - x.attempt.bodyStart) +
    64 +
    trailers
  );
}

/** Writes the head, and the body bytes that are there; returns how many bytes that is. */
export function writeAnswer(out: Buffer, x: Exchange, form: AnswerForm, body: BodyFrame): number {
  const at = writeAnswerHead(out, x.response, form);
  if (x.localStatus !== 0) {
    if (form.ownLength <= 0 || x.isHead) return at;
    x.bytesSent = form.ownLength;
    return at + x.localBody!.copy(out, at);
  }
  if (x.attempt.body === null) return at;
  x.bytesSent = x.attempt.bodyEnd - x.attempt.bodyStart;
  return writeBody(out, at, x.attempt.body, x.attempt.bodyStart, x.attempt.bodyEnd, body);
}
