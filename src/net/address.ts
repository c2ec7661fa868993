/** Normalises addresses of peers and headers to the form that plugins, logs and lists of networks compare. */
import { isIP, SocketAddress } from "node:net";

const MAPPED = "::ffff:";

/**
 * Normalises an address: IPv4 unchanged, IPv6 as in RFC 5952, IPv4-mapped IPv6 as IPv4. Returns "" for anything else:
 * a zone (`fe80::1%eth0`) is meaningless on another machine and would not match lists of networks; leading zeros are
 * octal to some parsers.
 */
export function readAddress(text: string): string {
  const family = text.includes("%") ? 0 : isIP(text);
  if (family !== 6) return family === 4 ? text : "";
  const { address } = new SocketAddress({ address: text, family: "ipv6" });
  return address.startsWith(MAPPED) && isIP(address.slice(MAPPED.length)) === 4
    ? address.slice(MAPPED.length)
    : address;
}

/**
 * Normalises the address in an entry of X-Forwarded-For or a node of Forwarded: `192.0.2.1:80`, `[2001:db8::1]:80`,
 * `2001:db8::1`. A port may be an obfuscated one (RFC 7239 section 6.3).
 */
export function readNode(text: string): string {
  const [, bracketed, before, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}|_[\w.-]+))?$/.exec(text) ?? [];
  if (port !== undefined && Number(port) > 65_535) return "";
  if (bracketed !== undefined) return bracketed.includes(":") ? readAddress(bracketed) : "";
  return readAddress(before ?? text);
}

/** The peer's address without this machine's zone; empty for a Unix socket. */
export function readPeer(remote: string): string {
  return readAddress(remote.replace(/%.*$/s, ""));
}
