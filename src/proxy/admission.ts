/** Whether a connection may be: the plugins of its listener's chain are asked before a byte of it is read. */
import { LISTENER_CELLS } from "../observe/series.ts";
import { HOOK } from "../plugin/abi.ts";
import { OUTCOME } from "../plugin/outcome.ts";
import { Exchange, type Exchanges } from "./exchange.ts";
import type { ListenerState } from "./snapshot.ts";

const CONNECTION = 1 << HOOK.connection;

export class Admission {
  readonly #exchanges: Exchanges;
  readonly #cells: Float64Array;
  /** Stands for every connection in its turn. It is never one of a request, so its heads are empty. */
  readonly #x = new Exchange();

  constructor(exchanges: Exchanges, cells: Float64Array) {
    this.#exchanges = exchanges;
    this.#cells = cells;
  }

  /** In the order of the chain, until one denies it. One that failed under `reject` denies it as well. */
  admits({ hooks, chain, plan }: ListenerState, address: string): boolean {
    if ((hooks & CONNECTION) === 0) return true;
    const x = this.#x;
    x.reset();
    x.id = this.#exchanges.nextId();
    x.clientAddress = address;
    x.listenerName = plan.name;
    for (let i = 0; i < chain.length; i++) {
      if (chain[i]!.call(HOOK.connection, x) === OUTCOME.continue) continue;
      this.#cells[plan.cells + LISTENER_CELLS.denied]!++;
      return false;
    }
    return true;
  }
}
