/** Upgrade headers (RFC 9110 section 7.8) of requests and of 101 responses. */
import { COMMA, equalsWord, skipBlanks, trimBlanks } from "./bytes.ts";
import { FLAG, type Head, NAME } from "./head.ts";

/** A protocol that a route allows: `text` as configured, `word` in lower case. */
export type UpgradeProtocol = { readonly text: Buffer; readonly word: Buffer };

export function makeUpgrades(names: readonly string[]): UpgradeProtocol[] {
  return names.map((name) => ({ text: Buffer.from(name), word: Buffer.from(name.toLowerCase()) }));
}

const WEBSOCKET = Buffer.from("websocket");

export function isWebSocket({ word }: UpgradeProtocol): boolean {
  return word.equals(WEBSOCKET);
}

/** Whether a 101 confirms the protocol: it has `Connection: upgrade` and lists the protocol in Upgrade. */
export function confirmsUpgrade(response: Head, protocol: UpgradeProtocol): boolean {
  return (response.flags & FLAG.upgrade) !== 0 && findProtocol(response, [protocol]) !== null;
}

/** Returns the first of the head's Upgrade protocols that is one of `protocols`, or null. */
export function findProtocol(head: Head, protocols: readonly UpgradeProtocol[]): UpgradeProtocol | null {
  const { bytes } = head;
  for (let i = head.findKnown(NAME.upgrade); i >= 0; i = head.findKnown(NAME.upgrade, i + 1)) {
    const end = head.valueEnd(i);
    for (let at = head.valueStart(i); at < end; ) {
      let stop = bytes.indexOf(COMMA, at);
      if (stop < 0 || stop > end) stop = end;
      const from = skipBlanks(bytes, at, stop);
      const to = trimBlanks(bytes, from, stop);
      for (const protocol of protocols) if (equalsWord(bytes, from, to, protocol.word)) return protocol;
      at = stop + 1;
    }
  }
  return null;
}
