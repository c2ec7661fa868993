import { ATTRIBUTE, RESULT } from "./abi";
import { readAttribute } from "./attributes";
import { Cluster } from "./cluster";
import { setResult } from "./exchange";
import { cluster_choose } from "./imports";
import { check } from "./status";

/**
 * A connection that was just accepted, in `onConnection`. Nothing has been read from it but a header of the PROXY
 * protocol: there is no request, and no response can be sent.
 */
// @ts-ignore: decorator
@final
export class Connection {
  /**
   * The peer's IP address, or the one in its PROXY protocol header; never one of X-Forwarded-For. `unknown` on a Unix
   * socket.
   */
  get clientAddress(): string {
    return readAttribute(ATTRIBUTE.client_address);
  }

  /** The load balancer that sent a PROXY protocol header, by its address (`unix` on a Unix socket); empty without one. */
  get proxyPeer(): string {
    return readAttribute(ATTRIBUTE.proxy_peer);
  }

  /** The address and port to which the client connected, as in that header. */
  get proxyDestination(): string {
    return readAttribute(ATTRIBUTE.proxy_destination);
  }

  /** The value of a TLV of that header by its type, one byte a code unit; empty without it. 1: ALPN, 2: authority, 5: unique id. */
  proxyTlv(type: u8): string {
    return readAttribute(ATTRIBUTE.proxy_tlv + <i32>type);
  }

  /** Likewise of the TLV of TLS: 33: version, 34: common name of the client's verified certificate, 35: cipher. */
  proxySslTlv(type: u8): string {
    return readAttribute(ATTRIBUTE.proxy_ssl_tlv + <i32>type);
  }

  /** The listener's name. */
  get listener(): string {
    return readAttribute(ATTRIBUTE.listener);
  }

  /** An id that is unique among connections and requests of this process, for logs. */
  get id(): string {
    return readAttribute(ATTRIBUTE.exchange_id);
  }

  /**
   * Selects the initial cluster of each request of the connection. Routes are still matched, and a choice for the request
   * takes precedence. If several plugins of the chain choose, the last choice applies.
   */
  choose(cluster: Cluster): void {
    check(cluster_choose(cluster.id), "cannot choose cluster", cluster.name);
  }

  /**
   * Closes the connection by a reset (a Unix socket by its end), without a response. It is counted in
   * `sluice_connections_denied_total`, and later plugins of the chain are not called. The rest of the hook still runs
   * unless you `return`.
   */
  deny(): void {
    setResult(RESULT.reject);
  }
}

export const connection = new Connection();
