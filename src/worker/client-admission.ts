/**
 * Decides on a new connection by its client's address, before any byte behind a PROXY protocol header is read: `allow` and
 * `deny` of the listener, `limits.connectionRatePerClient`, `limits.connectionsPerClient`. Refused connections are counted
 * and logged, rate-limited.
 */
import type { ClientCounts } from "../net/client-counts.ts";
import { type ClientRows, networkOf } from "../net/client-rows.ts";
import type { Connection } from "../net/connection.ts";
import { hasAddress } from "../net/networks.ts";
import type { RateTable } from "../net/rate-table.ts";
import { LISTENER_CELLS, REFUSALS } from "../observe/series.ts";
import type { WorkerContext } from "../proxy/context.ts";
import { isTrusted } from "../proxy/forwarded.ts";
import type { Port } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";

/** An accepted connection, or a UDP session. */
export type Client = Pick<Connection, "peerAddress" | "proxied">;

type Refusal = (typeof REFUSALS)[number];

export class ClientAdmission {
  readonly #context: WorkerContext;
  readonly #clients: ClientCounts;
  readonly #rates: RateTable;
  /** Connections that are counted for their client: those accepted under `limits.connectionsPerClient`. */
  readonly #counted = new Map<Client, ClientRows>();

  constructor(context: WorkerContext, clients: ClientCounts, rates: RateTable) {
    this.#context = context;
    this.#clients = clients;
    this.#rates = rates;
  }

  /** Counts a new connection for its client; returns false if it is refused. */
  admit(connection: Client, port: Port): boolean {
    const state = port.state!;
    const { limits } = state.plan;
    const { peerAddress: client } = connection;
    const list = refusingList(state, client);
    if (list !== null) return this.refuse(port, list, { client: client || "unknown" });
    if (limits.connectionsPerClient === 0 && limits.connectionRatePerClient === undefined) return true;
    // Proxies have connections of many clients, and of their own.
    if (client === "" || connection.proxied?.isLocal === true || isTrusted(state, client)) return true;
    return this.#isWithinRate(connection, port) && this.#isWithinCount(connection, port);
  }

  #isWithinRate({ peerAddress: client }: Client, port: Port): boolean {
    const { slot, limits } = port.state!.plan;
    const rate = limits.connectionRatePerClient;
    if (rate === undefined) return true;
    const rates = this.#rates;
    if (rates.take(rates.rowsOf(`connections ${slot} ${networkOf(client)}`), rate)) return true;
    return this.refuse(port, "connectionRatePerClient", { limit: rate.rate, client });
  }

  #isWithinCount(connection: Client, port: Port): boolean {
    const { slot, limits } = port.state!.plan;
    const limit = limits.connectionsPerClient;
    if (limit === 0) return true;
    const { peerAddress: client } = connection;
    const rows = this.#clients.enter(slot, client, limit);
    if (rows === null) return this.refuse(port, "connectionsPerClient", { limit, client });
    this.#counted.set(connection, rows);
    return true;
  }

  /** Counts and logs a refused connection. */
  refuse(port: Port, reason: Refusal, fields: Readonly<Record<string, string | number>>): false {
    const { cells, warnings } = this.#context;
    const { plan } = port.state!;
    cells[plan.cells + LISTENER_CELLS.refused + REFUSALS.indexOf(reason)]!++;
    if (warnings.admits("connection_refused", `${plan.name} ${reason}`)) {
      const isList = reason === "allow" || reason === "deny";
      const cause = isList ? `its address is refused by ${reason}` : `limits.${reason} is reached`;
      warnings.write(`client connection refused: ${cause}`, { listener: plan.name, ...fields });
    }
    return false;
  }

  closed(connection: Client): void {
    const rows = this.#counted.get(connection);
    if (rows === undefined) return;
    this.#counted.delete(connection);
    this.#clients.leave(rows);
  }
}

/** The list that refuses the address; null: none. `deny` has precedence. A client without an address is in no list. */
export function refusingList({ allowed, denied }: ListenerState, client: string): "allow" | "deny" | null {
  if (denied !== null && hasAddress(denied, client)) return "deny";
  return allowed !== null && !hasAddress(allowed, client) ? "allow" : null;
}
