import { ByteBuilder } from "./binary";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, narrow, widen } from "./bytes";
import { Headers } from "./headers";
import { header_get, header_remove, header_set } from "./imports";
import { check } from "./status";
import { Time } from "./time";

/** The cookies of a request (RFC 6265 section 5.4). Names keep their case. */
export namespace Cookies {
  /**
   * The value of the first cookie of this name, or null. It is not decoded, and quotation marks are part of it. If a client
   * sends several, the first has the longest path.
   */
  export function get(headers: Headers, name: string): string | null {
    return find(headers, name) ? widen(VALUE + valueStart, pairEnd - valueStart) : null;
  }

  /** Removes the cookies of this name from the request; returns whether there were any. Others are unchanged. */
  export function remove(headers: Headers, name: string): bool {
    if (!find(headers, name)) return false;
    const kept = new ByteBuilder();
    for (let nth = 0; ; nth++) {
      const length = loadField(headers, nth);
      if (length < 0) break;
      keepOthers(kept, length, name);
    }
    const from = kept.reserve(0) - kept.length;
    const size = cookieName();
    // Removed first, since the head may be nearly full.
    check(header_remove(headers.part, KEY, size), "cannot remove header", "cookie");
    if (kept.length) check(header_set(headers.part, KEY, size, from, kept.length), "cannot set header", "cookie");
    return true;
  }
}

/** Finds the first cookie of this name: the current pair (`pairStart`, `pairEnd`, `valueStart`). */
function find(headers: Headers, name: string): bool {
  let length = 0;
  for (let nth = 0; length >= 0; nth++) {
    length = loadField(headers, nth);
    for (let at = 0; at < length; at = next) {
      findPair(at, length);
      if (isNamed(name)) return true;
    }
  }
  return false;
}

/** Appends the pairs with other names of the header in VALUE; copies each run of adjacent pairs unchanged. */
function keepOthers(kept: ByteBuilder, length: i32, name: string): void {
  let runStart = -1;
  let runEnd = 0;
  for (let at = 0; at < length; at = next) {
    findPair(at, length);
    if (pairEnd == pairStart) continue;
    if (!isNamed(name)) {
      if (runStart < 0) runStart = pairStart;
      runEnd = pairEnd;
    } else if (runStart >= 0) {
      keepRun(kept, runStart, runEnd);
      runStart = -1;
    }
  }
  if (runStart >= 0) keepRun(kept, runStart, runEnd);
}

/** Appends a run, after `; ` if it is not the first. A run that would exceed the maximum length of a header is dropped. */
function keepRun(kept: ByteBuilder, start: i32, end: i32): void {
  const between = kept.length ? 2 : 0;
  if (kept.length + between + end - start > VALUE_CAP) return;
  if (between) kept.ascii("; ");
  kept.copy(VALUE + start, end - start);
}

/** Loads Cookie header `nth` to VALUE (HTTP/2 allows several); returns its length, 0 if it exceeds VALUE, negative if absent. */
function loadField(headers: Headers, nth: i32): i32 {
  const length = header_get(headers.part, KEY, cookieName(), nth, VALUE, VALUE_CAP);
  return length > VALUE_CAP ? 0 : length;
}

function cookieName(): i32 {
  return narrow("cookie", KEY, KEY_CAP);
}

// The current pair, as offsets into VALUE. `valueStart` is set by `isNamed`.
let pairStart: i32 = 0;
let pairEnd: i32 = 0;
let valueStart: i32 = 0;
let next: i32 = 0;

function findPair(at: i32, length: i32): void {
  // Skips white space and empty pairs.
  while (at < length && (isSpace(byteAt(at)) || byteAt(at) == 0x3b)) at++;
  let end = endOfPair(at, length);
  next = end + 1;
  while (end > at && isSpace(byteAt(end - 1))) end--;
  pairStart = at;
  pairEnd = end;
}

/** Offset of the next semicolon, or the end. Reads 16 bytes at once, possibly beyond the value. */
function endOfPair(from: i32, length: i32): i32 {
  const semicolon = i8x16.splat(0x3b);
  for (let at = from; at < length; at += 16) {
    const found = i8x16.bitmask(i8x16.eq(v128.load(VALUE + at), semicolon));
    if (found) return min(at + ctz(found), length);
  }
  return length;
}

/** Whether the current pair has this name. A pair without `=` has none. */
function isNamed(name: string): bool {
  const size = name.length;
  let at = pairStart;
  if (pairEnd - at <= size) return false;
  for (let i = 0; i < size; i++, at++) {
    const byte = byteAt(at);
    if (byte != <i32>load<u16>(changetype<usize>(name) + (<usize>i << 1)) || byte == 0x3d) return false;
  }
  while (at < pairEnd && isSpace(byteAt(at))) at++;
  if (at == pairEnd || byteAt(at) != 0x3d) return false;
  at++;
  while (at < pairEnd && isSpace(byteAt(at))) at++;
  valueStart = at;
  return true;
}

