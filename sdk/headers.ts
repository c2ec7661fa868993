import { HEADERS, STATUS } from "./abi";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, equals, narrow, startsWith, widen } from "./bytes";
import { header_add, header_at, header_count, header_get, header_own, header_remove, header_set } from "./imports";
import { check } from "./status";

const NAME_CAP: i32 = 256;

/** Headers that say how a message is framed or what the connection does: the host alone writes them. */
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
 * The fields of a head. Names compare without regard to case; order and repetition are kept.
 * Fields that belong to the connection (`connection`, `transfer-encoding`, `content-length` …) cannot be changed.
 */
// @ts-ignore: decorator
@final
export class Headers {
  // Made by the SDK alone: `req.headers`, `res.headers`.
  constructor(readonly part: i32) {}

  /** Is this a token (RFC 9110 section 5.6.2), as names of fields and cookies are? */
  static isToken(text: string): bool {
    for (let i = 0; i < text.length; i++) {
      if (!isToken(text.charCodeAt(i))) return false;
    }
    return text.length > 0;
  }

  /**
   * May a plugin change a header of this name: is it a token, and none that belongs to the connection?
   * `host` may be set on a request, not added or removed.
   */
  static canSet(name: string): bool {
    if (name.length > NAME_CAP || !Headers.isToken(name)) return false;
    return !FIXED.includes(name.toLowerCase());
  }

  /** Is this printable ASCII without space at its ends? A value from configuration should be no more than that. */
  static isValue(value: string): bool {
    for (let i = 0; i < value.length; i++) {
      const unit = value.charCodeAt(i);
      if ((unit < 32 && unit != 9) || unit > 126) return false;
    }
    return value.trim().length == value.length;
  }

  /** Is there a field of this name? */
  has(name: string): bool {
    return header_get(this.part, KEY, narrow(name, KEY, KEY_CAP), 0, VALUE, 0) >= 0;
  }

  /** Is the first value of this name exactly `value`? Compares bytes: nothing is allocated. */
  is(name: string, value: string): bool {
    return equals(VALUE, this.load(name, 0), value);
  }

  /** Does the first value of this name begin with `prefix`? */
  startsWith(name: string, prefix: string): bool {
    return startsWith(VALUE, this.load(name, 0), prefix);
  }

  /** The first value of this name, or null. */
  get(name: string): string | null {
    return this.nth(name, 0);
  }

  /** The value number `nth` (0 the first) of this name, or null. */
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

  /** Sets the field, in place of all values of this name. */
  set(name: string, value: string): void {
    const length = narrow(value, VALUE, VALUE_CAP);
    check(header_set(this.part, KEY, narrow(name, KEY, KEY_CAP), VALUE, length), "cannot set header", name);
  }

  /** Adds a value after those that are there. */
  add(name: string, value: string): void {
    const length = narrow(value, VALUE, VALUE_CAP);
    check(header_add(this.part, KEY, narrow(name, KEY, KEY_CAP), VALUE, length), "cannot add header", name);
  }

  /** Takes all values of this name away; says whether there were any. */
  remove(name: string): bool {
    const removed = header_remove(this.part, KEY, narrow(name, KEY, KEY_CAP));
    check(removed == STATUS.absent ? 0 : removed, "cannot remove header", name);
    return removed > 0;
  }

  /**
   * Makes this header the plugin's own (on `req.headers`, in `onRequest` and `route`): every spelling of it that the client
   * sent is removed, those that CGI, WSGI or PHP cannot tell apart from it (`X_User`, `x.user`) and those in trailers
   * included, also in trailers that come later. What the plugin sets afterwards is then all that the upstream sees. Call it
   * before `set` for headers that the upstream believes, such as the user's name.
   */
  own(name: string): void {
    if (this.part != HEADERS.request) throw new Error("only headers of the request can be owned");
    check(header_own(KEY, narrow(name, KEY, KEY_CAP)), "cannot own header", name);
  }

  /** How many fields there are. */
  get count(): i32 {
    return max(header_count(this.part), 0);
  }

  /** The name of field `index` (0 to `count` - 1), as it was sent; empty outside. */
  nameAt(index: i32): string {
    return this.at(index, 0);
  }

  /** The value of field `index` (0 to `count` - 1); empty outside. */
  valueAt(index: i32): string {
    return this.at(index, 1);
  }

  private at(index: i32, what: i32): string {
    const length = header_at(this.part, index, what, VALUE, VALUE_CAP);
    if (length <= VALUE_CAP) return widen(VALUE, length);
    const whole = new ArrayBuffer(length);
    const from = changetype<usize>(whole);
    header_at(this.part, index, what, from, length);
    return widen(from, length);
  }

  /** Brings the value into VALUE when it fits; its true length, or below zero. */
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
