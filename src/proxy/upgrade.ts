/**
 * Upgrades (RFC 9110 section 7.8): which requests may ask the endpoint for another protocol, and whether a 101 is what was
 * asked for. All other Upgrade fields are hop-by-hop, and are not forwarded.
 */
import { COMMA, equalsWord, HTAB, SPACE } from "../http/bytes.ts";
import { FIELD_WORDS, FLAG, FRAMING, type Head, NAME, VALUE_END, VALUE_START } from "../http/head.ts";
import { isGetMethod } from "../http/method.ts";
import type { Exchange } from "./exchange.ts";

/** A protocol that a route allows, as configured, and in lower case. */
export type UpgradeProtocol = { readonly text: Buffer; readonly word: Buffer };

export function makeUpgrades(names: readonly string[]): UpgradeProtocol[] {
  return names.map((name) => ({ text: Buffer.from(name), word: Buffer.from(name.toLowerCase()) }));
}

/**
 * The protocol that the request asks for and its route allows, the first of several; null: it is forwarded as a plain
 * request. Only a GET without a body can become a tunnel: bytes after its head are then the tunnel's beyond doubt.
 */
export function selectUpgrade({ request, route, client }: Exchange): UpgradeProtocol | null {
  if ((request.flags & FLAG.upgrade) === 0 || client!.openTunnel === undefined || !isGetMethod(request)) return null;
  if (request.framing !== FRAMING.none && (request.framing !== FRAMING.length || request.length > 0)) return null;
  return findProtocol(request, route!.upgrades);
}

/** Whether the exchange has become a tunnel, or is about to: no plugin has made another response of the 101. */
export function isUpgraded({ attempt, localStatus, response }: Exchange): boolean {
  return attempt.upgraded !== null && localStatus === 0 && response.status === 101;
}

/** Whether a 101 switches to that protocol. It names it, and says that it is for this hop. */
export function confirmsUpgrade(response: Head, protocol: UpgradeProtocol): boolean {
  return (response.flags & FLAG.upgrade) !== 0 && findProtocol(response, [protocol]) !== null;
}

function findProtocol(head: Head, protocols: readonly UpgradeProtocol[]): UpgradeProtocol | null {
  const { bytes, fields } = head;
  for (let i = head.findKnown(NAME.upgrade); i >= 0; i = head.findKnown(NAME.upgrade, i + 1)) {
    const end = fields[i * FIELD_WORDS + VALUE_END]!;
    for (let at = fields[i * FIELD_WORDS + VALUE_START]!; at < end; ) {
      let stop = bytes.indexOf(COMMA, at);
      if (stop < 0 || stop > end) stop = end;
      const from = skipBlanks(bytes, at, stop);
      let to = stop;
      while (to > from && isBlank(bytes[to - 1]!)) to--;
      for (const protocol of protocols) if (equalsWord(bytes, from, to, protocol.word)) return protocol;
      at = stop + 1;
    }
  }
  return null;
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === HTAB;
}

function skipBlanks(bytes: Buffer, at: number, end: number): number {
  while (at < end && isBlank(bytes[at]!)) at++;
  return at;
}
