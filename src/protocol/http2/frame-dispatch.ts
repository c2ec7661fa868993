/**
 * The frames of an HTTP/2 connection other than DATA, from a client or an endpoint (RFC 9113 section 6): validates their
 * form, applies SETTINGS and WINDOW_UPDATE, joins header blocks, responds to PING, and charges control frames.
 */
import * as frames from "../../http2/frames.ts";
import { readUint32 } from "../../http2/frames.ts";
import type { HpackEncoder } from "../../http2/hpack-encoder.ts";
import type { Clock } from "../../net/clock.ts";
import { COST, type FrameBudget } from "./frame-budget.ts";
import type { FrameWriter } from "./frame-writer.ts";
import type { HeaderBlock } from "./header-block.ts";
import type { SendScheduler } from "./send-scheduler.ts";

const { CODE, DEFAULT_WINDOW, FRAME, FRAME_FLAG, MAX_PAYLOAD, MAX_WINDOW, SETTING } = frames;

/** A field that HPACK compresses takes at least this share of its size in a block, unless it repeats. */
const BLOCK_SLACK = 16 * 1024;

/** Why a window update is an error. */
const OVER = "a window over 2^31 - 1";
const ZERO = "a WINDOW_UPDATE of 0";
/** Priorities of RFC 7540 are ignored, but for this error of its section 5.3.1. */
const SELF_DEPENDENCY = "a stream that depends on itself";

type FlowStream = {
  /** Returns false if the window would be larger than allowed. */
  openWindow(change: number): boolean;
};

/** The connection. Methods that return a boolean return false to stop reading. */
export interface FrameOwner<Stream> {
  /** Maximum size of a head, bytes. */
  readonly headLimit: number;
  /** The stream is idle in the words of RFC 9113: it was never opened. True for 0. */
  isUnopened(id: number): boolean;
  /** HEADERS were received; without END_HEADERS in `flags`, CONTINUATION frames follow. */
  blockBegins(id: number, flags: number): boolean;
  /** A header block is complete. `flags`: of its HEADERS. */
  block(id: number, flags: number, bytes: Buffer, start: number, end: number): boolean;
  /** SETTINGS were applied and acknowledged. */
  settingsReceived(isFirst: boolean): boolean;
  reset(id: number, code: number): boolean;
  goAway(last: number, code: number): boolean;
  /** A frame that the sides treat differently, or an unknown one. */
  other(type: number, id: number, bytes: Buffer, start: number, end: number): boolean;
  /** Resets the stream because of an error of the peer. */
  streamFault(stream: Stream, code: number, problem: string): boolean;
  /** Ends the connection because of an error of the peer. */
  fail(code: number, problem: string): false;
}

export type FrameDispatchOptions = {
  readonly clock: Clock;
  readonly writer: FrameWriter;
  readonly scheduler: SendScheduler;
  readonly budget: FrameBudget;
  readonly encoder: HpackEncoder;
  readonly block: HeaderBlock;
  /** The largest SETTINGS_ENABLE_PUSH that the peer may send. */
  readonly maxPush: number;
  /** A WINDOW_UPDATE of fewer bytes is charged. */
  readonly leastIncrement: number;
  /** Rejects streams that depend on themselves. */
  readonly checksDependency: boolean;
};

export class FrameDispatch<Stream extends FlowStream> {
  readonly streams = new Map<number, Stream>();
  hasSettings = false;
  /** Bytes that may be sent on a new stream. */
  initialWindow = DEFAULT_WINDOW;
  /** The peer accepts extended CONNECT (RFC 8441). */
  allowsConnect = false;
  /** Concurrent streams that the peer allows. */
  maxStreams = Number.POSITIVE_INFINITY;
  readonly #owner: FrameOwner<Stream>;
  readonly #options: FrameDispatchOptions;
  readonly #block: HeaderBlock;

  constructor(owner: FrameOwner<Stream>, options: FrameDispatchOptions) {
    this.#owner = owner;
    this.#options = options;
    this.#block = options.block;
  }

  /** A header block is incomplete. */
  get isWithinBlock(): boolean {
    return this.#block.stream !== 0;
  }

