/**
 * Decides whether a request names another host than its TLS handshake (RFC 9110 section 15.5.20). The server name of the
 * handshake selects the certificate, and rules before and behind the proxy may rely on it: without this check a client
 * could pass them under one name, and then request another.
 */

import { isIP } from "node:net";
import { toLower } from "../http/bytes.ts";
import { findHostEnd } from "../http/fields.ts";
import { PART } from "../http/head.ts";
import type { Exchange } from "./exchange.ts";
import { isFromTrustedPeer } from "./forwarded.ts";

/**
 * Returns false if the client requested a server name in its handshake, the request has another name as its host, and
 * it is not from a trusted proxy, which forwards requests for other hosts. An address is not sent as a server name (RFC
 * 6066 section 3), so it fits any.
 */
export function fitsHandshake(x: Exchange): boolean {
  const { tls } = x;
  if (tls === null || tls.serverName === "") return true;
  const { bytes, parts } = x.request;
  const start = parts[PART.authority]!;
  const end = findHostEnd(bytes, start, parts[PART.authority + 1]!);
  return start === end || isName(tls.serverName, bytes, start, end) || isAddress(x, start, end) || isFromTrustedPeer(x);
}

/** Compares without regard to case and to one trailing dot of `name`, which is in lower case. */
function isName(name: string, bytes: Uint8Array, start: number, end: number): boolean {
  const length = name.endsWith(".") ? name.length - 1 : name.length;
  if (end - start !== length) return false;
  for (let i = 0; i < length; i++) if (toLower(bytes[start + i]!) !== name.charCodeAt(i)) return false;
  return true;
}

function isAddress({ request }: Exchange, start: number, end: number): boolean {
  const host = request.text(start, end);
  return isIP(host.startsWith("[") ? host.slice(1, -1) : host) !== 0;
}
