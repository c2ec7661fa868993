/**
 * Determines the origin of a request once, for routes, plugins, redirects, logs and the endpoint. Forwarded headers of a
 * peer outside `trustedProxies` are dropped. Those of a trusted peer set the client's address, scheme, host and port:
 *
 * - Address: X-Forwarded-For from the right, up to the first address that is not itself trusted. Without that header:
 *   X-Real-IP. If a trusted proxy sent no valid address, the client is unknown; the proxy's own address is not used.
 * - Scheme, host, port: X-Forwarded-Proto, -Host and -Port. Of several values the last is used, which the nearest proxy
 *   wrote. An invalid value is removed and ignored. A port in the host has precedence.
 * - Forwarded (RFC 7239) is used only if none of these is present, since most proxies forward it unread. The endpoint gets
 *   X-Forwarded-* in its place, so that the two cannot contradict each other.
 */
import { equalsWord, skipBlanks } from "../http/bytes.ts";
import { isAuthority, portOf } from "../http/fields.ts";
import { FIELD_WORDS, type Head, NAME, NAME_ID, PART } from "../http/head.ts";
import { type Scheme, VERSION_NUMBERS } from "../http/protocol.ts";
import { readAddress, readNode } from "../net/address.ts";
import { hasAddress } from "../net/networks.ts";
import type { TlsFacts } from "../net/tls-facts.ts";
import type { Exchange } from "./exchange.ts";
import { readForwarded } from "./rfc7239.ts";
import type { ListenerState } from "./snapshot.ts";

/** The name of this proxy in Via. */
export const PSEUDONYM = "sluice";

const FOR = NAME["x-forwarded-for"];
const PROTO = NAME["x-forwarded-proto"];
const HOST = NAME["x-forwarded-host"];
const PORT = NAME["x-forwarded-port"];
const REAL_IP = NAME["x-real-ip"];

/** Headers about the origin of a request, which any client can send. */
const ORIGIN_HEADERS =
  (1 << FOR) |
  (1 << PROTO) |
  (1 << HOST) |
  (1 << PORT) |
  (1 << NAME["x-forwarded-other"]) |
  (1 << REAL_IP) |
  (1 << NAME.forwarded);
const FORWARDED_HEADERS = (1 << FOR) | (1 << PROTO) | (1 << HOST) | (1 << PORT);

/** Of subject alternative names; others than these, and those with special characters, are left out. */
const NAMES = /(?<=^|, )(DNS|URI):([\w.:/@%+~*-]+)(?=,|$)/g;

/** The address of a client without one, such as of a Unix socket. */
export const UNKNOWN = "unknown";

const HTTP = Buffer.from("http");
const HTTPS = Buffer.from("https");
// Some proxies send these for requests that ask for a WebSocket.
const WS = Buffer.from("ws");
const WSS = Buffer.from("wss");

const CLIENT_CERTIFICATE = "x-forwarded-client-cert";

/** Sets the client's address, scheme, authority and certificate of the request. Runs before any route or plugin. */
export function applyForwarded(x: Exchange): void {
  applyReported(x);
  const tls = x.client!.tls;
  if (tls === null || tls.clientFingerprint === "") return;
  addField(x.request, NAME["x-forwarded-other"], CLIENT_CERTIFICATE, describeCertificate(tls));
}

