/** The pool of a worker's exchanges. */
import { HeadPool } from "../http/head-pool.ts";
import type { HookCaller } from "../plugin/host/hook-context.ts";
import { Exchange } from "./exchange.ts";

const MAX_FREE = 1024;
/** Exchanges with a larger head area are not pooled, so that its memory is freed, bytes. */
const MAX_HEAD = 16 * 1024;

export class ExchangePool {
  readonly #free: Exchange[] = [];
  readonly #heads = new HeadPool();
  #nextId = 1;
  readonly #caller: HookCaller | null;

  constructor(caller: HookCaller | null = null) {
    this.#caller = caller;
  }

  take(): Exchange {
    const x = this.#free.pop() ?? new Exchange(this.#heads);
    x.id = this.nextId();
    x.caller = this.#caller;
    return x;
  }

  nextId(): number {
    const id = this.#nextId;
    this.#nextId = id === 0x7fffffff ? 1 : id + 1;
    return id;
  }

  giveBack(x: Exchange): void {
    if (this.#free.length < MAX_FREE && x.request.bytes.length <= MAX_HEAD) this.#free.push(x);
  }
}
