import { ATTRIBUTE, RESULT } from "./abi";
import { readAttribute } from "./attributes";
import { setResult } from "./exchange";

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
   * Closes it by a reset, without an answer (on a Unix socket, by its end). It is counted in
   * `sluice_connections_denied_total`, and no plugin behind this one is asked. The rest of the hook still runs: `return`
   * when it should not.
   */
  deny(): void {
    setResult(RESULT.reject);
  }
}

export const connection = new Connection();
