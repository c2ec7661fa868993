/**
 * One JSON line a request, formatted by hand into this thread's buffer (a third of what a line through pino costs) and written
 * to the descriptor as whole lines, never through a worker's `process.stdout`, which waits for the main thread.
 * At most 1 MiB waits for a slow reader; what comes beyond is dropped and counted.
 */
import { fstatSync, write, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type Head, PART } from "../http/head.ts";
import type { Exchange } from "../proxy/exchange.ts";
import { THREAD_CELLS } from "./series.ts";

/** Bytes that are worth a write at once; fewer wait for `MAX_WAIT` ms. */
const FLUSH_SIZE = 16 * 1024;
const MAX_WAIT = 100;
const MAX_WAITING = 1024 * 1024;
/** Longest parts of a line that a client writes; each byte may take six as `\u00ff`. */
const MAX_METHOD = 32;
const MAX_HOST = 256;
const MAX_PATH = 4096;
const MAX_LINE = 6 * (MAX_METHOD + MAX_HOST + MAX_PATH) + 4096;
/** POSIX: a write of so many bytes to a pipe is never torn apart by another thread's (PIPE_BUF). */
const PIPE_SIZE = 4096;
/** How long `close` waits for a reader that takes nothing. */
const CLOSE_WAIT = 1000;

const HEX = Buffer.from("0123456789abcdef", "latin1");
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LINE_FEED = 0x0a;
const ZERO = 0x30;
const LETTER_U = 0x75;

export class AccessLog {
  enabled = false;
  readonly #fd: number;
  readonly #cells: Float64Array;
  /** Lines not handed to a write yet. */
  #filling = Buffer.allocUnsafeSlow(2 * MAX_LINE);
  #length = 0;
  #lines = 0;
  #oldest = 0;
  /** The buffer of the write under way, from what is not written yet to its end. */
  #writing = Buffer.allocUnsafeSlow(2 * MAX_LINE);
  #start = 0;
  #end = 0;
  #linesWriting = 0;
  /** Bytes of the write that the system has in hands; 0: none. */
  #inHands = 0;
  #stalled = false;
  #closing = false;
  #isPipe: boolean | null = null;
  #now = performance.now();
  /** Wall clock less monotonic clock, in ms. */
  #wall = Date.now() - this.#now;
  #second = -1;
  #secondText = "";

  constructor(options: { fd: number; cells: Float64Array }) {
    this.#fd = options.fd;
    this.#cells = options.cells;
  }

