/**
 * Makes a request's head from decoded fields (RFC 9113 section 8.3). After the checks that HTTP/2 adds, the fields are
 * written as an HTTP/1 head and scanned as one, so that both versions have the same strictness.
 */
import { CLASS, equalsBytes, IS, isBlank, SLASH, SPACE, STAR } from "../http/bytes.ts";
import { isToken } from "../http/fields.ts";
import { FIELD_WORDS, FLAG, FRAMING, type Head, NAME, NAME_END, NAME_ID, reject } from "../http/head.ts";
import { VERSION } from "../http/protocol.ts";
import { makeKey } from "../http/websocket.ts";
import { type HeadLimits, scanRequest } from "../http1/scan.ts";

const COLON = 0x3a;

/** Forbidden in HTTP/2 (RFC 9113 section 8.2.2). */
const CONNECTION_SPECIFIC =
  (1 << NAME.connection) |
  (1 << NAME["keep-alive"]) |
  (1 << NAME["proxy-connection"]) |
  (1 << NAME["transfer-encoding"]) |
  (1 << NAME.upgrade);

/** Pseudo-header fields of a request: indices into `pseudo`. */
const PSEUDO = [":method", ":scheme", ":authority", ":path", ":protocol"].map((name) => Buffer.from(name, "latin1"));
const METHOD = 0;
const SCHEME = 1;
const AUTHORITY = 2;
const PATH = 3;
const PROTOCOL = 4;
/** Field of each, or -1. */
const pseudo = new Int32Array(PSEUDO.length);
/** Their number; the other fields follow. */
let pseudoCount = 0;

const VERSION_END = Buffer.from(" HTTP/1.1\r\n", "latin1");
const HTTP11_VERSION = VERSION_END.indexOf("1.1");
const HTTP2_VERSION = Buffer.from("2.0", "latin1");
const HOST = Buffer.from("host: ", "latin1");
const COOKIE = Buffer.from("cookie: ", "latin1");
const CRUMB = Buffer.from("; ", "latin1");
const CRLF = Buffer.from("\r\n", "latin1");
const TRAILERS = Buffer.from("trailers", "latin1");
const CONNECT = Buffer.from("CONNECT", "latin1");
const GET = Buffer.from("GET", "latin1");
const UPGRADE = Buffer.from("connection: upgrade\r\nupgrade: ", "latin1");
const WEBSOCKET = Buffer.from("websocket", "latin1");
const KEY = Buffer.from("sec-websocket-key", "latin1");
const KEY_FIELD = Buffer.from("sec-websocket-key: ", "latin1");
/** What an extended CONNECT adds to its text, without the name of the protocol. */
const UPGRADE_BOUND = 128;

/** The text of the current head. */
let text = Buffer.allocUnsafeSlow(4096);
let textEnd = 0;
/** Offset of its version. */
let versionAt = 0;

/**
 * Reads `list`, the decoded fields of a request, into `head`; `endsStream`: it has no body. Returns 0, or -status with
 * the reason in `head.problem`, as `scanRequest` does. An extended CONNECT (RFC 8441) becomes the GET with Upgrade that
 * HTTP/1 would have, with FLAG.connect; the key of a WebSocket is random.
 */
export function readRequest(list: Head, head: Head, limits: HeadLimits, form: number, endsStream: boolean): number {
  head.reset();
  const problem = findProblem(list);
  if (problem !== "") {
    // For the log of the rejected request.
    head.received = list.end;
    return reject(head, 400, problem);
  }
  writeText(list);
  // Names and values were counted while the block was decoded.
  const result = scanRequest(text, 0, textEnd, head, limitsOf(limits, list), form);
  head.received = list.end;
  if (result < 0) return result;
  if (result !== textEnd) return reject(head, 400, "a field with a line end");
  head.version = VERSION.http2;
  // Logs show the request line.
  HTTP2_VERSION.copy(head.bytes, versionAt);
  if (pseudo[PROTOCOL]! >= 0) {
    if (head.framing !== FRAMING.none) return reject(head, 400, "a Content-Length of an extended CONNECT");
    head.flags |= FLAG.connect;
  } else if (endsStream) {
    // A Content-Length of 0 stays: some endpoints demand one of a POST.
    if (head.framing === FRAMING.length && head.length > 0) return reject(head, 400, "a Content-Length without a body");
  } else if (head.framing === FRAMING.none) head.framing = FRAMING.chunked;
  return 0;
}

