/** Addresses as peers and headers write them, in the one form that plugins, logs and lists of networks compare. */
import { isIP, SocketAddress } from "node:net";

const MAPPED = "::ffff:";

/**
 * The address that this text is: IPv4 as it is, IPv6 as RFC 5952 writes it, an IPv4 address in IPv6 as that IPv4 address.
 * Empty for everything else: a zone (`fe80::1%eth0`) means nothing on another machine, and would pass by lists of
 * networks; leading zeros are read as octal by some.
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
 * The same of an entry of X-Forwarded-For or a node of Forwarded: `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`. A
 * port may be an obfuscated one (RFC 7239 section 6.3).
 */
export function readNode(text: string): string {
  const [, bracketed, before, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}|_[\w.-]+))?$/.exec(text) ?? [];
  if (port !== undefined && Number(port) > 65_535) return "";
  if (bracketed !== undefined) return bracketed.includes(":") ? readAddress(bracketed) : "";
  return readAddress(before ?? text);
}

/** The address of a socket's other end, without the zone that is this machine's own; empty for a Unix socket. */
export function readPeer(remote: string): string {
  return readAddress(remote.replace(/%.*$/s, ""));
}
