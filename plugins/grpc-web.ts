// gRPC-Web bridge: lets browsers, which cannot use HTTP/2 trailers, call gRPC services (PROTOCOL-WEB.md of gRPC):
//
//     grpc-web: {}
//
// Requests of the content types application/grpc-web and application/grpc-web-text, with or without a message format, become
// gRPC calls. Responses are converted as they stream: trailers become the last frame of the body, and the text form is
// encoded in base64. All other requests pass unchanged. Browsers of other origins need the filter `cors` as well.

import { Base64, Body, Bytes, Headers, Request, Response, fromView, toView } from "sluice/sdk";

export const servesMany = true;

const WEB = "application/grpc-web";
const TEXT = "-text";
const GRPC = "application/grpc";

/** Exchange value: the forms of request and response, each `b` (binary) or `t` (text). */
const FORMS = "forms";
/** Set once the response is known to be gRPC: `1`, or `2` if its status is in the headers. */
const CONVERTS = "converts";

const PAD: u32 = 0x3d;
/** Flag of the frame with the trailers. */
const TRAILERS: u8 = 0x80;
const FRAME_HEAD = 5;
/** Trailers that are removed at most. */
const MAX_REMOVED = 100;

export function onRequest(req: Request): void {
  const type = req.headers.get("content-type");
  if (type === null) return;
  const format = formatOf(type);
  if (format === null) return;
  const isText = hasText(type);
  const accept = req.headers.get("accept");
  const wantsText = accept !== null && formatOf(accept) !== null ? hasText(accept) : isText;
  req.set(FORMS, (isText ? "t" : "b") + (wantsText ? "t" : "b"));
  req.headers.set("content-type", GRPC + format);
}

export function onRequestBody(req: Request, body: Body): void {
  const forms = req.get(FORMS);
  if (forms === null || !forms.startsWith("t")) return;
  const text = body.take();
  const whole = body.last ? text.length : text.length & ~3;
  const bytes = decode(text, whole);
  if (bytes === null) {
    req.respond(400, "invalid base64 in a gRPC-Web request").headers.set("grpc-status", "3");
    return;
  }
  if (!body.last) body.keep(text.subarray(whole));
  body.replace(bytes);
}

export function onResponse(req: Request, res: Response): void {
  const forms = req.get(FORMS);
  const type = res.headers.get("content-type");
  if (forms === null || type === null || !isGrpc(type)) return;
  req.set(CONVERTS, res.headers.has("grpc-status") ? "2" : "1");
  const format = type.length > GRPC.length && type.charAt(GRPC.length) == "+" ? type.substr(GRPC.length) : "+proto";
  res.headers.set("content-type", WEB + (forms.endsWith("t") ? TEXT : "") + format);
}

export function onResponseBody(req: Request, res: Response, body: Body): void {
  const converts = req.get(CONVERTS);
  if (converts === null) return;
  const isText = req.get(FORMS)!.endsWith("t");
  const trailers = body.last && converts == "1" ? takeTrailers(res.trailers) : null;
  if (!isText) {
    if (trailers !== null) body.append(toView(trailers));
    return;
  }
  // With padding in each chunk, so that no message is delayed: clients decode the chunks one by one.
  if (body.size > 0) body.replaceText(Base64.encode(fromView(body.bytes())));
  if (trailers !== null) body.appendText(Base64.encode(trailers));
}

/** The suffix of a gRPC-Web content type (`+proto`, or empty), without parameters; null if it is another type. */
function formatOf(type: string): string | null {
  const name = type.split(",")[0].split(";")[0].trim().toLowerCase();
  if (!name.startsWith(WEB)) return null;
  const rest = name.substr(WEB.length);
  const format = rest.startsWith(TEXT) ? rest.substr(TEXT.length) : rest;
  return format == "" || format.startsWith("+") ? format : null;
}

function hasText(type: string): bool {
  return type.trim().substr(WEB.length, TEXT.length).toLowerCase() == TEXT;
}

function isGrpc(type: string): bool {
  if (!type.toLowerCase().startsWith(GRPC)) return false;
  const next = type.length > GRPC.length ? type.charAt(GRPC.length) : "";
  return next == "" || next == "+" || next == ";";
}

/** Moves the trailers into a frame: removes them, and returns the frame that carries them; null if there are none. */
function takeTrailers(trailers: Headers): Bytes | null {
  const count = trailers.count;
  if (count == 0) return null;
  const block = trailers.lines();
  // Removing one takes time for all of them: more are also sent as trailers, which browsers ignore.
  const lines = block.split("\r\n");
  if (count <= MAX_REMOVED) for (let i = 0; i < count; i++) trailers.remove(lines[i].substring(0, lines[i].indexOf(":")));
  const length = block.length;
  const frame = new StaticArray<u8>(FRAME_HEAD + length);
  frame[0] = TRAILERS;
  for (let i = 0; i < 4; i++) frame[1 + i] = <u8>(length >>> (24 - 8 * i));
  // One byte a character, as all values of fields.
  for (let i = 0; i < length; i++) unchecked((frame[FRAME_HEAD + i] = <u8>block.charCodeAt(i)));
  return frame;
}

/** Value of a character of base64; 64 if it is none. */
function valueOf(character: u32): u32 {
  if (character - 65 < 26) return character - 65; // A-Z
  if (character - 97 < 26) return character - 71; // a-z
  if (character - 48 < 10) return character + 4; // 0-9
  return character == 43 ? 62 : character == 47 ? 63 : 64;
}

/** Decodes groups of four characters, each of which may end with padding: texts are concatenated. Null: invalid. */
function decode(text: Uint8Array, length: i32): Uint8Array | null {
  if (length & 3) return null;
  const out = new Uint8Array((length >> 2) * 3);
  let to = out.dataStart;
  for (let from = text.dataStart, end = from + length; from < end; from += 4) {
    const third = <u32>load<u8>(from, 2), fourth = <u32>load<u8>(from, 3);
    const pads = fourth == PAD ? (third == PAD ? 2 : 1) : 0;
    const a = valueOf(load<u8>(from)), b = valueOf(load<u8>(from, 1));
    const c = pads == 2 ? 0 : valueOf(third), d = pads > 0 ? 0 : valueOf(fourth);
    if ((a | b | c | d) > 63) return null;
    const bits = (a << 18) | (b << 12) | (c << 6) | d;
    store<u8>(to, <u8>(bits >> 16));
    if (pads < 2) store<u8>(to, <u8>(bits >> 8), 1);
    if (pads < 1) store<u8>(to, <u8>bits, 2);
    to += 3 - pads;
  }
  return out.subarray(0, <i32>(to - out.dataStart));
}
