/**
 * Health checks by plugins: ordered from the workers, where guests run, in turns. An order is answered, or its worker
 * is passed over: one that is stuck, ends, or has just taken another version does not end checking.
 */

import type { FromWorker, ToWorker } from "../worker/messages.ts";
import type { Duty } from "./endpoint-check.ts";
import { limitTime } from "./fair-timer.ts";
import type { Tell } from "./probe.ts";

export type CheckOrdersOptions = {
  /** Workers that serve the version in service. */
  readonly serving: () => readonly number[];
  readonly post: (worker: number, message: ToWorker) => void;
};

/** A worker ends a call itself when its time is over; a moment later it is taken for stuck. */
const MOMENT = 500;
/** Until a version has come to all workers. */
const PAUSE = 20;
const MOST_TRIES = 5;

type Order = {
  readonly duty: Duty;
  readonly tell: Tell;
  tries: number;
  worker: number;
  /** Ends the limit of its time, or of the pause before it is given again. */
  stopTimer: () => void;
};

export class CheckOrders {
  readonly #options: CheckOrdersOptions;
  /** By number: one that was given again has another, so a late answer finds none. */
  readonly #orders = new Map<number, Order>();
  /** Workers that owe an answer. */
  readonly #silent = new Set<number>();
  #last = 0;
  #turn = -1;

  constructor(options: CheckOrdersOptions) {
    this.#options = options;
  }

  /** Has a check made; what this returns gives it up, and nothing is told then. */
  begin(duty: Duty, tell: Tell): () => void {
    const order: Order = { duty, tell, tries: 0, worker: -1, stopTimer: () => undefined };
    this.#give(order);
    return () => this.#withdraw(order);
  }

  /** What a worker says of an order. */
  receive(worker: number, { number, result }: Extract<FromWorker, { type: "checked" }>): void {
    this.#silent.delete(worker);
    const order = this.#take(number);
    if (order === null) return;
    if (result !== null) order.tell(result);
    else this.#giveLater(order);
  }

  /** A worker has ended. */
  forget(worker: number): void {
    this.#silent.delete(worker);
    for (const [number, order] of [...this.#orders])
      if (order.worker === worker && this.#take(number) !== null) this.#giveLater(order);
  }

  #give(order: Order): void {
    const worker = this.#choose();
    if (worker === null || order.tries >= MOST_TRIES) {
      const problem = worker === null ? "no worker serves" : `given up after ${order.tries} tries`;
      order.tell({ result: "failed", problem });
      return;
    }
    const { cluster, endpoint, check } = order.duty;
    const number = ++this.#last;
    order.tries++;
    order.worker = worker;
    order.stopTimer = limitTime(check.timeout + MOMENT, () => this.#passOver(number));
    this.#orders.set(number, order);
    const { timeout } = check;
    this.#options.post(worker, { type: "check", job: { number, cluster, slot: endpoint.slot, timeout } });
  }

  #giveLater(order: Order): void {
    const timer = setTimeout(() => this.#give(order), PAUSE);
    order.stopTimer = () => clearTimeout(timer);
  }

  /** The worker is stuck, or as good as that: another is asked at once. */
  #passOver(number: number): void {
    const order = this.#take(number)!;
    this.#silent.add(order.worker);
    this.#options.post(order.worker, { type: "cancelCheck", number });
    this.#give(order);
  }

  #withdraw(order: Order): void {
    order.stopTimer();
    for (const [number, other] of this.#orders) {
      if (other !== order) continue;
      this.#orders.delete(number);
      this.#options.post(order.worker, { type: "cancelCheck", number });
    }
  }

  #take(number: number): Order | null {
    const order = this.#orders.get(number);
    if (order === undefined) return null;
    this.#orders.delete(number);
    order.stopTimer();
    return order;
  }

  /** The next in turn; of those that owe an answer only where there is no other. */
  #choose(): number | null {
    const all = this.#options.serving();
    const willing = all.filter((worker) => !this.#silent.has(worker));
    const workers = (willing.length > 0 ? willing : [...all]).sort((a, b) => a - b);
    const next = workers.find((worker) => worker > this.#turn) ?? workers[0];
    if (next === undefined) return null;
    this.#turn = next;
    return next;
  }
}
