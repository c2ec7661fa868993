/**
 * Where a request comes from, decided once: rules, plugins, redirects, logs and the endpoint all read what stands here.
 * From a peer outside `trustedProxies` nothing that a request says of it counts. From one inside, the client's address,
 * scheme, host and port do:
 *
 * - Address: X-Forwarded-For from the right, up to the first address that is not itself trusted. Without that header:
 *   X-Real-IP. Where a trusted proxy says something that is no address, the client is unknown: it is not the proxy.
 * - Scheme, host, port: X-Forwarded-Proto, -Host and -Port. Of several values the last counts, which the nearest proxy
 *   wrote. A value that is not valid is removed and counts for nothing. A port that the host names wins.
 * - Forwarded (RFC 7239) counts only where none of these is there: most proxies pass it on unread. The endpoint gets
 *   X-Forwarded-* in its place, so that both cannot contradict each other.
 */
import { isIP } from "node:net";
import { equalsWord } from "../http/bytes.ts";
import { isAuthority, portOf } from "../http/fields.ts";
import { FIELD_WORDS, type Head, NAME, NAME_ID, PART, VALUE_END, VALUE_START } from "../http/head.ts";
import { readAddress, readNode } from "../net/address.ts";
import type { Exchange } from "./exchange.ts";
import { readForwarded } from "./rfc7239.ts";
import type { ListenerState } from "./snapshot.ts";

const FOR = NAME["x-forwarded-for"];
const PROTO = NAME["x-forwarded-proto"];
const HOST = NAME["x-forwarded-host"];
const PORT = NAME["x-forwarded-port"];
const REAL_IP = NAME["x-real-ip"];

/** Headers that say where a request came from: anyone can write them. */
const SAYS_WHERE =
  (1 << FOR) |
  (1 << PROTO) |
  (1 << HOST) |
  (1 << PORT) |
  (1 << NAME["x-forwarded-other"]) |
  (1 << REAL_IP) |
  (1 << NAME.forwarded);
const BELIEVED = (1 << FOR) | (1 << PROTO) | (1 << HOST) | (1 << PORT);

/** The address of a client that has none, as over a Unix socket. */
export const UNKNOWN = "unknown";

const HTTP = Buffer.from("http");
const HTTPS = Buffer.from("https");
// As some proxies call the scheme of a request that asks for a WebSocket.
const WS = Buffer.from("ws");
const WSS = Buffer.from("wss");

/** Sets the client's address, and the request's scheme and authority. Runs before any rule or plugin. */
export function applyForwarded(x: Exchange): void {
  const head = x.request;
  if ((head.known & SAYS_WHERE) === 0) return;
  const listener = x.listener!;
  if (listener.trusted === null || !isTrusted(listener, x.client!.peer)) {
    removeKnown(head, SAYS_WHERE);
    return;
  }
  if ((head.known & (1 << NAME.forwarded)) !== 0) {
    // One that cannot be read, or stands beside others and was passed on unread, may have hidden who the client is.
    if ((head.known & BELIEVED) !== 0 || !takeForwarded(head)) x.clientAddress = UNKNOWN;
    removeKnown(head, 1 << NAME.forwarded);
  }
  believeAddress(x, listener);
  believeScheme(x);
  believeHost(head);
  believePort(head);
}

function isTrusted(listener: ListenerState, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && listener.trusted!.check(address, family === 4 ? "ipv4" : "ipv6");
}

function removeKnown(head: Head, names: number): void {
  const { fields } = head;
  for (let i = 0, at = NAME_ID; i < head.count; i++, at += FIELD_WORDS) {
    const id = fields[at]!;
    if (id < NAME.lookalike && (names & (1 << id)) !== 0) head.removeAt(i);
  }
  head.known &= ~names;
}

function valueText(head: Head, field: number): string {
  const at = field * FIELD_WORDS;
  return head.text(head.fields[at + VALUE_START]!, head.fields[at + VALUE_END]!);
}

function addField(head: Head, id: number, name: string, value: string): void {
  head.add(Buffer.from(name, "latin1"), Buffer.from(value, "latin1"), id);
}

