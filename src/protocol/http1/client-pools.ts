/**
 * Idle connections to endpoints that belong to one client's connection, because they begin with a PROXY protocol header
 * about it: to the endpoint, whatever follows comes from that client, so they are never used for another. They are closed
 * with it. Those of all clients together are bounded by the pool of the endpoint.
 */
import type { Pool } from "../../cluster/pool.ts";
import type { Connection } from "../../net/connection.ts";
import type { ClientConnection } from "./client-connection.ts";

type EndpointPool = Pool<ClientConnection>;

class ClientPools {
  /** By the pool of the endpoint, which is closed when no version uses it any more. */
  readonly #pools = new Map<EndpointPool, EndpointPool>();

  of(endpoint: EndpointPool): EndpointPool {
    let pool = this.#pools.get(endpoint);
    if (pool === undefined) {
      this.#dropClosed();
      this.#pools.set(endpoint, (pool = endpoint.divide()));
    }
    return pool;
  }

  #dropClosed(): void {
    for (const [endpoint, pool] of this.#pools) {
      if (!endpoint.isClosed) continue;
      pool.close();
      this.#pools.delete(endpoint);
    }
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
  }
}

const clients = new WeakMap<Connection, ClientPools>();

/** The pool of a client's connection for the endpoint with that pool. */
export function clientPool(client: Connection, endpoint: EndpointPool): EndpointPool {
  let pools = clients.get(client);
  if (pools === undefined) {
    clients.set(client, (pools = new ClientPools()));
    client.closesWith(pools);
  }
  return pools.of(endpoint);
}
