/**
 * WebSocket frames (RFC 6455 section 5), as far as a relay needs them: where each frame ends, and whether it is a Close
 * frame. Control frames are allowed between any two frames, also within a fragmented message (section 5.4).
 */
import { createHash, randomBytes } from "node:crypto";
import type { Head } from "./head.ts";

const CLOSE = 8;
/** 1001, "going away" (section 7.4.1), as the payload of a Close frame. */
const GOING_AWAY = Buffer.from([0x03, 0xe9]);

/** RFC 6455 section 1.3. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const KEY = Buffer.from("sec-websocket-key");

/** A value for Sec-WebSocket-Key. */
export function makeKey(): Buffer {
  return Buffer.from(randomBytes(16).toString("base64"));
}

/** The key of the request; empty unless there is exactly one, of 16 bytes in base64. */
export function findKey(request: Head): string {
  const key = request.get("sec-websocket-key") ?? "";
  const isOnly = request.find(KEY, 0, KEY.length, 1) < 0;
  return isOnly && /^[A-Za-z0-9+/]{22}==$/.test(key) ? key : "";
}

/** The value of Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2). */
export function acceptOf(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

/** Whether the response has the Sec-WebSocket-Accept for the key of the request. */
export function acceptsKey(request: Head, response: Head): boolean {
  return response.get("sec-websocket-accept") === acceptOf(request.get("sec-websocket-key") ?? "");
}

/** Tracks the frames of one direction. Accepts any bytes; frames are not validated. */
export class WebSocketFrames {
  readonly #isMasked: boolean;
  #isClosed = false;
  /** Bytes of the current frame's header: read, and missing. */
  #read = 0;
  #missing = 2;
  #lengthBytes = 0;
  /** Remaining bytes of its payload. */
  #payload = 0;

  /** `isMasked`: frames from the client, which it masks. */
  constructor(isMasked: boolean) {
    this.#isMasked = isMasked;
  }

  get atBoundary(): boolean {
    return this.#read === 0;
  }

  /** A Close frame has begun: its sender sends no frame after it. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Consumes `bytes[start, end)` up to the end of the current frame. Returns the end of what was consumed. */
  advance(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (this.#missing > 0) {
      if (at === end) return end;
      this.#readHeader(bytes[at++]!);
    }
    const size = Math.min(this.#payload, end - at);
    this.#payload -= size;
    if (this.#payload === 0) {
      this.#read = 0;
      this.#missing = 2;
    }
    return at + size;
  }

  #readHeader(byte: number): void {
    this.#missing--;
    switch (this.#read++) {
      case 0:
        if ((byte & 0x0f) === CLOSE) this.#isClosed = true;
        return;
      case 1: {
        const length = byte & 0x7f;
        this.#lengthBytes = length < 126 ? 0 : length === 126 ? 2 : 8;
        this.#payload = this.#lengthBytes === 0 ? length : 0;
        this.#missing = this.#lengthBytes + (byte >= 0x80 ? 4 : 0);
        return;
      }
      default:
        if (this.#read <= 2 + this.#lengthBytes) this.#payload = this.#payload * 256 + byte;
    }
  }

  /** A Close frame with 1001. Frames to an endpoint are masked with random bytes (section 5.3). */
  closeFrame(): Buffer {
    if (!this.#isMasked) return Buffer.from([0x80 | CLOSE, GOING_AWAY.length, ...GOING_AWAY]);
    const mask = randomBytes(4);
    return Buffer.from([
      0x80 | CLOSE,
      0x80 | GOING_AWAY.length,
      ...mask,
      ...GOING_AWAY.map((byte, i) => byte ^ mask[i]!),
    ]);
  }
}
