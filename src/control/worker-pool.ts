/**
 * Changes the number of workers, and links them by message ports. Workers are added before a version is committed, and
 * removed after it: a leaving worker transfers its listening sockets to the first worker, so that no connection is lost,
 * and finishes its requests.
 */
import { MessageChannel } from "node:worker_threads";
import type { Log } from "../observe/log.ts";
import { FIRST_WORKER, type Listeners } from "./listeners.ts";
import type { Versions } from "./versions.ts";
import type { Workers } from "./workers.ts";

export type WorkerPoolOptions = {
  readonly workers: Workers;
  readonly versions: Versions;
  readonly listeners: Listeners;
  readonly log: Log;
};

/** Milliseconds until an added worker must have started. */
const START_TIME = 30_000;
/** Milliseconds. A draining worker ends its requests after the grace time; this much later it is terminated. */
const LEAVE_MARGIN = 1000;

export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  /** Added workers that have not started yet. */
  readonly #starting = new Map<number, PromiseWithResolvers<void>>();
  /** Leaving workers, with the timer that terminates them. */
  readonly #leaving = new Map<number, NodeJS.Timeout>();
  /** Workers that drain because the process ends. */
  readonly #draining = new Set<number>();
  #onDrained: () => void = () => undefined;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  /** Adds workers up to `count`, and brings them to the version in service. @throws Error */
  async grow(count: number): Promise<void> {
    const { workers, versions, listeners, log } = this.#options;
    const missing = count - workers.running().length;
    if (missing <= 0) return;
    const added = workers.add(missing);
    await this.#waitForStart(added);
    for (const worker of added) await versions.bringUp(worker, listeners.bindAgain(worker));
    if (versions.committed !== null) log.info({ workers: added }, "workers added");
  }

  /** Removes the last workers down to `count`; their requests may take `grace` ms. */
  shrink(count: number, grace: number): void {
    const { workers, log } = this.#options;
    const leaving = workers.running().slice(count);
    if (leaving.length === 0) return;
    log.info({ workers: leaving }, "removing workers");
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
      setTimeout(() => workers.end(worker), grace + LEAVE_MARGIN),
    );
    workers.post(worker, { type: "leave", grace });
  }

  /** Handles the start of a worker. Returns whether it was added here; otherwise it replaces another. */
  up(worker: number): boolean {
    const starting = this.#starting.get(worker);
    starting?.resolve();
    return this.#starting.delete(worker);
  }

  /** Handles that a worker serves the version in service: links it to the first worker, or the first worker to all. */
  serves(worker: number): void {
    if (worker === FIRST_WORKER) {
      for (const other of [...this.#options.versions.serving(), ...this.#leaving.keys()])
        if (other !== FIRST_WORKER) this.#link(other);
    } else if (this.#options.versions.serving().includes(FIRST_WORKER)) this.#link(worker);
  }

  /** Handles that a worker has no more requests. */
  drained(worker: number): void {
    this.#finishDrain(worker);
    if (this.#leaving.has(worker)) this.#options.workers.end(worker);
  }

  ended(worker: number, reason: string): void {
    this.#finishDrain(worker);
    clearTimeout(this.#leaving.get(worker));
    this.#leaving.delete(worker);
    this.#starting.get(worker)?.reject(new Error(`worker ${worker} ended: ${reason}`));
    this.#starting.delete(worker);
  }

  /** Drains all workers, for at most `grace` ms, at the end of the process. */
  async drain(grace: number): Promise<void> {
    const { workers } = this.#options;
    const drained = Promise.withResolvers<void>();
    for (const worker of workers.up()) {
      this.#draining.add(worker);
      workers.post(worker, { type: "drain", grace });
    }
    if (this.#draining.size === 0) return;
    this.#onDrained = drained.resolve;
    const timer = setTimeout(drained.resolve, grace + LEAVE_MARGIN);
    await drained.promise;
    clearTimeout(timer);
  }

  #finishDrain(worker: number): void {
    if (this.#draining.delete(worker) && this.#draining.size === 0) this.#onDrained();
  }

  close(): void {
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    this.#leaving.clear();
  }

  async #waitForStart(added: readonly number[]): Promise<void> {
    const timer = setTimeout(() => {
      for (const starting of this.#starting.values()) starting.reject(new Error("the workers did not start"));
    }, START_TIME);
    try {
      await Promise.all(
        added.map((worker) => {
          const starting = Promise.withResolvers<void>();
          this.#starting.set(worker, starting);
          return starting.promise;
        }),
      );
    } finally {
      clearTimeout(timer);
    }
  }

  #link(worker: number): void {
    const { workers, listeners } = this.#options;
    const { port1, port2 } = new MessageChannel();
    const transfer = listeners.takeAssigned(worker);
    workers.post(FIRST_WORKER, { type: "link", worker, port: port1, transfer }, [port1]);
    workers.post(worker, { type: "link", worker: FIRST_WORKER, port: port2, transfer: [] }, [port2]);
  }
}
