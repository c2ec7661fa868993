/** Writes the frames of a connection: collects them, and sends them to the socket once for each turn of the event loop. */

import { FRAME, FRAME_FLAG, FRAME_HEAD, MAX_PAYLOAD, writeFrameHead, writeUint32 } from "../../http2/frames.ts";
import type { Buffers } from "../../net/buffers.ts";
import type { AcceptedConnection, Port } from "../../proxy/port.ts";

/** Collected frames of this size are sent before the turn ends. */
const FLUSH_SIZE = 64 * 1024;
const INITIAL_SIZE = 1024;

export class FrameWriter {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #buffers: Buffers;
  #out = Buffer.allocUnsafeSlow(INITIAL_SIZE);
  #end = 0;
  #isScheduled = false;

  constructor(connection: AcceptedConnection, port: Port, buffers: Buffers) {
    this.#connection = connection;
    this.#port = port;
    this.#buffers = buffers;
  }

  /** Where a header block may be written, at the offset that `beginHeaders` returned. */
  get bytes(): Buffer {
    return this.#out;
  }

  /** Reserves space for a header block of up to `bound` bytes in `bytes`; returns its offset. `endHeaders` completes it. */
  beginHeaders(bound: number): number {
    if (this.#end >= FLUSH_SIZE) this.flush();
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
    const size = this.#end;
    if (size === 0 || !this.#connection.alive) return;
    const out = this.#buffers.outFor(size);
    this.#out.copy(out, 0, 0, size);
    this.#end = 0;
    if (this.#out.length > MAX_PAYLOAD) this.#out = Buffer.allocUnsafeSlow(INITIAL_SIZE);
    this.#connection.send(out, size);
    if (this.#connection.unsent > 0) this.#connection.arm(this.#port.state!.plan.timeouts.write);
  }

  /** Writes a frame's head and reserves its payload. Returns the payload's offset in `#out`, which may be a new buffer. */
  #begin(type: number, flags: number, stream: number, length: number): number {
    if (this.#end + FRAME_HEAD + length > this.#out.length) {
      if (this.#end >= FLUSH_SIZE) this.flush();
      this.#reserve(FRAME_HEAD + length);
    }
    const at = writeFrameHead(this.#out, this.#end, length, type, flags, stream);
    this.#end = at + length;
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(this.#onTurn);
    }
    return at;
  }

  #reserve(size: number): void {
    const need = this.#end + size;
    if (need <= this.#out.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(need, 2 * this.#out.length));
    this.#out.copy(grown, 0, 0, this.#end);
    this.#out = grown;
  }

  readonly #flush = (): void => this.flush();

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    this.#connection.guard(this.#flush);
  };
}
