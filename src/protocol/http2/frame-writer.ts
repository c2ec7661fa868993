/** Writes the frames of a connection: collects them, and sends them to the socket once for each turn of the event loop. */

import {
  FRAME,
  FRAME_FLAG,
  FRAME_HEAD,
  MAX_PAYLOAD,
  PREFACE,
  writeFrameHead,
  writeUint32,
} from "../../http2/frames.ts";
import { BLOCK_SIZE, type Block, type Buffers } from "../../net/buffers.ts";
import type { Connection } from "../../net/connection.ts";
import { atTurnEnd } from "../../net/turn-end.ts";

const EMPTY = Buffer.alloc(0);

export interface WriterOwner {
  /** The socket did not take all frames at once: limits the time until it does. */
  delayed(): void;
}

/** An idle connection has no buffer: frames are collected in a block of the worker, borrowed until they are sent. */
export class FrameWriter {
  readonly #connection: Connection;
  readonly #owner: WriterOwner;
  readonly #buffers: Buffers;
  /** The bytes of `#block`; of a larger buffer, without a block, for a large header block; or empty. */
  #out: Buffer = EMPTY;
  #block: Block | null = null;
  #end = 0;
  #isScheduled = false;

  constructor(connection: Connection, owner: WriterOwner, buffers: Buffers) {
    this.#connection = connection;
    this.#owner = owner;
    this.#buffers = buffers;
  }

  /** Where a header block may be written, at the offset that `beginHeaders` returned. */
  get bytes(): Buffer {
    return this.#out;
  }

  /** Reserves space for a header block of up to `bound` bytes in `bytes`; returns its offset. `endHeaders` completes it. */
  beginHeaders(bound: number): number {
    this.#reserve(bound + FRAME_HEAD * Math.ceil(bound / MAX_PAYLOAD));
    return this.#end + FRAME_HEAD;
  }

  /** Completes the header block, which ends at `blockEnd`, as HEADERS and as many CONTINUATION as it needs. */
  endHeaders(stream: number, blockEnd: number, endsStream: boolean): void {
    let type: number = FRAME.headers;
    let flags = endsStream ? FRAME_FLAG.endStream : 0;
    let left = blockEnd - this.#end - FRAME_HEAD;
    while (left > MAX_PAYLOAD) {
      this.#begin(type, flags, stream, MAX_PAYLOAD);
      left -= MAX_PAYLOAD;
      // Makes space for the head of the next frame.
      this.#out.copyWithin(this.#end + FRAME_HEAD, this.#end, this.#end + left);
      type = FRAME.continuation;
      flags = 0;
    }
    this.#begin(type, flags | FRAME_FLAG.endHeaders, stream, left);
  }

  /** Writes DATA of at most MAX_PAYLOAD bytes. */
  data(stream: number, bytes: Buffer, start: number, end: number, endsStream: boolean): void {
    const to = this.#begin(FRAME.data, endsStream ? FRAME_FLAG.endStream : 0, stream, end - start);
    bytes.copy(this.#out, to, start, end);
  }

  reset(stream: number, code: number): void {
    const at = this.#begin(FRAME.resetStream, 0, stream, 4);
    writeUint32(this.#out, at, code);
  }

  /** Writes what a client sends first. */
  preface(): void {
    this.#reserve(PREFACE.length);
    this.#end += PREFACE.copy(this.#out, this.#end);
  }

  /** Writes SETTINGS: pairs of an identifier and its value. */
  settings(settings: readonly (readonly [number, number])[]): void {
    let at = this.#begin(FRAME.settings, 0, 0, 6 * settings.length);
    for (const [setting, value] of settings) {
      this.#out[at] = setting >>> 8;
      this.#out[at + 1] = setting;
      at = writeUint32(this.#out, at + 2, value);
    }
  }

  acknowledgeSettings(): void {
    this.#begin(FRAME.settings, FRAME_FLAG.acknowledge, 0, 0);
  }

  /** Writes a PING; the payload is arbitrary. */
  ping(): void {
    const at = this.#begin(FRAME.ping, 0, 0, 8);
    this.#out.fill(0, at, at + 8);
  }

  /** `bytes[start, end)`: the payload of the PING. */
  acknowledgePing(bytes: Buffer, start: number, end: number): void {
    const to = this.#begin(FRAME.ping, FRAME_FLAG.acknowledge, 0, end - start);
    bytes.copy(this.#out, to, start, end);
  }

  /** Writes WINDOW_UPDATE; nothing for an increment of 0. */
  windowUpdate(stream: number, increment: number): void {
    if (increment === 0) return;
    const at = this.#begin(FRAME.windowUpdate, 0, stream, 4);
    writeUint32(this.#out, at, increment);
  }

  goAway(lastStream: number, code: number): void {
    const at = this.#begin(FRAME.goAway, 0, 0, 8);
    writeUint32(this.#out, writeUint32(this.#out, at, lastStream), code);
  }

  /** Sends the collected frames to the socket. */
  flush(): void {
    const connection = this.#connection;
    const out = this.#out;
    const block = this.#block;
    const size = this.#end;
    this.#out = EMPTY;
    this.#block = null;
    this.#end = 0;
    if (size === 0 || !connection.alive) {
      if (block !== null) this.#buffers.free(block);
      return;
    }
    if (block !== null) connection.sendBlock(block, size);
    else connection.send(out, size);
    if (connection.unsent > 0) this.#owner.delayed();
  }

  /** Writes a frame's head and reserves its payload. Returns the payload's offset in `#out`, which may be a new buffer. */
  #begin(type: number, flags: number, stream: number, length: number): number {
    if (this.#end + FRAME_HEAD + length > this.#out.length) this.#reserve(FRAME_HEAD + length);
    const at = writeFrameHead(this.#out, this.#end, length, type, flags, stream);
    this.#end = at + length;
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      atTurnEnd(this.#onTurn);
    }
    return at;
  }

  /** Makes space for `size` bytes; what was collected before is sent if both do not fit. */
  #reserve(size: number): void {
    if (this.#end + size <= this.#out.length) return;
    this.flush();
    if (size > BLOCK_SIZE) this.#out = Buffer.allocUnsafeSlow(size);
    else {
      this.#block = this.#buffers.take();
      this.#out = this.#block.bytes;
    }
  }

  readonly #flush = (): void => this.flush();

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    this.#connection.guard(this.#flush);
  };
}