/** False: it is not well-formed. */
function takeForwarded(head: Head): boolean {
  const values: string[] = [];
  for (let i = head.findKnown(NAME.forwarded); i >= 0; i = head.findKnown(NAME.forwarded, i + 1))
    values.push(valueText(head, i));
  const said = readForwarded(values.join(","));
  if (said === null) return false;
  if (said.nodes.length > 0) addField(head, FOR, "x-forwarded-for", said.nodes.join(", "));
  if (said.proto !== "") addField(head, PROTO, "x-forwarded-proto", said.proto);
  if (said.host !== "") addField(head, HOST, "x-forwarded-host", said.host);
  return true;
}

function believeAddress(x: Exchange, listener: ListenerState): void {
  const head = x.request;
  const real = keepLast(head, REAL_IP);
  if (real >= 0 && head.findKnown(FOR) < 0) {
    const address = readAddress(valueText(head, real));
    if (address !== "") addField(head, FOR, "x-forwarded-for", address);
    else x.clientAddress = UNKNOWN;
  }
  const client = rightmostUntrusted(listener, head);
  if (client !== "") x.clientAddress = client;
  if (real < 0) return;
  head.removeAt(real);
  if (x.clientAddress !== UNKNOWN) addField(head, REAL_IP, "x-real-ip", x.clientAddress);
}

/** UNKNOWN where a proxy that is trusted says no address; empty where nothing is said. */
function rightmostUntrusted(listener: ListenerState, head: Head): string {
  let client = "";
  for (let i = head.count - 1; i >= 0; i--) {
    if (head.fields[i * FIELD_WORDS + NAME_ID] !== FOR) continue;
    const list = valueText(head, i);
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

/** Leaves of a header its last value alone; the index of its field, or -1. */
function keepLast(head: Head, id: number): number {
  let last = head.findKnown(id);
  if (last < 0) return -1;
  for (let next = head.findKnown(id, last + 1); next >= 0; next = head.findKnown(id, last + 1)) {
    head.removeAt(last);
    last = next;
  }
  const at = last * FIELD_WORDS;
  const { bytes, fields } = head;
  const end = fields[at + VALUE_END]!;
  let start = fields[at + VALUE_START]!;
  const comma = bytes.subarray(start, end).lastIndexOf(",");
  if (comma >= 0) start += comma + 1;
  while (start < end && (bytes[start] === 32 || bytes[start] === 9)) start++;
  fields[at + VALUE_START] = start;
  return last;
}

function believeScheme(x: Exchange): void {
  const head = x.request;
  const index = keepLast(head, PROTO);
  if (index < 0) return;
  const at = index * FIELD_WORDS;
  const [start, end] = [head.fields[at + VALUE_START]!, head.fields[at + VALUE_END]!];
  const is = (word: Buffer): boolean => equalsWord(head.bytes, start, end, word);
  const scheme = is(HTTPS) || is(WSS) ? HTTPS : is(HTTP) || is(WS) ? HTTP : null;
  if (scheme === null) {
    removeKnown(head, 1 << PROTO);
    return;
  }
  x.scheme = scheme === HTTPS ? "https" : "http";
  const valueAt = head.append(scheme, 0, scheme.length);
  head.fields[at + VALUE_START] = valueAt;
  head.fields[at + VALUE_END] = valueAt + scheme.length;
}

function believeHost(head: Head): void {
  const index = keepLast(head, HOST);
  if (index < 0) return;
  const at = index * FIELD_WORDS;
  const [start, end] = [head.fields[at + VALUE_START]!, head.fields[at + VALUE_END]!];
  if (isAuthority(head.bytes, start, end)) {
    head.parts[PART.authority] = start;
    head.parts[PART.authority + 1] = end;
  } else removeKnown(head, 1 << HOST);
}

/** The ports of both schemes are not written out: some proxies say the one that they were reached by, not the client's. */
function believePort(head: Head): void {
  const index = keepLast(head, PORT);
  if (index < 0) return;
  const text = valueText(head, index);
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  const { parts } = head;
  const named = portOf(head.bytes, parts[PART.authority]!, parts[PART.authority + 1]!);
  const isValid = port > 0 && port <= 65_535;
  if (!isValid || (named >= 0 && named !== port)) removeKnown(head, 1 << PORT);
  else if (named < 0 && port !== 80 && port !== 443 && parts[PART.authority + 1]! > parts[PART.authority]!) {
    const authority = Buffer.from(`${head.partText(PART.authority)}:${port}`, "latin1");
    head.setPart(PART.authority, authority, 0, authority.length);
  }
}