/** Why the fields are malformed in HTTP/2; empty if they are not. Sets `pseudo`. */
function findProblem(list: Head): string {
  pseudo.fill(-1);
  pseudoCount = 0;
  for (let i = 0, at = 0; i < list.count; i++, at += FIELD_WORDS) {
    const isPseudo = list.bytes[list.fields[at]!] === COLON;
    if (isPseudo && pseudoCount++ < i) return "a pseudo-header field behind other fields";
    const problem = isPseudo ? takePseudo(list, i) : findFieldProblem(list, i);
    if (problem !== "") return problem;
  }
  if (pseudo[METHOD]! < 0) return "no :method";
  const isConnect = equalsValue(list, pseudo[METHOD]!, CONNECT);
  if (pseudo[PROTOCOL]! >= 0) {
    if (!isConnect) return "a :protocol of another method than CONNECT";
    if (!isToken(list.bytes, list.valueStart(pseudo[PROTOCOL]!), list.valueEnd(pseudo[PROTOCOL]!)))
      return "a :protocol that is not a token";
  } else if (isConnect) return "";
  if (pseudo[SCHEME]! < 0 || pseudo[PATH]! < 0) return `no ${pseudo[SCHEME]! < 0 ? ":scheme" : ":path"}`;
  const path = list.bytes[list.valueStart(pseudo[PATH]!)];
  if (path !== SLASH && path !== STAR) return "a :path that does not begin with /";
  return findHostProblem(list);
}

function takePseudo(list: Head, index: number): string {
  const { bytes, fields } = list;
  const at = index * FIELD_WORDS;
  let which = 0;
  while (which < PSEUDO.length && !equalsBytes(bytes, fields[at]!, fields[at + NAME_END]!, PSEUDO[which]!)) which++;
  if (which === PSEUDO.length) return "an unknown pseudo-header field";
  if (pseudo[which]! >= 0) return `more than one ${PSEUDO[which]!.toString("latin1")}`;
  pseudo[which] = index;
  const start = list.valueStart(index);
  const end = list.valueEnd(index);
  if (end === start) return `an empty ${PSEUDO[which]!.toString("latin1")}`;
  // No blank or control character, which would end this part of the text. Above ASCII only where HTTP/1 allows it.
  for (let i = start; i < end; i++)
    if (bytes[i]! <= SPACE || bytes[i] === 0x7f) return "a blank in a pseudo-header field";
  return "";
}

/** Checks a field of a request, a response or a trailer section; returns "" if it is valid (RFC 9113 section 8.2). */
export function findFieldProblem(list: Head, index: number): string {
  const { bytes, fields } = list;
  const at = index * FIELD_WORDS;
  const nameStart = fields[at]!;
  const nameEnd = fields[at + NAME_END]!;
  if (nameEnd === nameStart) return "a field without a name";
  for (let i = nameStart; i < nameEnd; i++) {
    const byte = bytes[i]!;
    if (byte >= 65 && byte <= 90) return "a field name in upper case";
    if ((CLASS[byte]! & IS.token) === 0) return "a field name that is not a token";
  }
  const start = list.valueStart(index);
  const end = list.valueEnd(index);
  for (let i = start; i < end; i++)
    if ((CLASS[bytes[i]!]! & IS.value) === 0) return "a control character in a field value";
  if (end > start && (isBlank(bytes[start]!) || isBlank(bytes[end - 1]!))) return "blanks around a field value";
  const id = fields[at + NAME_ID]!;
  if ((CONNECTION_SPECIFIC & (1 << id)) !== 0) return "a field that is specific to a connection";
  if (id === NAME.te && !equalsValue(list, index, TRAILERS)) return "a TE other than trailers";
  return "";
}

/** Why a trailer section is malformed, else ""; trailers neither frame nor route the message (RFC 9110 section 6.5.1). */
export function findTrailersProblem(trailers: Head): string {
  for (let i = 0; i < trailers.count; i++) {
    const isPseudo = trailers.bytes[trailers.fields[i * FIELD_WORDS]!] === COLON;
    const problem = isPseudo ? "a pseudo-header field in trailers" : findFieldProblem(trailers, i);
    if (problem !== "") return problem;
  }
  return "";
}

