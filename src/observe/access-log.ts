/**
 * One JSON line a request, formatted by hand into this thread's buffer (a third of what a line through pino costs), and
 * written as `LineWriter` does, never through a worker's `process.stdout`, which waits for the main thread.
 */
import { type Head, PART } from "../http/head.ts";
import type { Exchange } from "../proxy/exchange.ts";
import { LineWriter } from "./line-writer.ts";
import { LogTarget } from "./log-target.ts";
import { THREAD_CELLS } from "./series.ts";

/** Longest parts of a line that a client writes; each byte may take six as `\u00ff`. */
const MAX_METHOD = 32;
const MAX_HOST = 256;
const MAX_PATH = 4096;
const MAX_LINE = 6 * (MAX_METHOD + MAX_HOST + MAX_PATH) + 4096;

const HEX = Buffer.from("0123456789abcdef", "latin1");
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const LETTER_U = 0x75;

export class AccessLog {
  enabled = false;
  readonly #writer: LineWriter;
  /** The writer's buffer, and where the line has come to. */
  #out: Buffer = Buffer.alloc(0);
  #length = 0;
  #now = performance.now();
  /** Wall clock less monotonic clock, in ms. */
  #wall = Date.now() - this.#now;
  #second = -1;
  #secondText = "";

  constructor({ fd, cells }: { fd: number; cells: Float64Array }) {
    const dropped = (lines: number) => {
      cells[THREAD_CELLS.logDropped]! += lines;
    };
    this.#writer = new LineWriter({ target: new LogTarget({ fd }), dropped, line: MAX_LINE });
  }

  /** Writes the line of an exchange that has ended. `now` is performance.now(). */
  line(x: Exchange, now: number): void {
    if (!this.enabled) return;
    const out = this.#writer.begin(MAX_LINE);
    if (out === null) return;
    this.#out = out;
    this.#length = this.#writer.length;
    this.#format(x, now);
    this.#writer.end(this.#length, now);
  }

  /** Moves the clock, and writes what has waited long enough. */
  tick(now: number): void {
    this.#now = now;
    this.#wall = Date.now() - now;
    this.#writer.tick(now);
  }

  reopen(): void {
    this.#writer.reopen();
  }

  /** Writes what is left after the write under way, waiting a moment for a slow reader. */
  close(): Promise<void> {
    this.enabled = false;
    return this.#writer.close();
  }

  #format(x: Exchange, now: number): void {
    const { request, original } = x;
    this.#ascii('{"time":"');
    this.#time(this.#wall + x.startedAt);
    this.#ascii('","client":');
    this.#string(x.clientAddress);
    this.#ascii(',"method":"');
    this.#part(request, original, PART.method, MAX_METHOD);
    this.#ascii('","host":"');
    this.#part(request, original, PART.authority, MAX_HOST);
    this.#ascii('","path":"');
    this.#part(request, original, PART.path, MAX_PATH);
    if (original[PART.query + 1]! > original[PART.query]!) {
      this.#ascii("?");
      const left = MAX_PATH - Math.min(MAX_PATH, original[PART.path + 1]! - original[PART.path]!);
      this.#part(request, original, PART.query, left);
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

  /** Text of our own; for lengths like these a loop is faster than a call into the runtime. */
  #ascii(text: string): void {
    const out = this.#out;
    let at = this.#length;
    for (let i = 0; i < text.length; i++) out[at++] = text.charCodeAt(i);
    this.#length = at;
  }

  /** A quoted string that no client wrote: short, and mostly plain. */
  #string(text: string): void {
    const out = this.#out;
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
  #part({ bytes, end }: Head, parts: Uint32Array, part: number, most: number): void {
    const out = this.#out;
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
    const out = this.#out;
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
}

/** As JSON, in printable ASCII. */
function quote(text: string): string {
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