// @ts-ignore: decorator
@inline
function byteAt(at: i32): i32 {
  return i32.load8_u(VALUE + at);
}

// @ts-ignore: decorator
@inline
function isSpace(byte: i32): bool {
  return byte == 0x20 || byte == 0x09;
}

/**
 * A cookie to set by `res.headers.add("set-cookie", cookie.toString())`:
 *
 *     new SetCookie("session", id).path("/").maxAge(3600).secure().httpOnly().sameSite("Lax")
 *
 * Throws for cookies that RFC 6265 section 4.1 or browsers reject: a name that is not a token, a value with spaces, quotes,
 * commas, semicolons or backslashes, a name with `__Secure-` or `__Host-` without the required attributes, and
 * `SameSite=None` or `Partitioned` without `Secure`.
 */
// @ts-ignore: decorator
@final
export class SetCookie {
  private attributes: string = "";
  private hasPath: bool = false;
  private rootPath: bool = false;
  private hasDomain: bool = false;
  private isSecure: bool = false;
  private needsSecure: string = "";

  /** Creates a cookie. Encode arbitrary values by `Percent.encode` or `Base64Url.encode`. */
  constructor(
    private name: string,
    private value: string,
  ) {
    if (!Headers.isToken(name)) invalid("name", name);
    let from = 0;
    let end = value.length;
    if (end > 1 && value.charCodeAt(0) == 0x22 && value.charCodeAt(end - 1) == 0x22) {
      from++;
      end--;
    }
    for (let i = from; i < end; i++) {
      const unit = value.charCodeAt(i);
      if (unit <= 0x20 || unit > 0x7e || unit == 0x22 || unit == 0x2c || unit == 0x3b || unit == 0x5c) invalid("value", value);
    }
  }

  /** Sets the path prefix of requests that include the cookie; starts with `/`. */
  path(path: string): SetCookie {
    if (this.hasPath || !path.startsWith("/") || !isAttribute(path)) invalid("Path", path);
    this.hasPath = true;
    this.rootPath = path == "/";
    return this.put("; Path=" + path);
  }

  /** Sets the domain whose hosts receive the cookie; by default only the host that sets it. */
  domain(domain: string): SetCookie {
    let valid = domain.length > 0 && !this.hasDomain;
    for (let i = 0; i < domain.length; i++) {
      const unit = domain.charCodeAt(i);
      const lower = unit | 32;
      if (!((lower >= 97 && lower <= 122) || (unit >= 48 && unit <= 57) || unit == 0x2d || unit == 0x2e)) valid = false;
    }
    if (!valid) invalid("Domain", domain);
    this.hasDomain = true;
    return this.put("; Domain=" + domain);
  }

  /** Sets the lifetime in seconds; 0 deletes the cookie. By default it ends with the browser session. */
  maxAge(seconds: i32): SetCookie {
    return this.put("; Max-Age=" + seconds.toString());
  }

  /** Sets the expiry, in milliseconds since 1970. Prefer `maxAge`, which does not depend on the client's clock. */
  expires(time: f64): SetCookie {
    return this.put("; Expires=" + Time.toHttpDate(time));
  }

  /** Restricts the cookie to https. */
  secure(): SetCookie {
    this.isSecure = true;
    return this.put("; Secure");
  }

  /** Hides the cookie from scripts. */
  httpOnly(): SetCookie {
    return this.put("; HttpOnly");
  }

  /** Whether cross-site requests include the cookie: `Strict`, `Lax` or `None`. */
  sameSite(mode: string): SetCookie {
    if (mode != "Strict" && mode != "Lax" && mode != "None") invalid("SameSite", mode);
    if (mode == "None") this.needsSecure = "SameSite=None";
    return this.put("; SameSite=" + mode);
  }

  /** Uses separate storage per top-level site (CHIPS). */
  partitioned(): SetCookie {
    this.needsSecure = "Partitioned";
    return this.put("; Partitioned");
  }

  /** The value of a Set-Cookie header. Throws if required attributes are missing. */
  toString(): string {
    // Browsers compare these prefixes case-insensitively.
    const lower = this.name.toLowerCase();
    const host = lower.startsWith("__host-");
    if (host || lower.startsWith("__secure-")) this.needsSecure = this.name;
    if (this.needsSecure.length && !this.isSecure) throw new Error(`cookie ${this.name}: ${this.needsSecure} requires secure()`);
    if (host && (this.hasDomain || !this.rootPath)) throw new Error(`cookie ${this.name} requires path("/") and no domain`);
    return `${this.name}=${this.value}${this.attributes}`;
  }

  private put(attribute: string): SetCookie {
    this.attributes += attribute;
    return this;
  }
}

function isAttribute(text: string): bool {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 || unit > 0x7e || unit == 0x3b) return false;
  }
  return true;
}

function invalid(what: string, value: string): void {
  throw new Error(`invalid cookie ${what} "${value}"`);
}
