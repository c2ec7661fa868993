import { HEADERS, STATUS } from "./abi";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, equals, narrow, startsWith, widen } from "./bytes";
import { header_add, header_at, header_count, header_get, header_own, header_remove, header_set, head_read } from "./imports";
import { check } from "./status";

const NAME_CAP: i32 = 256;

/** Framing and hop-by-hop headers (RFC 9110 section 7.6.1): only the host sets them. */
// @ts-ignore: decorator
@lazy const FIXED: StaticArray<string> = [
  "connection",
  "content-length",
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

/** A character of a header's name (RFC 9110 section 5.6.2). */
function isToken(unit: i32): bool {
  if (unit >= 0x61 && unit <= 0x7a) return true; // a-z
  if (unit >= 0x41 && unit <= 0x5a) return true; // A-Z
  if (unit >= 0x30 && unit <= 0x39) return true; // 0-9
  return unit < 128 && unit > 32 && "!#$%&'*+-.^_`|~".includes(String.fromCharCode(unit));
}

/**
 * The headers or trailers of a message. Names are case-insensitive; order and repetition are preserved. Values are one
 * character per byte, U+0000 to U+00FF. Framing and hop-by-hop headers (`connection`, `transfer-encoding`,
 * `content-length` …) cannot be changed: setting one throws, as do CR, LF and NUL.
 */
// @ts-ignore: decorator
@final
export class Headers {
  // Only the SDK creates them: `req.headers`, `res.headers`.
  constructor(readonly part: i32) {}

  /** Whether the text is a token (RFC 9110 section 5.6.2), as names of headers and cookies are. */
  static isToken(text: string): bool {
    for (let i = 0; i < text.length; i++) {
      if (!isToken(text.charCodeAt(i))) return false;
    }
    return text.length > 0;
  }

  /**
   * Whether a plugin may change a header of this name: a token of at most 256 bytes, and no framing or hop-by-hop header.
   * `host` may be set on a request, but not added or removed.
   */
  static canSet(name: string): bool {
    if (name.length > NAME_CAP || !Headers.isToken(name)) return false;
    return !FIXED.includes(name.toLowerCase());
  }

  /** Whether the value is printable ASCII without surrounding white space: a check for values from the configuration. */
  static isValue(value: string): bool {
    for (let i = 0; i < value.length; i++) {
      const unit = value.charCodeAt(i);
      if ((unit < 32 && unit != 9) || unit > 126) return false;
    }
    return value.trim().length == value.length;
  }

  /** Whether there is a header of this name. */
  has(name: string): bool {
    return header_get(this.part, KEY, narrow(name, KEY, KEY_CAP), 0, VALUE, 0) >= 0;
  }

  /** Whether the first value of this name is exactly `value`. Allocates nothing. */
  is(name: string, value: string): bool {
    return equals(VALUE, this.load(name, 0), value);
  }

  /** Whether the first value of this name starts with `prefix`. */
  startsWith(name: string, prefix: string): bool {
    return startsWith(VALUE, this.load(name, 0), prefix);
  }

  /** The first value of this name, or null. */
  get(name: string): string | null {
    return this.nth(name, 0);
  }

  /** Value `nth` of this name, counted from 0, or null. */
  nth(name: string, nth: i32): string | null {
    const length = this.load(name, nth);
    if (length < 0) return null;
    if (length <= VALUE_CAP) return widen(VALUE, length);
    const whole = new ArrayBuffer(length);
    const from = changetype<usize>(whole);
    header_get(this.part, KEY, narrow(name, KEY, KEY_CAP), nth, from, length);
    return widen(from, length);
  }

  /** Every value of this name, in order. */
  getAll(name: string): string[] {
    const values: string[] = [];
    let value = this.nth(name, 0);
    while (value !== null) {
      values.push(value);
      value = this.nth(name, values.length);
    }
    return values;
  }

  /** Replaces all values of this name by one. */
  set(name: string, value: string): void {
    const length = narrow(value, VALUE, VALUE_CAP);
    check(header_set(this.part, KEY, narrow(name, KEY, KEY_CAP), VALUE, length), "cannot set header", name);
  }

  /** Appends a value. */
  add(name: string, value: string): void {
    const length = narrow(value, VALUE, VALUE_CAP);
    check(header_add(this.part, KEY, narrow(name, KEY, KEY_CAP), VALUE, length), "cannot add header", name);
  }

  /** Removes all values of this name; returns whether there were any. */
  remove(name: string): bool {
    const removed = header_remove(this.part, KEY, narrow(name, KEY, KEY_CAP));
    check(removed == STATUS.absent ? 0 : removed, "cannot remove header", name);
    return removed > 0;
  }

  /**
   * Reserves a request header for plugins (in `onRequest` and `route`): removes every spelling of the name that the client
   * sent and that CGI, WSGI or PHP maps to the same variable (`X_User`, `x.user`), also from trailers and from trailers
   * received later. The upstream then sees only values that plugins set afterwards. Call it before `set` for headers that
   * the upstream trusts, such as the user's name.
   */
  own(name: string): void {
    if (this.part != HEADERS.request) throw new Error("only headers of the request can be owned");
    check(header_own(KEY, narrow(name, KEY, KEY_CAP)), "cannot own header", name);
  }

  /** Number of fields. */
  get count(): i32 {
    return max(header_count(this.part), 0);
  }

  /** Name of field `index` (0 to `count` - 1) as sent; empty out of range. */
  nameAt(index: i32): string {
    return this.at(index, 0);
  }

  /** Value of field `index` (0 to `count` - 1); empty out of range. */
  valueAt(index: i32): string {
    return this.at(index, 1);
  }

  /** All fields in order, a line each: the name in lower case, a colon, the value, CR and LF. One call of the host. */
  lines(): string {
    const size = head_read(this.part, VALUE, 0);
    if (size < 0) return "";
    const bytes = new ArrayBuffer(size);
    const from = changetype<usize>(bytes);
    head_read(this.part, from, size);
    const lines: string[] = [];
    for (let i: u32 = 0, count = load<u32>(from); i < count; i++) {
      const entry = from + 4 + 16 * <usize>i;
      lines.push(widen(from + load<u32>(entry), load<u32>(entry, 4)).toLowerCase());
      lines.push(":");
      lines.push(widen(from + load<u32>(entry, 8), load<u32>(entry, 12)));
      lines.push("\r\n");
    }
    return lines.join("");
  }

  private at(index: i32, what: i32): string {
    const length = header_at(this.part, index, what, VALUE, VALUE_CAP);
    if (length <= VALUE_CAP) return widen(VALUE, length);
    const whole = new ArrayBuffer(length);
    const from = changetype<usize>(whole);
    header_at(this.part, index, what, from, length);
    return widen(from, length);
  }

  /** Copies the value to VALUE if it fits; returns its full length, or a negative status. */
  private load(name: string, nth: i32): i32 {
    return header_get(this.part, KEY, narrow(name, KEY, KEY_CAP), nth, VALUE, VALUE_CAP);
  }
}

// @ts-ignore: decorator
@lazy export const requestHeaders = new Headers(HEADERS.request);
// @ts-ignore: decorator
@lazy export const responseHeaders = new Headers(HEADERS.response);
// @ts-ignore: decorator
@lazy export const requestTrailers = new Headers(HEADERS.requestTrailers);
// @ts-ignore: decorator
@lazy export const responseTrailers = new Headers(HEADERS.responseTrailers);
