/** Who the client is: the peer, or what X-Forwarded-For says when the peer is a trusted proxy. */
import { isIP } from "node:net";
import { FIELD_WORDS, NAME, NAME_ID, VALUE_END, VALUE_START } from "../http/head.ts";
import type { Exchange } from "./exchange.ts";
import type { ListenerState } from "./snapshot.ts";

/** Fields that say where a request came from: anyone can write them. */
const UNTRUSTED =
  (1 << NAME["x-forwarded-for"]) |
  (1 << NAME["x-forwarded-proto"]) |
  (1 << NAME["x-forwarded-host"]) |
  (1 << NAME["x-forwarded-port"]) |
  (1 << NAME["x-forwarded-other"]) |
  (1 << NAME["x-real-ip"]) |
  (1 << NAME.forwarded);

/**
 * Sets the client's address. From a peer that is not trusted X-Forwarded-* are taken away before any rule or plugin sees
 * them (anyone can write them). From a trusted one the client is the right-most address that is not itself trusted.
 */
export function believeForwarded(x: Exchange): void {
  const listener = x.listener!;
  const head = x.request;
  if (listener.trusted !== null && isTrusted(listener, x.client!.peer)) {
    const address = rightmostUntrusted(listener, x);
    if (address !== "") x.clientAddress = address;
    return;
  }
  if ((head.known & UNTRUSTED) === 0) return;
  const { fields } = head;
  for (let i = 0, at = NAME_ID; i < head.count; i++, at += FIELD_WORDS) {
    const id = fields[at]!;
    if (id < NAME.lookalike && (UNTRUSTED & (1 << id)) !== 0) head.removeAt(i);
  }
  head.known &= ~UNTRUSTED;
}

function isTrusted(listener: ListenerState, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && listener.trusted!.check(address, family === 4 ? "ipv4" : "ipv6");
}

function rightmostUntrusted(listener: ListenerState, x: Exchange): string {
  const head = x.request;
  const listed: string[] = [];
  for (let i = head.findKnown(NAME["x-forwarded-for"]); i >= 0; i = head.findKnown(NAME["x-forwarded-for"], i + 1)) {
    const at = i * FIELD_WORDS;
    listed.push(...head.text(head.fields[at + VALUE_START]!, head.fields[at + VALUE_END]!).split(","));
  }
  let last = "";
  for (const entry of listed.reverse()) {
    const address = bare(entry.trim());
    if (isIP(address) === 0) return last;
    if (!isTrusted(listener, address)) return address;
    last = address;
  }
  return last;
}

/** Without port, brackets and the IPv4-mapped prefix: `[::1]:80`, `::ffff:10.0.0.1`, `10.0.0.1:80`. */
function bare(text: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1];
  const address = bracketed ?? (/^[^:]*:\d+$/.test(text) ? text.slice(0, text.indexOf(":")) : text);
  return address.toLowerCase().startsWith("::ffff:") && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
}