/** The value as Envoy has it. */
function describeCertificate({ clientFingerprint, clientSubject, clientNames }: TlsFacts): string {
  const subject = Buffer.from(clientSubject).toString("latin1").replace(/["\\]/g, "\\$&");
  const names = Array.from(clientNames.matchAll(NAMES), ([, kind, name]) => `;${kind}=${name}`);
  return `Hash=${clientFingerprint};Subject="${subject}"${names.join("")}`;
}

function applyReported(x: Exchange): void {
  const head = x.request;
  if ((head.known & ORIGIN_HEADERS) === 0) return;
  const listener = x.listener!;
  if (!isTrusted(listener, x.client!.peer)) {
    head.removeKnown(ORIGIN_HEADERS);
    return;
  }
  if ((head.known & (1 << NAME.forwarded)) !== 0) {
    // If it is malformed, or another proxy ignored it, the other headers may not contain the client.
    if ((head.known & FORWARDED_HEADERS) !== 0 || !takeForwarded(head)) x.clientAddress = UNKNOWN;
    head.removeKnown(1 << NAME.forwarded);
  }
  applyAddress(x, listener);
  applyScheme(x);
  applyHost(head);
  applyPort(head);
}

/** The request is from a peer in `trustedProxies`. */
export function isFromTrustedPeer({ listener, client }: Exchange): boolean {
  return isTrusted(listener!, client!.peer);
}

/** Whether a peer is in `trustedProxies`. */
export function isTrusted({ trusted }: ListenerState, address: string): boolean {
  return trusted !== null && hasAddress(trusted, address);
}

function addField(head: Head, id: number, name: string, value: string): void {
  head.add(Buffer.from(name, "latin1"), Buffer.from(value, "latin1"), id);
}

/** False: it is not well-formed. */
function takeForwarded(head: Head): boolean {
  const values: string[] = [];
  for (let i = head.findKnown(NAME.forwarded); i >= 0; i = head.findKnown(NAME.forwarded, i + 1))
    values.push(head.valueText(i));
  const forwarded = readForwarded(values.join(","));
  if (forwarded === null) return false;
  if (forwarded.nodes.length > 0) addField(head, FOR, "x-forwarded-for", forwarded.nodes.join(", "));
  if (forwarded.proto !== "") addField(head, PROTO, "x-forwarded-proto", forwarded.proto);
  if (forwarded.host !== "") addField(head, HOST, "x-forwarded-host", forwarded.host);
  return true;
}

function applyAddress(x: Exchange, listener: ListenerState): void {
  const head = x.request;
  const real = keepLast(head, REAL_IP);
  if (real >= 0 && head.findKnown(FOR) < 0) {
    const address = readAddress(head.valueText(real));
    if (address !== "") addField(head, FOR, "x-forwarded-for", address);
    else x.clientAddress = UNKNOWN;
  }
  const client = rightmostUntrusted(listener, head);
  if (client !== "") x.clientAddress = client;
  if (real < 0) return;
  head.removeAt(real);
  if (x.clientAddress !== UNKNOWN) addField(head, REAL_IP, "x-real-ip", x.clientAddress);
}

/** UNKNOWN if a trusted proxy sent no valid address; empty without the header. */
function rightmostUntrusted(listener: ListenerState, head: Head): string {
  let client = "";
  for (let i = head.count - 1; i >= 0; i--) {
    if (head.fields[i * FIELD_WORDS + NAME_ID] !== FOR) continue;
    const list = head.valueText(i);
    for (let end = list.length; end > 0; ) {
      const comma = list.lastIndexOf(",", end - 1);
      const entry = list.slice(comma + 1, end).trim();
      end = comma;
      if (entry === "") continue;
      const address = readNode(entry);
      if (address === "") return UNKNOWN;
      client = address;
      if (!isTrusted(listener, address)) return client;
    }
  }
  return client;
}

/** Removes all but the last value of a header. Returns the index of its field, or -1. */
function keepLast(head: Head, id: number): number {
  let last = head.findKnown(id);
  if (last < 0) return -1;
  for (let next = head.findKnown(id, last + 1); next >= 0; next = head.findKnown(id, last + 1)) {
    head.removeAt(last);
    last = next;
  }
  const { bytes } = head;
  const end = head.valueEnd(last);
  let start = head.valueStart(last);
  const comma = bytes.subarray(start, end).lastIndexOf(",");
  if (comma >= 0) start += comma + 1;
  head.setValue(last, skipBlanks(bytes, start, end), end);
  return last;
}

function applyScheme(x: Exchange): void {
  const head = x.request;
  const index = keepLast(head, PROTO);
  if (index < 0) return;
  const [start, end] = [head.valueStart(index), head.valueEnd(index)];
  const is = (word: Buffer): boolean => equalsWord(head.bytes, start, end, word);
  const scheme = is(HTTPS) || is(WSS) ? HTTPS : is(HTTP) || is(WS) ? HTTP : null;
  if (scheme === null) {
    head.removeKnown(1 << PROTO);
    return;
  }
  x.scheme = scheme === HTTPS ? "https" : "http";
  head.replaceValue(index, scheme);
}

function applyHost(head: Head): void {
  const index = keepLast(head, HOST);
  if (index < 0) return;
  const [start, end] = [head.valueStart(index), head.valueEnd(index)];
  if (isAuthority(head.bytes, start, end)) {
    head.parts[PART.authority] = start;
    head.parts[PART.authority + 1] = end;
  } else head.removeKnown(1 << HOST);
}

/** Default ports are ignored: some proxies send the port on which they were reached, not the client's. */
function applyPort(head: Head): void {
  const index = keepLast(head, PORT);
  if (index < 0) return;
  const text = head.valueText(index);
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  const { parts } = head;
  const named = portOf(head.bytes, parts[PART.authority]!, parts[PART.authority + 1]!);
  const isValid = port > 0 && port <= 65_535;
  if (!isValid || (named >= 0 && named !== port)) head.removeKnown(1 << PORT);
  else if (named < 0 && port !== 80 && port !== 443 && parts[PART.authority + 1]! > parts[PART.authority]!) {
    const authority = Buffer.from(`${head.partText(PART.authority)}:${port}`, "latin1");
    head.setPart(PART.authority, authority, 0, authority.length);
  }
}

/** `Downstream.forwarded` of a connection. */
export function makeForwarded(peer: string, scheme: Scheme, version: number): Buffer {
  return Buffer.from(
    `via: ${VERSION_NUMBERS[version]} ${PSEUDONYM}\r\nx-forwarded-for: ${peer}\r\nx-forwarded-proto: ${scheme}\r\nx-forwarded-host: `,
  );
}