  /** Writes the line of an exchange that has ended. `now` is performance.now(). */
  line(x: Exchange, now: number): void {
    if (!this.enabled) return;
    if (this.#length + this.#end - this.#start > MAX_WAITING) {
      this.#cells[THREAD_CELLS.logDropped]!++;
      return;
    }
    this.#reserve();
    if (this.#length === 0) this.#oldest = now;
    this.#format(x, now);
    this.#lines++;
    if (this.#length >= FLUSH_SIZE) this.#flush();
  }

  /** Moves the clock, and writes what has waited long enough. */
  tick(now: number): void {
    this.#now = now;
    this.#wall = Date.now() - now;
    this.#stalled = false;
    if (this.#end > this.#start) this.#write();
    else if (this.#length > 0 && now - this.#oldest >= MAX_WAIT) this.#flush();
  }

  /** Writes what is left after the write under way, waiting a moment for a slow reader. */
  async close(): Promise<void> {
    this.enabled = false;
    this.#closing = true;
    const deadline = performance.now() + CLOSE_WAIT;
    while (this.#inHands > 0 && performance.now() < deadline) await sleep(1);
    // What a stuck reader left in the system's hands may still be written by it.
    const rest = this.#writing.subarray(this.#start + this.#inHands, this.#end);
    const all = Buffer.concat([rest, this.#filling.subarray(0, this.#length)]);
    this.#end = this.#start + this.#inHands;
    this.#length = 0;
    let from = 0;
    while (from < all.length) {
      try {
        from += writeSync(this.#fd, all, from, this.#chunk(all, from, all.length));
      } catch (error) {
        if (codeOf(error) !== "EAGAIN" || performance.now() > deadline) break;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
    if (from < all.length) this.#cells[THREAD_CELLS.logDropped]! += countLines(all.subarray(from));
  }

  #format(x: Exchange, now: number): void {
    const { request } = x;
    const { parts } = request;
    this.#ascii('{"time":"');
    this.#time(this.#wall + x.startedAt);
    this.#ascii('","client":');
    this.#string(x.clientAddress);
    this.#ascii(',"method":"');
    this.#part(request, PART.method, MAX_METHOD);
    this.#ascii('","host":"');
    this.#part(request, PART.authority, MAX_HOST);
    this.#ascii('","path":"');
    this.#part(request, PART.path, MAX_PATH);
    if (parts[PART.query + 1]! > parts[PART.query]!) {
      this.#ascii("?");
      const left = MAX_PATH - Math.min(MAX_PATH, parts[PART.path + 1]! - parts[PART.path]!);
      this.#part(request, PART.query, left);
    }
    this.#ascii('","status":');
    this.#number(x.response.status);
    this.#ascii(',"bytes_received":');
    this.#number(x.bytesReceived);
    this.#ascii(',"bytes_sent":');
    this.#number(x.bytesSent);
    this.#ascii(',"duration_ms":');
    this.#milliseconds(now - x.startedAt);
    this.#formatPath(x);
  }

  /** Where the request went: names of the configuration. */
  #formatPath(x: Exchange): void {
    this.#ascii(',"listener":');
    this.#string(x.listenerName);
    this.#ascii(',"route":');
    this.#string(x.routeName);
    this.#ascii(',"cluster":');
    this.#string(x.clusterName);
    this.#ascii(',"endpoint":');
    this.#string(x.endpoint === null ? "" : x.endpoint.address);
    this.#ascii(',"attempts":');
    this.#number(x.attempts);
    this.#ascii(',"outcome":');
    this.#string(x.error === null ? "ok" : x.error.code);
    this.#ascii(',"version":');
    this.#number(x.listener === null ? 0 : x.listener.snapshot.version);
    this.#ascii("}\n");
  }

  #reserve(): void {
    if (this.#filling.length - this.#length >= MAX_LINE) return;
    const grown = Buffer.allocUnsafeSlow(this.#filling.length * 2);
    this.#filling.copy(grown, 0, 0, this.#length);
    this.#filling = grown;
  }

  /** Text of our own; for lengths like these a loop is faster than a call into the runtime. */
  #ascii(text: string): void {
    const out = this.#filling;
    let at = this.#length;
    for (let i = 0; i < text.length; i++) out[at++] = text.charCodeAt(i);
    this.#length = at;
  }

  /** A quoted string that no client wrote: short, and mostly plain. */
  #string(text: string): void {
    const out = this.#filling;
    let at = this.#length;
    out[at++] = QUOTE;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code < 0x20 || code >= 0x7f || code === QUOTE || code === BACKSLASH) return this.#ascii(quote(text));
      out[at++] = code;
    }
    out[at++] = QUOTE;
    this.#length = at;
  }

  /** Bytes that a client wrote, at most `most` of them: nothing but printable ASCII is let through as it is. */
  #part({ bytes, parts, end }: Head, part: number, most: number): void {
    const out = this.#filling;
    let at = this.#length;
    const start = parts[part]!;
    // Of a head that was refused half-way the area may hold nothing yet, or what an earlier head left there.
    const stop = Math.min(parts[part + 1]!, start + most, end);
    for (let i = start; i < stop; i++) {
      const byte = bytes[i]!;
      if (byte >= 0x20 && byte < 0x7f) {
        if (byte === QUOTE || byte === BACKSLASH) out[at++] = BACKSLASH;
        out[at++] = byte;
        continue;
      }
      out[at++] = BACKSLASH;
      out[at++] = LETTER_U;
      out[at++] = ZERO;
      out[at++] = ZERO;
      out[at++] = HEX[byte >> 4]!;
      out[at++] = HEX[byte & 15]!;
    }
    this.#length = at;
  }

  /** A whole number, not negative, with at least `digits` digits. */
  #number(value: number, digits = 1): void {
    const out = this.#filling;
    let end = this.#length + digits;
    for (let limit = 10 ** digits; value >= limit; limit *= 10) end++;
    let rest = value;
    for (let at = end - 1; at >= this.#length; at--) {
      const tens = Math.floor(rest / 10);
      out[at] = ZERO + rest - tens * 10;
      rest = tens;
    }
    this.#length = end;
  }

  #milliseconds(value: number): void {
    const micros = Math.max(0, Math.round(value * 1000));
    const whole = Math.floor(micros / 1000);
    this.#number(whole);
    this.#ascii(".");
    this.#number(micros - whole * 1000, 3);
  }

  /** RFC 3339, in UTC; the text of a second is made once. */
  #time(wall: number): void {
    const ms = Math.floor(wall);
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20);
    }
    this.#ascii(this.#secondText);
    this.#number(ms - second * 1000, 3);
    this.#ascii("Z");
  }

  /** Hands the lines to a write, unless one is under way. */
  #flush(): void {
    if (this.#end > this.#start) return;
    const free = this.#writing;
    this.#writing = this.#filling;
    this.#start = 0;
    this.#end = this.#length;
    this.#linesWriting = this.#lines;
    this.#filling = free;
    this.#length = 0;
    this.#lines = 0;
    this.#write();
  }

  #write(): void {
    if (this.#inHands > 0 || this.#stalled) return;
    this.#inHands = this.#chunk(this.#writing, this.#start, this.#end);
    write(this.#fd, this.#writing, this.#start, this.#inHands, null, (error, written) => {
      this.#inHands = 0;
      this.#wrote(error, written);
    });
  }

  #wrote(error: NodeJS.ErrnoException | null, written: number): void {
    if (error === null) this.#start = Math.min(this.#end, this.#start + written);
    else if (error.code === "EAGAIN") this.#stalled = true;
    else {
      // Nobody reads any more (EPIPE), or the disk is full: what was under way is lost, and is counted.
      this.#cells[THREAD_CELLS.logDropped]! += this.#linesWriting;
      this.#start = this.#end;
    }
    if (this.#closing) return;
    if (this.#start < this.#end) this.#write();
    else if (this.#length >= FLUSH_SIZE) this.#flush();
  }

  /** How much to write at once: to a pipe only so many whole lines as no other writer can tear apart. */
  #chunk(bytes: Buffer, start: number, end: number): number {
    this.#isPipe ??= fstatSync(this.#fd).isFIFO();
    if (!this.#isPipe || end - start <= PIPE_SIZE) return end - start;
    let last = bytes.lastIndexOf(LINE_FEED, start + PIPE_SIZE - 1);
    if (last < start) last = bytes.indexOf(LINE_FEED, start);
    return (last < 0 || last >= end ? end - 1 : last) - start + 1;
  }
}

/** As JSON, in printable ASCII. */
function quote(text: string): string {
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) lines++;
  return lines;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
