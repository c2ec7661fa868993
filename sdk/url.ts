import { parseIpv6 } from "./ip";

const DEFAULT_HTTP = 80;
const DEFAULT_HTTPS = 443;

/**
 * The parts of an absolute `http` or `https` URL, such as an Origin, a Referer or a Location. Accepts RFC 3986 in printable
 * ASCII without user and password. Scheme and host are converted to lower case; nothing is decoded, corrected or resolved.
 */
// @ts-ignore: decorator
@final
export class Url {
  private constructor(
    /** `http` or `https`. */
    readonly scheme: string,
    /** A name, an IPv4 address, or an IPv6 address in brackets; in lower case. */
    readonly host: string,
    /** 1 to 65535; 80 or 443 if the text has none. */
    readonly port: i32,
    /** Starts with `/`; `/` if the text has none. */
    readonly path: string,
    /** Without `?`; empty if there is none. */
    readonly query: string,
    /** Without `#`; empty if there is none. */
    readonly fragment: string,
  ) {}

  /** Parses a URL; null if it is invalid. */
  static parse(text: string): Url | null {
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit <= 32 || unit > 126 || unit == 0x5c) return null;
    }
    const colon = text.indexOf("://");
    const scheme = colon < 0 ? "" : text.substring(0, colon).toLowerCase();
    if (scheme != "http" && scheme != "https") return null;
    const from = colon + 3;
    const hash = text.indexOf("#", from);
    const beforeFragment = hash < 0 ? text.length : hash;
    let mark = text.indexOf("?", from);
    if (mark < 0 || mark > beforeFragment) mark = beforeFragment;
    let slash = text.indexOf("/", from);
    if (slash < 0 || slash > mark) slash = mark;

    const authority = text.substring(from, slash);
    const hostEnd = endOfHost(authority);
    const port = portOf(authority, hostEnd, scheme == "https" ? DEFAULT_HTTPS : DEFAULT_HTTP);
    if (hostEnd <= 0 || port < 0) return null;
    const path = slash == mark ? "/" : text.substring(slash, mark);
    const query = text.substring(min(mark + 1, beforeFragment), beforeFragment);
    const fragment = text.substring(min(beforeFragment + 1, text.length));
    return new Url(scheme, authority.substring(0, hostEnd).toLowerCase(), port, path, query, fragment);
  }

  /** Scheme, host, and the port unless it is the scheme's default: `https://example.com` (RFC 6454 section 6.2). */
  get origin(): string {
    const isDefault = this.port == (this.scheme == "https" ? DEFAULT_HTTPS : DEFAULT_HTTP);
    return isDefault ? `${this.scheme}://${this.host}` : `${this.scheme}://${this.host}:${this.port}`;
  }

  /** The URL as text. */
  toString(): string {
    const query = this.query.length ? "?" + this.query : "";
    return `${this.origin}${this.path}${query}${this.fragment.length ? "#" + this.fragment : ""}`;
  }
}

/** End of the host in `host[:port]`; 0 or less if it is invalid. */
function endOfHost(authority: string): i32 {
  if (authority.length && authority.charCodeAt(0) == 0x5b) {
    const close = authority.indexOf("]");
    return close > 0 && parseIpv6(authority, 1, close) ? close + 1 : -1;
  }
  const colon = authority.indexOf(":");
  const end = colon < 0 ? authority.length : colon;
  for (let i = 0; i < end; i++) {
    const unit = authority.charCodeAt(i);
    const lower = unit | 32;
    const letter = lower >= 97 && lower <= 122;
    const digit = unit >= 48 && unit <= 57;
    if (!letter && !digit && unit != 0x2d && unit != 0x2e && unit != 0x5f) return -1;
  }
  return end;
}

function portOf(authority: string, from: i32, fallback: i32): i32 {
  if (from < 0 || from == authority.length) return fallback;
  if (authority.charCodeAt(from) != 0x3a || authority.length - from > 6) return -1;
  if (from + 1 == authority.length) return fallback;
  let port = 0;
  for (let i = from + 1; i < authority.length; i++) {
    const digit = authority.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    port = port * 10 + digit;
  }
  return port > 0 && port < 65536 ? port : -1;
}
