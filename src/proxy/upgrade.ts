/** Decides which requests are forwarded with an Upgrade header. Others are hop-by-hop, and dropped. */
import { FLAG, FRAMING } from "../http/head.ts";
import { isGetMethod } from "../http/method.ts";
import { findProtocol, isWebSocket, type UpgradeProtocol } from "../http/upgrade.ts";
import { findKey } from "../http/websocket.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Returns the first requested protocol that the route allows; null: the request is forwarded as a plain one. Only a GET
 * without a body can become a tunnel: all bytes after its headers then belong to the tunnel.
 */
export function selectUpgrade({ request, route, client }: Exchange): UpgradeProtocol | null {
  if ((request.flags & FLAG.upgrade) === 0 || client!.openTunnel === undefined || !isGetMethod(request)) return null;
  if (request.framing !== FRAMING.none && (request.framing !== FRAMING.length || request.length > 0)) return null;
  return findProtocol(request, route!.upgrades);
}

/** Whether a WebSocket upgrade has the key that its 101 needs; over HTTP/2 no endpoint checks it (RFC 8441 section 5). */
export function hasWebSocketKey({ request, upgrade }: Exchange): boolean {
  return (request.flags & FLAG.connect) !== 0 || !isWebSocket(upgrade!) || findKey(request) !== "";
}

/** Whether the exchange becomes a tunnel: the endpoint sent a 101 and no plugin has replaced it. */
export function isUpgraded({ attempt, localStatus, response }: Exchange): boolean {
  return attempt.upgraded !== null && localStatus === 0 && response.status === 101;
}
