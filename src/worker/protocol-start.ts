/**
 * The handler of a connection without ALPN until its first bytes show the protocol: the preface of HTTP/2, HTTP/1, or,
 * where the listener has `protocol: auto` and routes for TCP, any other. HTTP/1 is a first line that ends in an HTTP
 * version. Bounded by `timeouts.head`, or `timeouts.detect`, and by the size of a request line.
 */
import { PREFACE } from "../http2/frames.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { Accepted, AcceptedConnection, Port, ServerHandler } from "../proxy/port.ts";

export interface HandlerMakers {
  makeHttp(accepted: Accepted, isHttp2: boolean): ServerHandler;
  /** Of a connection that is not HTTP. */
  makeTcp(accepted: Accepted): ServerHandler;
  /** Reports an exception. */
  internal(error: unknown): void;
}

const LF = 10;
const CR = 13;
const SPACE = 32;
/** Longest method of a request line that is taken for HTTP, bytes. */
const MAX_METHOD = 32;
/** What follows the target in a request line, at most: ` HTTP/1.1` and the end of the line. */
const AFTER_TARGET = 16;
/** The end of a request line, without CR. */
const VERSION_END = /HTTP\/\d\.\d$/;
const VERSION_LENGTH = 8;

export class ProtocolStart implements ServerHandler {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #accepted: Accepted;
  readonly #makers: HandlerMakers;
  readonly #detectsTcp: boolean;
  /** A part of the preface or of a request line. */
  readonly #input = new PendingBuffer();
  /** The input is the beginning of the preface. */
  #mayBePreface = true;
  /** Length of the method with its space; 0: not known yet. */
  #method = 0;

  /** `detectsTcp`: it may be a connection that is not HTTP. */
  constructor(accepted: Accepted, makers: HandlerMakers, detectsTcp: boolean) {
    const { connection, port } = accepted;
    this.#connection = connection;
    this.#port = port;
    this.#accepted = accepted;
    this.#makers = makers;
    this.#detectsTcp = detectsTcp;
    if (!this.#detectsTcp) connection.arm(this.#headLimit);
    // The time began before, if the first bytes were tried as TLS.
    else if (connection.deadline === 0) connection.arm(port.state!.plan.relay!.detect);
  }

  receive(bytes: Buffer, start: number, end: number): void {
    const input = this.#input;
    if (!this.#mayBePreface) return this.#receiveLine(bytes, start, end);
    let at = start;
    while (at < end && input.length + at - start < PREFACE.length && bytes[at] === PREFACE[input.length + at - start])
      at++;
    const isWhole = input.length + at - start === PREFACE.length;
    if (at === end && !isWhole) return input.append(bytes, start, end);
    this.#mayBePreface = isWhole;
    if (!isWhole && this.#detectsTcp) return this.#receiveLine(bytes, start, end);
    const handler = this.#begin(this.#makers.makeHttp(this.#accepted, isWhole));
    // The buffered bytes may have replaced it.
    if (this.#connection.handler === handler) handler.receive(bytes, start, end);
  }

  /** Compares what may be a request line. */
  #receiveLine(bytes: Buffer, start: number, end: number): void {
    const before = this.#input.length;
    this.#input.append(bytes, start, end);
    // A part of the preface was not compared as a line.
    const isHttp = this.#isHttp(this.#method === 0 ? 0 : before);
    if (isHttp !== null)
      this.#begin(isHttp ? this.#makers.makeHttp(this.#accepted, false) : this.#makers.makeTcp(this.#accepted));
  }

  /** Whether the input begins with a request line; null: not known yet. `from`: the bytes before were compared. */
  #isHttp(from: number): boolean | null {
    const { bytes, start, end, length } = this.#input;
    if (this.#method === 0) {
      const most = Math.min(length, MAX_METHOD + 1);
      let at = 0;
      while (at < most && isTokenByte(bytes[start + at]!)) at++;
      if (at === length && at <= MAX_METHOD) return null;
      if (at === 0 || at > MAX_METHOD || bytes[start + at] !== SPACE) return false;
      this.#method = at + 1;
    }
    const line = bytes.subarray(start, end).indexOf(LF, from);
    const { target } = this.#port.state!.plan.limits;
    // A longer target is rejected as HTTP.
    if (line < 0) return length > this.#method + target + AFTER_TARGET ? true : null;
    const stop = start + (bytes[start + line - 1] === CR ? line - 1 : line);
    const least = start + this.#method;
    return VERSION_END.test(bytes.toString("latin1", Math.max(least, stop - VERSION_LENGTH), stop));
  }

  /** The handler takes over, and receives the buffered bytes. */
  #begin(handler: ServerHandler): ServerHandler {
    this.#connection.handler = handler;
    const { bytes, start, end } = this.#input;
    if (end > start && this.#connection.alive) handler.receive(bytes, start, end);
    return handler;
  }

  /** No more bytes decide: those received so far are HTTP if they begin with a method and its space. */
  #decide(): ServerHandler {
    const isHttp = !this.#detectsTcp || this.#method > 0;
    return this.#begin(isHttp ? this.#makers.makeHttp(this.#accepted, false) : this.#makers.makeTcp(this.#accepted));
  }

  ended(): void {
    const handler = this.#decide();
    if (this.#connection.handler === handler) handler.ended();
  }

  timedOut(): void {
    if (this.#detectsTcp && this.#port.draining && this.#input.length === 0) return this.#connection.destroy();
    const handler = this.#decide();
    if (!this.#detectsTcp || this.#method > 0) handler.timedOut();
  }

  /** The first bytes may be under way: they still decide. Nothing is lost later, since nothing was passed on. */
  drain(): void {
    if (this.#input.length > 0) return;
    this.#connection.arm(this.#detectsTcp ? Math.max(1, this.#port.drainIdle) : this.#headLimit);
  }

  get #headLimit(): number {
    return this.#port.idleLimit(this.#port.state!.plan.timeouts.head);
  }

  closed(): void {}
  flushed(): void {}

  broken(error: unknown): void {
    this.#makers.internal(error);
    this.#connection.destroy();
  }
}

/** A character of a token (RFC 9110 section 5.6.2), as methods are. */
function isTokenByte(byte: number): boolean {
  if ((byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122) || (byte >= 48 && byte <= 57)) return true;
  return TOKEN_MARKS.includes(byte);
}
const TOKEN_MARKS = Buffer.from("!#$%&'*+-.^_`|~");
