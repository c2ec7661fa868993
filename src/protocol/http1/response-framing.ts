/** Framing of a response on an HTTP/1 connection: the source of its body, and how its end is marked. */
import { FRAMING, NAME } from "../../http/head.ts";
import { VERSION } from "../../http/protocol.ts";
import { type BodyFrame, writeBody } from "../../http1/body-frame.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { type ResponseFrame, responseHeadBound, writeResponseHead } from "./headers.ts";

/** `untilClose`: the connection's end is the body's. */
export type ResponseForm = ResponseFrame & { untilClose: boolean };

/** One for the worker: it is used before anything else runs. */
const frame: ResponseForm = {
  sized: false,
  chunked: false,
  close: false,
  keepAlive: false,
  ownLength: -1,
  date: Buffer.alloc(0),
  untilClose: false,
};

/** Chooses the framing (RFC 9112 section 6.3) by the client's request and the head that plugins have left. */
export function frameResponse(x: Exchange): ResponseForm {
  const head = x.response;
  const { status } = head;
  const filtered = x.responseBody?.streaming === true;
  const old = x.request.version === VERSION.http10;
  const bodiless = x.isHead || status === 204 || status === 304;
  frame.keepAlive = old;
  frame.sized = frame.chunked = frame.untilClose = false;
  frame.ownLength = -1;
  if (x.localStatus !== 0) {
    if (status !== 204 && status !== 304) frame.ownLength = x.localBody?.length ?? 0;
  } else if (bodiless) {
    frame.sized = status !== 204 && !filtered && head.findKnown(NAME["content-length"]) >= 0;
  } else if (filtered && x.attempt.bodyDone && x.responseTrailers === null)
    frame.ownLength = x.attempt.bodyEnd - x.attempt.bodyStart;
  else if (filtered) {
    frame.untilClose = old;
    frame.chunked = !old;
  } else if (head.framing === FRAMING.none) frame.ownLength = 0;
  else if (head.framing === FRAMING.length) frame.sized = true;
  else if (old) frame.untilClose = true;
  else frame.chunked = true;
  return frame;
}

/** Upper bound of the bytes that `writeResponse` writes. */
export function responseBound(x: Exchange): number {
  const trailers = x.responseTrailers === null ? 0 : responseHeadBound(x.responseTrailers);
  return (
    responseHeadBound(x.response) +
    Math.max(x.localBody?.length ?? 0, x.attempt.bodyEnd - x.attempt.bodyStart) +
    64 +
    trailers
  );
}

/** Writes the head and the current body bytes; returns the number of bytes written. */
export function writeResponse(out: Buffer, x: Exchange, form: ResponseForm, body: BodyFrame): number {
  const at = writeResponseHead(out, x.response, form);
  if (x.localStatus !== 0) {
    if (form.ownLength <= 0 || x.isHead) return at;
    x.bytesSent = form.ownLength;
    return at + x.localBody!.copy(out, at);
  }
  if (x.attempt.body === null) return at;
  x.bytesSent = x.attempt.bodyEnd - x.attempt.bodyStart;
  return writeBody(out, at, x.attempt.body, x.attempt.bodyStart, x.attempt.bodyEnd, body);
}
