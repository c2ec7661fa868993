/** Writes the fields of requests to endpoints as header blocks: drops hop-by-hop fields, sets Via and X-Forwarded-*. */
import { equalsWord, QUERY } from "../../http/bytes.ts";
import {
  FIELD_WORDS,
  FLAG,
  FRAMING,
  type Head,
  HOP_BY_HOP,
  NAME,
  NAME_END,
  NAME_ID,
  PART,
  VALUE_END,
  VALUE_START,
} from "../../http/head.ts";
import { writeTrailerNames } from "../../http1/write.ts";
import { BEGIN_BOUND, FIELD_BOUND, type HpackEncoder } from "../../http2/hpack-encoder.ts";
import { staticIndexOf } from "../../http2/static-table.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { requestHeadBound, writeForwarding, writeSubrequestVia } from "../http1/headers.ts";
import { writeField, writeLines } from "./response-fields.ts";

const METHOD = staticIndexOf(":method");
const SCHEME = staticIndexOf(":scheme");
const AUTHORITY = staticIndexOf(":authority");
const PATH = staticIndexOf(":path");
const TE = Buffer.from("tetrailers", "latin1");
const TE_NAME_END = 2;
const CONNECT = Buffer.from("CONNECT");
const PROTOCOL = Buffer.from(":protocol");
const KEY = Buffer.from("sec-websocket-key");
/** Fields that a request gets in addition to its own. */
const MORE_FIELDS = 16;

/** Fields of the client that the endpoint does not get as they are. */
const DROPPED = new Uint8Array(256);
for (const id of HOP_BY_HOP) DROPPED[id] = 1;
for (const name of ["via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "host"] as const)
  DROPPED[NAME[name]] = 1;
/** The same of a plugin's subrequest. */
const DROPPED_OF_PLUGINS = new Uint8Array(256);
for (const id of [...HOP_BY_HOP, NAME.via, NAME.host]) DROPPED_OF_PLUGINS[id] = 1;

let scratch = Buffer.allocUnsafeSlow(4096);

/** Upper bound of what `writeRequest` writes. */
export function requestBound(x: Exchange): number {
  return BEGIN_BOUND + requestHeadBound(x) + (x.request.count + MORE_FIELDS) * FIELD_BOUND;
}

/** Whether the field is the key of a WebSocket, which is not sent over HTTP/2 (RFC 8441 section 5). */
function isKey({ bytes, fields }: Head, word: number): boolean {
  return equalsWord(bytes, fields[word]!, fields[word + NAME_END]!, KEY);
}

/** Writes the header block of a request at `out[at]`; `isTls`: the endpoint is reached over TLS. Returns its end. */
export function writeRequest(encoder: HpackEncoder, out: Buffer, at: number, x: Exchange, isTls: boolean): number {
  const head = x.request;
  const bound = requestHeadBound(x);
  if (scratch.length < bound || scratch.length > 65_536) scratch = Buffer.allocUnsafeSlow(Math.max(4096, bound));
  encoder.begin(out, at);
  writePseudo(encoder, x, isTls);
  const dropped = x.isSubrequest ? DROPPED_OF_PLUGINS : DROPPED;
  const isSized = head.framing === FRAMING.length || x.isSubrequest;
  const { fields, count } = head;
  for (let i = 0, word = 0; i < count; i++, word += FIELD_WORDS) {
    const id = fields[word + NAME_ID]!;
    if (x.upgrade !== null && isKey(head, word)) continue;
    if (id >= NAME.lookalike || (dropped[id] === 1 && !(isSized && id === NAME["content-length"]))) continue;
    writeField(encoder, head, word);
  }
  if ((head.flags & FLAG.teTrailers) !== 0 && x.upgrade === null)
    encoder.field(TE, 0, TE_NAME_END, TE_NAME_END, TE.length);
  const names = head.framing === FRAMING.chunked ? writeTrailerNames(scratch, 0, head, x.ownedNames) : 0;
  writeLines(
    encoder,
    scratch,
    x.isSubrequest ? writeSubrequestVia(scratch, names, head) : writeForwarding(scratch, names, x),
  );
  return encoder.end;
}

/** The start line as pseudo-header fields (RFC 9113 section 8.3.1); an upgrade is an extended CONNECT (RFC 8441 section 4). */
function writePseudo(encoder: HpackEncoder, x: Exchange, isTls: boolean): void {
  const { request: head } = x;
  const { bytes, parts } = head;
  if (x.upgrade === null) encoder.named(METHOD, bytes, parts[PART.method]!, parts[PART.method + 1]!);
  else {
    encoder.named(METHOD, CONNECT, 0, CONNECT.length);
    const end = PROTOCOL.copy(scratch);
    encoder.field(scratch, 0, end, end, end + x.upgrade.text.copy(scratch, end));
  }
  encoder.indexed(isTls ? SCHEME + 1 : SCHEME);
  const host = head.findKnown(NAME.host);
  if (host >= 0) {
    const word = host * FIELD_WORDS;
    encoder.named(AUTHORITY, bytes, head.fields[word + VALUE_START]!, head.fields[word + VALUE_END]!);
  } else {
    const { path, address } = x.endpoint!;
    encoder.named(AUTHORITY, scratch, 0, scratch.write(path === "" ? address : "localhost", 0, "latin1"));
  }
  const start = parts[PART.path]!;
  const end = parts[PART.path + 1]!;
  const query = parts[PART.query]!;
  if (query === 0) return encoder.named(PATH, bytes, start, end);
  let to = bytes.copy(scratch, 0, start, end);
  scratch[to++] = QUERY;
  to += bytes.copy(scratch, to, query, parts[PART.query + 1]!);
  encoder.named(PATH, scratch, 0, to);
}
