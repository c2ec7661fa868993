import { ATTRIBUTE, RESULT } from "./abi";
import { readAttribute } from "./attributes";
import { Cluster } from "./cluster";
import { setResult } from "./exchange";
import { cluster_choose } from "./imports";
import { check } from "./status";

/**
 * A connection that was just accepted, in `onConnection`. Nothing has been read from it: there is no request, and no
 * response can be sent.
 */
// @ts-ignore: decorator
@final
export class Connection {
  /**
   * The peer's IP address, never one of X-Forwarded-For: behind another proxy it is the proxy's. `unknown` on a Unix
   * socket.
   */
  get clientAddress(): string {
    return readAttribute(ATTRIBUTE.client_address);
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
