/**
 * How many workers there are, and what ties them together. The number goes up before a version is taken, so that
 * all take it, and down behind it: who leaves hands its listening sockets to the first worker, so that no connection is
 * lost, finishes what runs, and has no successor.
 */
import { MessageChannel } from "node:worker_threads";
import type { Log } from "../observe/log.ts";
import { FIRST_THREAD, type Listeners } from "./listeners.ts";
import type { Versions } from "./versions.ts";
import type { Workers } from "./workers.ts";

export type CrewOptions = {
  readonly workers: Workers;
  readonly versions: Versions;
  readonly listeners: Listeners;
  readonly log: Log;
};

/** For a worker to run at all. */
const START_TIME = 30_000;
/** A worker that leaves ends what is left itself when its time is over; a moment later it is not waited for. */
const MOMENT = 1000;

export class WorkerPool {
  readonly #options: CrewOptions;
  /** Workers that were started and do not run yet. */
  readonly #coming = new Map<number, PromiseWithResolvers<void>>();
  /** Workers that leave, and when they are waited for no more. */
  readonly #leaving = new Map<number, NodeJS.Timeout>();

  constructor(options: CrewOptions) {
    this.#options = options;
  }

  /** Starts what is missing to `count`, and brings it to the version in service. @throws Error when that fails. */
  async grow(count: number): Promise<void> {
    const { workers, versions, listeners, log } = this.#options;
    const missing = count - workers.running().length;
    if (missing <= 0) return;
    const fresh = workers.add(missing);
    await this.#untilUp(fresh);
    for (const worker of fresh) await versions.bringUp(worker, listeners.bindAgain(worker));
    if (versions.committed !== null) log.info({ workers: fresh }, "more workers serve");
  }

  /** Has the last ones leave, down to `count`; what they have under way may take `grace` ms. */
  shrink(count: number, grace: number): void {
    const { workers, log } = this.#options;
    const leaving = workers.running().slice(count);
    if (leaving.length === 0) return;
    log.info({ workers: leaving }, "workers leave");
    for (const worker of leaving) this.#leave(worker, grace);
  }

  #leave(worker: number, grace: number): void {
    const { workers, versions } = this.#options;
    workers.retire(worker);
    if (!versions.leave(worker)) {
      workers.end(worker);
      return;
    }
    this.#leaving.set(
      worker,
      setTimeout(() => workers.end(worker), grace + MOMENT),
    );
    workers.post(worker, { type: "leave", grace });
  }

  /** A worker runs. Whether it was waited for here; else it took another's place. */
  up(worker: number): boolean {
    const coming = this.#coming.get(worker);
    coming?.resolve();
    return this.#coming.delete(worker);
  }

  /** A worker serves the version in service: it is tied to the first, or the first to all. */
  serves(worker: number): void {
    if (worker === FIRST_THREAD) {
      for (const other of [...this.#options.versions.serving(), ...this.#leaving.keys()])
        if (other !== FIRST_THREAD) this.#link(other);
    } else if (this.#options.versions.serving().includes(FIRST_THREAD)) this.#link(worker);
  }

  /** A worker has nothing under way any more. */
  drained(worker: number): void {
    if (this.#leaving.has(worker)) this.#options.workers.end(worker);
  }

  ended(worker: number, reason: string): void {
    clearTimeout(this.#leaving.get(worker));
    this.#leaving.delete(worker);
    this.#coming.get(worker)?.reject(new Error(`worker ${worker} ended: ${reason}`));
    this.#coming.delete(worker);
  }

  close(): void {
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    this.#leaving.clear();
  }

  async #untilUp(fresh: readonly number[]): Promise<void> {
    const timer = setTimeout(() => {
      for (const coming of this.#coming.values()) coming.reject(new Error("the workers did not start"));
    }, START_TIME);
    try {
      await Promise.all(
        fresh.map((worker) => {
          const coming = Promise.withResolvers<void>();
          this.#coming.set(worker, coming);
          return coming.promise;
        }),
      );
    } finally {
      clearTimeout(timer);
    }
  }

  #link(worker: number): void {
    const { workers, listeners } = this.#options;
    const { port1, port2 } = new MessageChannel();
    const give = listeners.owed(worker);
    workers.post(FIRST_THREAD, { type: "link", worker, port: port1, transfer: give }, [port1]);
    workers.post(worker, { type: "link", worker: FIRST_THREAD, port: port2, transfer: [] }, [port2]);
  }
}
