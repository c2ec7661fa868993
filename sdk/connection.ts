import { ATTRIBUTE, RESULT } from "./abi";
import { readAttribute } from "./attributes";
import { ClientConnection } from "./client-connection";
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
export class Connection extends ClientConnection {
  /**
   * The peer's IP address, or the one in its PROXY protocol header; never one of X-Forwarded-For. `unknown` on a Unix
   * socket.
   */
  get clientAddress(): string {
    return readAttribute(ATTRIBUTE.client_address);
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
