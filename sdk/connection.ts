import { ATTRIBUTE, RESULT } from "./abi";
import { readAttribute } from "./attributes";
import { Cluster } from "./cluster";
import { setResult } from "./exchange";
import { cluster_choose } from "./imports";
import { check } from "./status";

/**
 * A client's connection that was just accepted. Nothing was read from it: there is no request yet, and nothing to
 * answer.
 */
// @ts-ignore: decorator
@final
export class Connection {
  /**
   * The peer's IP address. It is never one of X-Forwarded-For: behind another proxy it is that proxy's. `unknown` on a
   * Unix socket.
   */
  get clientAddress(): string {
    return readAttribute(ATTRIBUTE.client_address);
  }

  /** The listener's name. */
  get listener(): string {
    return readAttribute(ATTRIBUTE.listener);
  }

  /** A number that no other connection or request of this process has: for logs. */
  get id(): string {
    return readAttribute(ATTRIBUTE.exchange_id);
  }

  /**
   * Lets each of its requests begin with this cluster chosen: rules are matched all the same, and whatever a plugin
   * chooses for a request goes before it. The last plugin of the chain that chooses has its way.
   */
  choose(cluster: Cluster): void {
    check(cluster_choose(cluster.id), "cannot choose cluster", cluster.name);
  }

  /**
   * Closes it by a reset, without an answer (on a Unix socket, by its end). It is counted in
   * `sluice_connections_denied_total`, and no plugin behind this one is asked. The rest of the hook still runs: `return`
   * when it should not.
   */
  deny(): void {
    setResult(RESULT.reject);
  }
}

export const connection = new Connection();
