/** Makes a response's head from decoded fields (RFC 9113 section 8.3.2). */
import { CLASS, equalsBytes, IS } from "../http/bytes.ts";
import { FIELD_WORDS, FLAG, FRAMING, type Head, NAME, NAME_END } from "../http/head.ts";
import { VERSION } from "../http/protocol.ts";
import { parseLength } from "../http1/scan-fields.ts";
import { findFieldProblem } from "./request-head.ts";

const COLON = 0x3a;
const STATUS = Buffer.from(":status", "latin1");

/**
 * Makes the decoded fields in `head` a response head: `:status` becomes its status. `endsStream`: it has no body. Returns
 * the reason if it is malformed, else an empty text. `head.length` is the value of Content-Length where there is one.
 */
export function readResponse(head: Head, requestIsHead: boolean, endsStream: boolean): string {
  head.received = head.end;
  head.version = VERSION.http2;
  head.flags = FLAG.keepAlive;
  const problem = takeStatus(head) || findProblem(head);
  if (problem !== "") return problem;
  const { status } = head;
  const hasLength = head.findKnown(NAME["content-length"]) >= 0;
  if (status === 101) return "a 101, which HTTP/2 does not have";
  if (status < 200) return endsStream ? "an interim response that ends the stream" : "";
  if (requestIsHead || status === 204 || status === 304) head.framing = FRAMING.none;
  else if (hasLength) {
    if (endsStream && head.length > 0) return "a body shorter than Content-Length";
    head.framing = FRAMING.length;
  } else head.framing = endsStream ? FRAMING.none : FRAMING.chunked;
  return "";
}

function takeStatus(head: Head): string {
  const { bytes, fields } = head;
  const start = head.valueStart(0);
  if (head.count === 0 || !equalsBytes(bytes, fields[0]!, fields[NAME_END]!, STATUS)) return "no :status";
  if (head.valueEnd(0) - start !== 3) return "a :status that is not a number of three digits";
  for (let i = start; i < start + 3; i++)
    if ((CLASS[bytes[i]!]! & IS.digit) === 0) return "a :status that is not a number of three digits";
  head.status = (bytes[start]! - 48) * 100 + (bytes[start + 1]! - 48) * 10 + bytes[start + 2]! - 48;
  if (head.status < 100) return "a :status below 100";
  head.removeAt(0);
  return "";
}

function findProblem(head: Head): string {
  for (let i = 1; i < head.count; i++) {
    if (head.bytes[head.fields[i * FIELD_WORDS]!] === COLON) return "a pseudo-header field other than one :status";
    const problem = findFieldProblem(head, i);
    if (problem !== "") return problem;
  }
  const index = head.findKnown(NAME["content-length"]);
  if (index < 0) return "";
  if (head.findKnown(NAME["content-length"], index + 1) >= 0) return "more than one Content-Length";
  return parseLength(head.bytes, head.valueStart(index), head.valueEnd(index), head) < 0 ? head.problem : "";
}
