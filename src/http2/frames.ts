/** Frames of HTTP/2 (RFC 9113 sections 4, 6 and 7): numbers, heads, and the reading of a byte stream into frames. */

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  resetStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
  /** RFC 9218 section 7.1. */
  priorityUpdate: 16,
} as const;

/** Bits of a frame's flags. `endStream` and `acknowledge` belong to different frames. */
export const FRAME_FLAG = { endStream: 1, acknowledge: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

/** Error codes of RST_STREAM and GOAWAY. */
export const CODE = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;

/** Identifiers of SETTINGS parameters. */
export const SETTING = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  /** RFC 8441. */
  enableConnectProtocol: 8,
  /** RFC 9218 section 2.1. */
  noRfc7540Priorities: 9,
} as const;

/** What a client sends first. */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** Length of a frame's head. */
export const FRAME_HEAD = 9;
/** The largest payload that a peer sends by default, in bytes; Sluice does not change it. */
export const MAX_PAYLOAD = 16_384;
/** The window of a stream and of a connection before any SETTINGS or WINDOW_UPDATE, in bytes, and the largest. */
export const DEFAULT_WINDOW = 65_535;
export const MAX_WINDOW = 2 ** 31 - 1;
/** How the header of a frame reads a message of HTTP/1: the length `HTT`, and the type `P`. */
const HTTP1_LENGTH = 0x485454;
const HTTP1_TYPE = 0x50;

/** Writes a frame's head; returns the offset after it. */
export function writeFrameHead(
  out: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  stream: number,
): number {
  out[at] = length >>> 16;
  out[at + 1] = length >>> 8;
  out[at + 2] = length;
  out[at + 3] = type;
  out[at + 4] = flags;
  return writeUint32(out, at + 5, stream);
}

export function writeUint32(out: Uint8Array, at: number, value: number): number {
  out[at] = value >>> 24;
  out[at + 1] = value >>> 16;
  out[at + 2] = value >>> 8;
  out[at + 3] = value;
  return at + 4;
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export interface FrameHandler {
  /** A frame other than DATA, whole. Returns false to stop reading. */
  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean;
  /**
   * Content of a DATA frame, without its padding, in one part or more. With the last part `length` is the length of the
   * payload, and `padding` the share of it that is padding, its length octet included; before it they are -1 and 0.
   * Returns false to stop reading.
   */
  data(
    flags: number,
    stream: number,
    bytes: Buffer,
    start: number,
    end: number,
    length: number,
    padding: number,
  ): boolean;
  /** The frame violates the protocol; reading stops. `code`: one of CODE. */
  fail(code: number, problem: string): void;
}

/** Reads frames from a byte stream in chunks of any size. Frames other than DATA are buffered whole. */
export class FrameReader {
  readonly #handler: FrameHandler;
  /** A partial head or payload. */
  #pending: Buffer | null = null;
  #pendingLength = 0;
  // The current frame. `#left`: bytes of its payload that were not read yet.
  #isInFrame = false;
  #type = 0;
  #flags = 0;
  #stream = 0;
  #length = 0;
  #left = 0;
  /** Padding at the end of the current DATA frame; -1: its length was not read yet. */
  #padding = 0;
  #stopped = false;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** Reads `bytes[start, end)`. The handler may change the bytes it was given. */
  read(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end && !this.#stopped)
      at = this.#isInFrame ? this.#payload(bytes, at, end) : this.#head(bytes, at, end);
  }

  #head(bytes: Buffer, start: number, end: number): number {
    const need = FRAME_HEAD - this.#pendingLength;
    if (end - start < need) return this.#keep(bytes, start, end);
    if (this.#pendingLength === 0) this.#begin(bytes, start);
    else {
      this.#keep(bytes, start, start + need);
      this.#pendingLength = 0;
      this.#begin(this.#pending!, 0);
    }
    return start + need;
  }

  #begin(bytes: Buffer, at: number): void {
    this.#length = this.#left = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    this.#type = bytes[at + 3]!;
    this.#flags = bytes[at + 4]!;
    this.#stream = readUint32(bytes, at + 5) & MAX_WINDOW;
    this.#isInFrame = true;
    if (this.#length > MAX_PAYLOAD) {
      const isHttp1 = this.#length === HTTP1_LENGTH && this.#type === HTTP1_TYPE;
      const problem = `a frame of ${this.#length} bytes is over ${MAX_PAYLOAD}`;
      return this.#fail(CODE.frameSizeError, isHttp1 ? "HTTP/1 instead of HTTP/2" : problem);
    }
    if (this.#type !== FRAME.data) {
      if (this.#length === 0) this.#whole(bytes, 0, 0);
      return;
    }
    this.#padding = (this.#flags & FRAME_FLAG.padded) !== 0 ? -1 : 0;
    if (this.#length > 0) return;
    if (this.#padding !== 0) return this.#fail(CODE.frameSizeError, "a padded frame without a padding length");
    this.#isInFrame = false;
    this.#stopped = !this.#handler.data(this.#flags, this.#stream, bytes, 0, 0, 0, 0);
  }

  #payload(bytes: Buffer, start: number, end: number): number {
    if (this.#type === FRAME.data) return this.#data(bytes, start, end);
    const need = this.#length - this.#pendingLength;
    if (end - start < need) return this.#keep(bytes, start, end);
    if (this.#pendingLength === 0) this.#whole(bytes, start, start + need);
    else {
      this.#keep(bytes, start, start + need);
      const pending = this.#pending!;
      const length = this.#pendingLength;
      this.#pendingLength = 0;
      this.#whole(pending, 0, length);
    }
    return start + need;
  }

  #whole(bytes: Buffer, start: number, end: number): void {
    this.#isInFrame = false;
    this.#stopped = !this.#handler.frame(this.#type, this.#flags, this.#stream, bytes, start, end);
    if (this.#pendingLength === 0 && this.#pending !== null && this.#pending.length > 64) this.#pending = null;
  }

  #data(bytes: Buffer, start: number, end: number): number {
    let at = start;
    if (this.#padding < 0) {
      this.#padding = bytes[at++]!;
      this.#left--;
      if (this.#padding > this.#left) {
        this.#fail(CODE.protocolError, "padding longer than its frame");
        return end;
      }
    }
    const stop = Math.min(end, at + this.#left);
    const contentEnd = Math.min(stop, at + Math.max(0, this.#left - this.#padding));
    this.#left -= stop - at;
    const isLast = this.#left === 0;
    if (isLast) this.#isInFrame = false;
    if (contentEnd > at || isLast) {
      const length = isLast ? this.#length : -1;
      const isPadded = isLast && (this.#flags & FRAME_FLAG.padded) !== 0;
      const padding = isPadded ? this.#padding + 1 : 0;
      this.#stopped = !this.#handler.data(this.#flags, this.#stream, bytes, at, contentEnd, length, padding);
    }
    return stop;
  }

  #keep(bytes: Buffer, start: number, end: number): number {
    const length = this.#pendingLength + end - start;
    const need = Math.max(64, this.#isInFrame ? this.#length : FRAME_HEAD);
    if (this.#pending === null || this.#pending.length < need) {
      const grown = Buffer.allocUnsafeSlow(need);
      this.#pending?.copy(grown, 0, 0, this.#pendingLength);
      this.#pending = grown;
    }
    bytes.copy(this.#pending, this.#pendingLength, start, end);
    this.#pendingLength = length;
    return end;
  }

  #fail(code: number, problem: string): void {
    this.#stopped = true;
    this.#handler.fail(code, problem);
  }
}
