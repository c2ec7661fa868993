/** A call over HTTP/2 on a connection of its own, as health checks make it. What is read is bounded, by their timeout too. */
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

const STREAM = 1;
const TABLE_SIZE = 4096;
const LIMITS = { head: 16_384, headers: 256 };
/** Bytes that are read at most. */
const MAX_RECEIVED = DEFAULT_WINDOW;

/** Results: `""` is healthy, a text is the problem, null: incomplete. */
export abstract class ProbeCall implements FrameHandler {
  readonly request: Buffer;
  readonly expectsResponse = true;
  /** The head of the final response was received. */
  protected hasHead = false;
  readonly #reader = new FrameReader(this);
  readonly #decoder = new HpackDecoder(TABLE_SIZE);
  #received = 0;
  #result: string | null = null;

  constructor(fields: readonly (readonly [string, string])[], body: Buffer | null = null) {
    this.request = writeRequest(fields, body);
  }

  /** Evaluates a head or trailers; sets `hasHead`. `ends`: the response ends with them. */
  protected abstract headers(head: Head, ends: boolean): string | null;

  /** Evaluates a part of the body. */
  protected abstract body(bytes: Buffer, start: number, end: number, ends: boolean): string | null;

  /** The result when MAX_RECEIVED bytes were read. */
  protected overlong(): string {
    return `no response in ${MAX_RECEIVED} bytes`;
  }

  receive(bytes: Buffer): string | null {
    this.#received += bytes.length;
    this.#reader.read(bytes, 0, bytes.length);
    if (this.#received >= MAX_RECEIVED) this.#result ??= this.overlong();
    return this.#result;
  }

  end(): string {
    return this.#result ?? (this.hasHead ? "incomplete response" : "connection closed before a response");
  }

  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    // An orderly GOAWAY leaves the call to be served.
    if (type === FRAME.goAway && (end - start < 8 || (readUint32(bytes, start) & 0x7fffffff) < STREAM))
      return this.#take("the endpoint closes the connection");
    if (type === FRAME.resetStream && stream === STREAM) return this.#take("the endpoint reset the call");
    // Other frames do not change the result, and a check is too short to acknowledge settings and pings.
    if (type !== FRAME.headers || stream !== STREAM) return true;
    const head = new Head();
    const problem = decodeHead(this.#decoder, flags, bytes.subarray(start, end), head);
    return this.#take(problem === "" ? this.headers(head, (flags & FRAME_FLAG.endStream) !== 0) : problem);
  }

  data(flags: number, stream: number, bytes: Buffer, start: number, end: number, length: number): boolean {
    if (stream !== STREAM) return true;
    return this.#take(this.body(bytes, start, end, length >= 0 && (flags & FRAME_FLAG.endStream) !== 0));
  }

  fail(_code: number, problem: string): void {
    this.#result ??= `invalid HTTP/2: ${problem}`;
  }

  /** Returns false to stop reading. */
  #take(result: string | null): boolean {
    this.#result ??= result;
    return result === null;
  }
}

/** The preface, settings, and a request on STREAM; without `body` it ends with its head. */
function writeRequest(fields: readonly (readonly [string, string])[], body: Buffer | null = null): Buffer {
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
function decodeHead(decoder: HpackDecoder, flags: number, payload: Buffer, head: Head): string {
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
