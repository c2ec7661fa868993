/**
 * How many workers there are, and what ties them together. The number goes up before a version is taken, so that
 * all take it, and down behind it: who leaves hands its listening sockets to the first thread, so that no connection is
 * lost, finishes what runs, and has no successor.
 */
import { MessageChannel } from "node:worker_threads";
import type { Log } from "../observe/log.ts";
import { FIRST_THREAD, type Listeners } from "./listeners.ts";
import type { Versions } from "./versions.ts";
import type { Threads } from "./workers.ts";

export type CrewOptions = {
  readonly threads: Threads;
  readonly versions: Versions;
  readonly listeners: Listeners;
  readonly log: Log;
};

/** For a thread to run at all. */
const START_TIME = 30_000;
/** A thread that leaves ends what is left itself when its time is over; a moment later it is not waited for. */
const MOMENT = 1000;

export class WorkerPool {
  readonly #options: CrewOptions;
  /** Threads that were started and do not run yet. */
  readonly #coming = new Map<number, PromiseWithResolvers<void>>();
  /** Threads that leave, and when they are waited for no more. */
  readonly #leaving = new Map<number, NodeJS.Timeout>();

  constructor(options: CrewOptions) {
    this.#options = options;
  }

  /** Starts what is missing to `count`, and brings it to the version in service. @throws Error when that fails. */
  async grow(count: number): Promise<void> {
    const { threads, versions, listeners, log } = this.#options;
    const missing = count - threads.running().length;
    if (missing <= 0) return;
    const fresh = threads.add(missing);
    await this.#untilUp(fresh);
    for (const thread of fresh) await versions.bringUp(thread, listeners.bindAgain(thread));
    if (versions.committed !== null) log.info({ threads: fresh }, "more workers serve");
  }

  /** Has the last ones leave, down to `count`; what they have under way may take `grace` ms. */
  shrink(count: number, grace: number): void {
    const { threads, log } = this.#options;
    const leaving = threads.running().slice(count);
    if (leaving.length === 0) return;
    log.info({ threads: leaving }, "workers leave");
    for (const thread of leaving) this.#leave(thread, grace);
  }

  #leave(thread: number, grace: number): void {
    const { threads, versions } = this.#options;
    threads.retire(thread);
    if (!versions.leave(thread)) {
      threads.end(thread);
      return;
    }
    this.#leaving.set(
      thread,
      setTimeout(() => threads.end(thread), grace + MOMENT),
    );
    threads.post(thread, { type: "leave", grace });
  }

  /** A thread runs. Whether it was waited for here; else it took another's place. */
  up(thread: number): boolean {
    const coming = this.#coming.get(thread);
    coming?.resolve();
    return this.#coming.delete(thread);
  }

  /** A thread serves the version in service: it is tied to the first, or the first to all. */
  serves(thread: number): void {
    if (thread === FIRST_THREAD) {
      for (const other of [...this.#options.versions.serving(), ...this.#leaving.keys()])
        if (other !== FIRST_THREAD) this.#link(other);
    } else if (this.#options.versions.serving().includes(FIRST_THREAD)) this.#link(thread);
  }

  /** A thread has nothing under way any more. */
  drained(thread: number): void {
    if (this.#leaving.has(thread)) this.#options.threads.end(thread);
  }

  ended(thread: number, reason: string): void {
    clearTimeout(this.#leaving.get(thread));
    this.#leaving.delete(thread);
    this.#coming.get(thread)?.reject(new Error(`worker ${thread} ended: ${reason}`));
    this.#coming.delete(thread);
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
        fresh.map((thread) => {
          const coming = Promise.withResolvers<void>();
          this.#coming.set(thread, coming);
          return coming.promise;
        }),
      );
    } finally {
      clearTimeout(timer);
    }
  }

  #link(thread: number): void {
    const { threads, listeners } = this.#options;
    const { port1, port2 } = new MessageChannel();
    const give = listeners.owed(thread);
    threads.post(FIRST_THREAD, { type: "link", thread, port: port1, transfer: give }, [port1]);
    threads.post(thread, { type: "link", thread: FIRST_THREAD, port: port2, transfer: [] }, [port2]);
  }
}
