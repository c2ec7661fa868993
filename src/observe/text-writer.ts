/** Writes parts of log lines into a buffer. Input of clients, endpoints and plugins is escaped to printable ASCII. */

const HEX = Buffer.from("0123456789abcdef", "latin1");
const HEX_UPPER = Buffer.from("0123456789ABCDEF", "latin1");
const SPACE = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const LETTER_U = 0x75;
const LETTER_X = 0x78;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export class TextWriter {
  /** The target and the offset; the caller ensures that there is enough space. */
  out: Buffer = Buffer.alloc(0);
  length = 0;
  #second = -1;
  #secondText = "";
  #localSecond = -1;
  #localText = "";

  /** Writes constant ASCII text; for short texts a loop is faster than a call into the runtime. */
  ascii(text: string): void {
    const { out } = this;
    let at = this.length;
    for (let i = 0; i < text.length; i++) out[at++] = text.charCodeAt(i);
    this.length = at;
  }

  /** Writes a JSON string that is mostly plain ASCII: names of the configuration, addresses. */
  string(text: string): void {
    const { out } = this;
    let at = this.length;
    out[at++] = QUOTE;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code < 0x20 || code >= 0x7f || code === QUOTE || code === BACKSLASH) return this.ascii(quote(text));
      out[at++] = code;
    }
    out[at++] = QUOTE;
    this.length = at;
  }

  /** Writes untrusted bytes for the inside of a JSON string; a byte that is not printable ASCII becomes `\u00ff`. */
  bytes(source: Buffer, start: number, stop: number): void {
    const { out } = this;
    let at = this.length;
    for (let i = start; i < stop; i++) {
      const byte = source[i]!;
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
    this.length = at;
  }

  /** Writes untrusted bytes like nginx in combined lines: quotes, backslashes and unprintable bytes as `\xFF`. */
  escaped(source: Buffer, start: number, stop: number, least = SPACE): void {
    const { out } = this;
    let at = this.length;
    for (let i = start; i < stop; i++) {
      const byte = source[i]!;
      if (byte >= least && byte < 0x7f && byte !== QUOTE && byte !== BACKSLASH) {
        out[at++] = byte;
        continue;
      }
      out[at++] = BACKSLASH;
      out[at++] = LETTER_X;
      out[at++] = HEX_UPPER[byte >> 4]!;
      out[at++] = HEX_UPPER[byte & 15]!;
    }
    this.length = at;
  }

  /** Writes a non-negative integer with at least `digits` digits. */
  number(value: number, digits = 1): void {
    const { out } = this;
    let end = this.length + digits;
    for (let limit = 10 ** digits; value >= limit; limit *= 10) end++;
    let rest = value;
    for (let at = end - 1; at >= this.length; at--) {
      const tens = Math.floor(rest / 10);
      out[at] = ZERO + rest - tens * 10;
      rest = tens;
    }
    this.length = end;
  }

  /** Writes milliseconds with three decimal places. */
  milliseconds(value: number): void {
    const micros = Math.max(0, Math.round(value * 1000));
    const whole = Math.floor(micros / 1000);
    this.number(whole);
    this.ascii(".");
    this.number(micros - whole * 1000, 3);
  }

  /** Writes a time (ms since 1970) as RFC 3339 in UTC; the text of a second is cached. */
  time(wall: number): void {
    const ms = Math.floor(wall);
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20);
    }
    this.ascii(this.#secondText);
    this.number(ms - second * 1000, 3);
    this.ascii("Z");
  }

  /** Writes a time in the combined format, in UTC: `30/Nov/2026:02:19:41 +0000`. */
  commonTime(wall: number): void {
    const second = Math.floor(wall / 1000);
    if (second !== this.#localSecond) {
      this.#localSecond = second;
      const [, year, month, day, clock] = /^(\d+)-(\d\d)-(\d\d)T([\d:]{8})/.exec(
        new Date(second * 1000).toISOString(),
      )!;
      this.#localText = `${day}/${MONTHS[Number(month) - 1]}/${year}:${clock} +0000`;
    }
    this.ascii(this.#localText);
  }
}

/** Serialises a value as JSON in printable ASCII. */
function quote(text: string): string {
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