  frame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    const block = this.#block;
    if (block.stream !== 0 && (type !== FRAME.continuation || id !== block.stream))
      return this.#fail(CODE.protocolError, "another frame within a header block");
    if (!this.hasSettings && type !== FRAME.settings)
      return this.#fail(CODE.protocolError, "a first frame other than SETTINGS");
    switch (type) {
      case FRAME.headers:
        return this.#headers(flags, id, bytes, start, end);
      case FRAME.continuation:
        return this.#continuation(flags, bytes, start, end);
      case FRAME.settings:
        return this.#settings(flags, id, bytes, start, end);
      case FRAME.windowUpdate:
        return this.#windowUpdate(id, bytes, start, end);
      case FRAME.resetStream:
        if (end - start !== 4) return this.#fail(CODE.frameSizeError, "a RST_STREAM of another size than 4");
        if (this.#owner.isUnopened(id)) return this.#fail(CODE.protocolError, "RST_STREAM on an idle stream");
        return this.#owner.reset(id, readUint32(bytes, start));
      case FRAME.ping:
        return this.#ping(flags, id, bytes, start, end);
      case FRAME.priority:
        if (id === 0) return this.#fail(CODE.protocolError, "PRIORITY on stream 0");
        if (end - start !== 5) return this.#fail(CODE.frameSizeError, "a PRIORITY of another size than 5");
        return this.#checkDependency(id, bytes, start) && this.spend(COST.control);
      case FRAME.goAway:
        if (id !== 0) return this.#fail(CODE.protocolError, "GOAWAY on a stream");
        if (end - start < 8) return this.#fail(CODE.frameSizeError, "a GOAWAY of fewer than 8 bytes");
        return this.#owner.goAway(readUint32(bytes, start) & MAX_WINDOW, readUint32(bytes, start + 4));
      default:
        return this.#owner.other(type, id, bytes, start, end);
    }
  }