/** Host has the same value as :authority, which is the one used (RFC 9113 section 8.3.1). */
function findHostProblem(list: Head): string {
  const host = list.findKnown(NAME.host);
  if (host < 0) return pseudo[AUTHORITY]! < 0 ? "neither :authority nor Host" : "";
  if (pseudo[AUTHORITY]! < 0) return "";
  const at = pseudo[AUTHORITY]!;
  const authority = list.bytes.subarray(list.valueStart(at), list.valueEnd(at));
  return equalsValue(list, host, authority) ? "" : "a Host other than :authority";
}

/** Writes the fields as an HTTP/1 head into `text`: :authority as Host, cookie crumbs as one field (section 8.2.3). */
function writeText(list: Head): void {
  const { fields, count } = list;
  const bound = list.end + 2 * CRLF.length + VERSION_END.length + HOST.length + UPGRADE_BOUND;
  if (text.length < bound || text.length > 65_536) text = Buffer.allocUnsafeSlow(Math.max(4096, bound));
  textEnd = 0;
  const isUpgrade = pseudo[PROTOCOL]! >= 0;
  if (isUpgrade) put(GET, 0, GET.length);
  else putValue(list, pseudo[METHOD]!);
  text[textEnd++] = SPACE;
  if (pseudo[PATH]! < 0) text[textEnd++] = STAR;
  else putValue(list, pseudo[PATH]!);
  versionAt = textEnd + HTTP11_VERSION;
  put(VERSION_END, 0, VERSION_END.length);
  const hasHost = list.findKnown(NAME.host) >= 0;
  if (!hasHost && pseudo[AUTHORITY]! >= 0) {
    put(HOST, 0, HOST.length);
    putValue(list, pseudo[AUTHORITY]!);
    put(CRLF, 0, 2);
  }
  if (isUpgrade) putUpgrade(list);
  const cookie = list.findKnown(NAME.cookie);
  const crumbs = cookie >= 0 && list.findKnown(NAME.cookie, cookie + 1) >= 0;
  const first = pseudoCount;
  if (!crumbs && !isUpgrade) {
    // They were decoded as successive lines.
    if (first < count) put(list.bytes, fields[first * FIELD_WORDS]!, list.end);
    return put(CRLF, 0, 2);
  }
  for (let i = first, at = first * FIELD_WORDS; i < count; i++, at += FIELD_WORDS) {
    if (crumbs && fields[at + NAME_ID] === NAME.cookie) continue;
    if (isUpgrade && equalsBytes(list.bytes, fields[at]!, fields[at + NAME_END]!, KEY)) continue;
    put(list.bytes, fields[at]!, list.valueEnd(i) + 2);
  }
  if (crumbs) {
    put(COOKIE, 0, COOKIE.length);
    for (let i = cookie; i >= 0; i = list.findKnown(NAME.cookie, i + 1)) {
      if (i !== cookie) put(CRUMB, 0, CRUMB.length);
      putValue(list, i);
    }
    put(CRLF, 0, 2);
  }
  put(CRLF, 0, 2);
}

/** RFC 8441 section 5: the client sends no key, since it gets no response that would prove that the key was read. */
function putUpgrade(list: Head): void {
  put(UPGRADE, 0, UPGRADE.length);
  putValue(list, pseudo[PROTOCOL]!);
  put(CRLF, 0, 2);
  if (!equalsValue(list, pseudo[PROTOCOL]!, WEBSOCKET)) return;
  const key = makeKey();
  put(KEY_FIELD, 0, KEY_FIELD.length);
  put(key, 0, key.length);
  put(CRLF, 0, 2);
}

function putValue(list: Head, index: number): void {
  put(list.bytes, list.valueStart(index), list.valueEnd(index));
}

function put(bytes: Buffer, start: number, end: number): void {
  bytes.copy(text, textEnd, start, end);
  textEnd += end - start;
}

function equalsValue(list: Head, index: number, word: Uint8Array): boolean {
  return equalsBytes(list.bytes, list.valueStart(index), list.valueEnd(index), word);
}

const scanLimits: HeadLimits = { head: 0, target: 0, headers: 0 };

/** The head and its fields were limited while they were decoded; Host may be one more, and an upgrade has three. */
function limitsOf({ target }: HeadLimits, list: Head): HeadLimits {
  scanLimits.head = textEnd + 1;
  scanLimits.target = target;
  scanLimits.headers = list.count + 4;
  return scanLimits;
}
