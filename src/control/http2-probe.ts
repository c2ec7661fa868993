/** A health check's request over HTTP/2 on a connection of its own. What is read is bounded, by the check's timeout too. */
import { Head } from "../http/head.ts";
import {
  DEFAULT_WINDOW,
  FRAME,
  FRAME_FLAG,
  FRAME_HEAD,
  type FrameHandler,
  FrameReader,
  PREFACE,
  readUint32,
  writeFrameHead,
} from "../http2/frames.ts";
import { DECODED, HpackDecoder } from "../http2/hpack-decoder.ts";
import { readResponse } from "../http2/response-head.ts";
import type { EndpointPlan, ProbePlan } from "../plan/plan.ts";

export const STREAM = 1;
const TABLE_SIZE = 4096;
const LIMITS = { head: 16_384, headers: 256 };
/** Bytes that are read at most; a longer body is not read to its end, and the endpoint is healthy. */
const MAX_RECEIVED = DEFAULT_WINDOW;

export class Http2Probe implements FrameHandler {
  readonly request: Buffer;
  readonly expectsResponse = true;
  readonly #plan: ProbePlan & { kind: "http" };
  readonly #reader = new FrameReader(this);
  readonly #decoder = new HpackDecoder(TABLE_SIZE);
  #received = 0;
  #hasHead = false;
  /** `""`: healthy, a text: the problem; null: incomplete. */
  #result: string | null = null;

  constructor(plan: ProbePlan & { kind: "http" }, endpoint: EndpointPlan, isTls: boolean) {
    this.#plan = plan;
    this.request = writeRequest([
      [":method", plan.method],
      [":scheme", isTls ? "https" : "http"],
      [":path", plan.path],
      [":authority", plan.host || (endpoint.path === "" ? endpoint.address : "localhost")],
      ["user-agent", "sluice-health-check"],
      ["accept", "*/*"],
    ]);
  }

  receive(bytes: Buffer): string | null {
    this.#received += bytes.length;
    this.#reader.read(bytes, 0, bytes.length);
    if (this.#result === null && this.#received >= MAX_RECEIVED)
      this.#result = this.#hasHead ? "" : `no response in ${MAX_RECEIVED} bytes`;
    return this.#result;
  }

  end(): string {
    return this.#result ?? (this.#hasHead ? "incomplete response" : "connection closed before a response");
  }

  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    // An orderly GOAWAY leaves the request to be served.
    if (type === FRAME.goAway && (end - start < 8 || (readUint32(bytes, start) & 0x7fffffff) < STREAM))
      return this.#end("the endpoint closes the connection");
    if (type === FRAME.resetStream && stream === STREAM) return this.#end("the endpoint reset the request");
    if (type === FRAME.headers && stream === STREAM) return this.#headers(flags, bytes, start, end);
    // Nothing else changes the result, and a check is too short to acknowledge settings and pings.
    return true;
  }

  #headers(flags: number, bytes: Buffer, start: number, end: number): boolean {
    const ends = (flags & FRAME_FLAG.endStream) !== 0;
    // Trailers.
    if (this.#hasHead) return ends ? this.#end("") : this.#end("invalid HTTP/2: trailers without an end");
    const head = new Head();
    const problem = decodeHead(this.#decoder, flags, bytes.subarray(start, end), head);
    if (problem !== "") return this.#end(problem);
    const fault = readResponse(head, this.#plan.method === "HEAD", ends);
    if (fault !== "") return this.#end(`invalid HTTP/2: ${fault}`);
    const { status } = head;
    if (status < 200) return true;
    const isHealthy = this.#plan.statuses.some(({ least, most }) => status >= least && status <= most);
    if (!isHealthy) return this.#end(`status ${status}`);
    this.#hasHead = true;
    return ends ? this.#end("") : true;
  }

  data(flags: number, stream: number, _bytes: Buffer, _start: number, _end: number, length: number): boolean {
    if (stream !== STREAM) return true;
    if (!this.#hasHead) return this.#end("invalid HTTP/2: a body before the response's head");
    return length >= 0 && (flags & FRAME_FLAG.endStream) !== 0 ? this.#end("") : true;
  }

  malformed(_code: number, problem: string): void {
    this.#result ??= `invalid HTTP/2: ${problem}`;
  }

  #end(result: string): boolean {
    this.#result ??= result;
    return false;
  }
}

/** The preface, settings, and a request on STREAM; without `body` it ends with its head. */
export function writeRequest(fields: readonly (readonly [string, string])[], body: Buffer | null = null): Buffer {
  const block = Buffer.concat(fields.map(([name, value]) => literal(name, value)));
  const flags = FRAME_FLAG.endHeaders | (body === null ? FRAME_FLAG.endStream : 0);
  return Buffer.concat([
    PREFACE,
    frame(FRAME.settings, 0, 0, Buffer.alloc(0)),
    frame(FRAME.headers, flags, STREAM, block),
    ...(body === null ? [] : [frame(FRAME.data, FRAME_FLAG.endStream, STREAM, body)]),
  ]);
}

/** Decodes the payload of HEADERS into `head`. Returns the reason if it is malformed or too large. */
export function decodeHead(decoder: HpackDecoder, flags: number, payload: Buffer, head: Head): string {
  if ((flags & FRAME_FLAG.endHeaders) === 0) return `headers over ${LIMITS.head} bytes`;
  let start = 0;
  let end = payload.length;
  if ((flags & FRAME_FLAG.padded) !== 0) end -= start < end ? payload[start++]! : 1;
  if ((flags & FRAME_FLAG.priority) !== 0) start += 5;
  if (start > end) return "malformed headers";
  return decoder.decode(payload, start, end, head, LIMITS) === DECODED.complete ? "" : "malformed headers";
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD);
  writeFrameHead(head, 0, payload.length, type, flags, stream);
  return Buffer.concat([head, payload]);
}

/** A field that is not indexed, neither by its name (RFC 7541 section 6.2.2). Texts are shorter than 16 KiB. */
function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(0), text(name), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  const { length } = bytes;
  const prefix = length < 127 ? [length] : [127, ((length - 127) & 0x7f) | 0x80, (length - 127) >> 7];
  return Buffer.concat([Buffer.from(prefix), bytes]);
}
