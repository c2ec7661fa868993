/**
 * Upgrades: which requests may ask the endpoint for another protocol. All other Upgrade fields are hop-by-hop, and are not
 * forwarded.
 */
import { FLAG, FRAMING } from "../http/head.ts";
import { isGetMethod } from "../http/method.ts";
import { findProtocol, type UpgradeProtocol } from "../http/upgrade.ts";
import type { Exchange } from "./exchange.ts";

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
