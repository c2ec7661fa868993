import { ATTRIBUTE } from "./abi";
import { readAttribute } from "./attributes";

/** The client's connection, of a request or in `onConnection`. */
export class ClientConnection {
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
}