  /** Whether a DATA frame, or a part of it, may be received now. `length`, `padding`: as of `FrameHandler.data`. */
  acceptsData(id: number, length: number, padding: number, ends: boolean): boolean {
    if (this.#block.stream !== 0) return this.#fail(CODE.protocolError, "DATA within a header block");
    if (!this.hasSettings) return this.#fail(CODE.protocolError, "a first frame other than SETTINGS");
    if (this.#owner.isUnopened(id)) return this.#fail(CODE.protocolError, "DATA on an idle stream");
    return length !== padding || ends || this.spend(COST.control);
  }

  /** Charges a frame of the peer; ends the connection if its budget is exceeded. */
  spend(cost: number): boolean {
    const { budget, clock } = this.#options;
    return budget.spend(cost, clock.now) || this.#fail(CODE.enhanceYourCalm, "too many control frames and resets");
  }

  #fail(code: number, problem: string): false {
    return this.#owner.fail(code, problem);
  }

  #headers(flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    let at = start;
    let stop = end;
    if ((flags & FRAME_FLAG.padded) !== 0) stop -= at < end ? bytes[at++]! : 1;
    const hasPriority = (flags & FRAME_FLAG.priority) !== 0;
    if (hasPriority) at += 5;
    if (at > stop) return this.#fail(CODE.protocolError, "padding longer than its frame");
    if (hasPriority && !this.#checkDependency(id, bytes, at - 5)) return false;
    if (!this.#owner.blockBegins(id, flags)) return false;
    if ((flags & FRAME_FLAG.endHeaders) !== 0) return this.#owner.block(id, flags, bytes, at, stop);
    this.#block.begin(id, flags, bytes, at, stop);
    return true;
  }

  #checkDependency(id: number, bytes: Buffer, at: number): boolean {
    const isAllowed = !this.#options.checksDependency || (readUint32(bytes, at) & MAX_WINDOW) !== id;
    return isAllowed || this.#fail(CODE.protocolError, SELF_DEPENDENCY);
  }

  #continuation(flags: number, bytes: Buffer, start: number, end: number): boolean {
    const block = this.#block;
    if (block.stream === 0) return this.#fail(CODE.protocolError, "CONTINUATION without HEADERS");
    if (!block.append(bytes, start, end, this.#owner.headLimit + BLOCK_SLACK))
      return this.#fail(CODE.enhanceYourCalm, "a header block in too many frames");
    if (!this.spend(COST.control)) return false;
    if ((flags & FRAME_FLAG.endHeaders) === 0) return true;
    const { stream } = block;
    const { bytes: all, start: from, end: to } = block.bytes;
    block.end();
    return this.#owner.block(stream, block.flags, all, from, to);
  }

  #settings(flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.#fail(CODE.protocolError, "SETTINGS on a stream");
    const length = end - start;
    const isAcknowledgement = (flags & FRAME_FLAG.acknowledge) !== 0;
    if (length % 6 !== 0 || (isAcknowledgement && length > 0))
      return this.#fail(CODE.frameSizeError, `SETTINGS of ${length} bytes`);
    if (!this.hasSettings && isAcknowledgement) return this.#fail(CODE.protocolError, "no SETTINGS first");
    if (isAcknowledgement) return this.spend(COST.control);
    // Before any frame that they allow: the peer applies them when it receives this.
    this.#options.writer.acknowledgeSettings();
    for (let at = start; at < end; at += 6)
      if (!this.#apply((bytes[at]! << 8) | bytes[at + 1]!, readUint32(bytes, at + 2))) return false;
    if (!this.spend(COST.control + length / 60)) return false;
    const isFirst = !this.hasSettings;
    this.hasSettings = true;
    return this.#owner.settingsReceived(isFirst);
  }

  #apply(setting: number, value: number): boolean {
    const { encoder, maxPush } = this.#options;
    if (setting === SETTING.headerTableSize) encoder.resize(value);
    else if (setting === SETTING.maxConcurrentStreams) this.maxStreams = value;
    else if (setting === SETTING.enableConnectProtocol) {
      // RFC 8441 section 3.
      if (value > 1 || (value === 0 && this.allowsConnect))
        return this.#fail(CODE.protocolError, `SETTINGS_ENABLE_CONNECT_PROTOCOL of ${value}`);
      this.allowsConnect = value === 1;
    } else if (setting === SETTING.enablePush && value > maxPush)
      return this.#fail(CODE.protocolError, `SETTINGS_ENABLE_PUSH of ${value}`);
    else if (setting === SETTING.maxFrameSize && (value < MAX_PAYLOAD || value >= 1 << 24))
      return this.#fail(CODE.protocolError, `SETTINGS_MAX_FRAME_SIZE of ${value}`);
    else if (setting === SETTING.initialWindowSize) {
      if (value > MAX_WINDOW) return this.#fail(CODE.flowControlError, `SETTINGS_INITIAL_WINDOW_SIZE of ${value}`);
      const change = value - this.initialWindow;
      this.initialWindow = value;
      // A stream that ends meanwhile may let another open, which has the new window already.
      for (const stream of [...this.streams.values()])
        if (!stream.openWindow(change)) return this.#fail(CODE.flowControlError, OVER);
    }
    return true;
  }

  #windowUpdate(id: number, bytes: Buffer, start: number, end: number): boolean {
    if (end - start !== 4) return this.#fail(CODE.frameSizeError, "a WINDOW_UPDATE of another size than 4");
    if (id !== 0 && this.#owner.isUnopened(id))
      return this.#fail(CODE.protocolError, "WINDOW_UPDATE on an idle stream");
    const increment = readUint32(bytes, start) & MAX_WINDOW;
    if (increment < this.#options.leastIncrement && !this.spend(COST.control)) return false;
    if (id === 0) {
      if (increment === 0) return this.#fail(CODE.protocolError, ZERO);
      return this.#options.scheduler.openWindow(increment) || this.#fail(CODE.flowControlError, OVER);
    }
    const stream = this.streams.get(id);
    if (stream === undefined) return true;
    if (increment === 0) return this.#owner.streamFault(stream, CODE.protocolError, ZERO);
    return stream.openWindow(increment) || this.#owner.streamFault(stream, CODE.flowControlError, OVER);
  }

  #ping(flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.#fail(CODE.protocolError, "PING on a stream");
    if (end - start !== 8) return this.#fail(CODE.frameSizeError, "a PING of another size than 8");
    if ((flags & FRAME_FLAG.acknowledge) === 0) this.#options.writer.acknowledgePing(bytes, start, end);
    return this.spend(COST.control);
  }
}
