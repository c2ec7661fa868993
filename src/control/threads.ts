/** The data threads: started, watched, ended, and replaced when one ends by itself or is stuck. */

import type { BoundSocket } from "node:net";
import { type Transferable, Worker } from "node:worker_threads";
import type { EndpointColumns } from "../balance/columns.ts";
import type { Counters } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import type { FromThread, ThreadInit, ToThread } from "./messages.ts";
import { Supervisor } from "./supervisor.ts";

/** Why a thread ended that nobody had asked to: the `reason` of `sluice_thread_restarts_total`. */
export type EndReason = "crash" | "memory" | "stuck";

export type ThreadsOptions = {
  readonly count: number;
  /** The module that a data thread runs. */
  readonly entry: URL;
  readonly columns: EndpointColumns;
  readonly counters: Counters;
  readonly log: Log;
};

export type ThreadListener = {
  /** The thread runs and can be sent a plan: at the start, or as the successor of one that ended. */
  onUp(thread: number): void;
  onMessage(thread: number, message: FromThread): void;
  /** The thread has ended, and what it held is cleared. A successor follows unless the threads are closing. */
  onEnd(thread: number, reason: EndReason): void;
};

/** A successor of a thread that lived shorter than this is started later and later. */
const SETTLED_AFTER = 30_000;
const FIRST_DELAY = 100;
const LONGEST_DELAY = 10_000;

type Place = {
  worker: Worker | null;
  up: boolean;
  startedAt: number;
  reason: EndReason;
  quickEnds: number;
  restart: NodeJS.Timeout | null;
};

export class Threads {
  readonly count: number;
  readonly #options: ThreadsOptions;
  readonly #listener: ThreadListener;
  readonly #heartbeat: SharedArrayBuffer;
  readonly #places: Place[];
  readonly #supervisor: Supervisor;
  readonly #restarts = new Map<string, { thread: number; reason: EndReason; count: number }>();
  #closing = false;

  constructor(options: ThreadsOptions, listener: ThreadListener) {
    this.count = options.count;
    this.#options = options;
    this.#listener = listener;
    this.#heartbeat = new SharedArrayBuffer(4 * options.count);
    this.#supervisor = new Supervisor(this.#heartbeat, (thread) => this.#endStuck(thread));
    this.#places = Array.from({ length: options.count }, () => ({
      worker: null,
      up: false,
      startedAt: 0,
      reason: "crash",
      quickEnds: 0,
      restart: null,
    }));
  }

  start(): void {
    for (let thread = 0; thread < this.count; thread++) this.#spawn(thread);
  }

  /** The threads that can be spoken to. */
  up(): number[] {
    return this.#places.flatMap((place, thread) => (place.up ? [thread] : []));
  }

  post(thread: number, message: ToThread, transfer: readonly BoundSocket[] = []): void {
    this.#places[thread]!.worker?.postMessage(message, transfer as readonly unknown[] as Transferable[]);
  }

  /** Ends a thread that cannot do what it must; it is replaced. */
  end(thread: number): void {
    void this.#places[thread]!.worker?.terminate();
  }

  /** How often threads were replaced, by thread and reason. */
  restarts(): Iterable<{ thread: number; reason: EndReason; count: number }> {
    return this.#restarts.values();
  }

  /** From now on a thread that ends has no successor. */
  stopReplacing(): void {
    this.#closing = true;
    for (const place of this.#places) if (place.restart !== null) clearTimeout(place.restart);
  }

  async close(): Promise<void> {
    this.stopReplacing();
    this.#supervisor.close();
    await Promise.all(this.#places.map((place) => place.worker?.terminate()));
  }

  #spawn(thread: number): void {
    const { columns, counters, entry } = this.#options;
    const place = this.#places[thread]!;
    const workerData: ThreadInit = {
      thread,
      threads: this.count,
      columns: columns.buffer,
      counters: counters.buffers[thread]!,
      heartbeat: this.#heartbeat,
    };
    const worker = new Worker(entry, { workerData, name: `data-${thread}` });
    place.worker = worker;
    place.reason = "crash";
    place.startedAt = performance.now();
    place.restart = null;
    worker.on("message", (message: FromThread) => this.#receive(thread, worker, message));
    worker.on("error", (error) => this.#noteError(thread, error));
    worker.on("exit", () => this.#endPlace(thread));
  }

  #receive(thread: number, worker: Worker, message: FromThread): void {
    if (message.type !== "up") return this.#listener.onMessage(thread, message);
    this.#places[thread]!.up = true;
    this.#supervisor.watch(thread, { cpuTime: () => readCpuTime(worker) });
    this.#listener.onUp(thread);
  }

  #noteError(thread: number, error: unknown): void {
    if (error instanceof Error && "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY")
      this.#places[thread]!.reason = "memory";
    this.#options.log.error({ thread, err: error }, "data thread failed");
  }

  #endStuck(thread: number): void {
    this.#options.log.error({ thread }, "data thread is stuck: ending it");
    this.#places[thread]!.reason = "stuck";
    this.end(thread);
  }

  #endPlace(thread: number): void {
    const place = this.#places[thread]!;
    place.worker = null;
    place.up = false;
    this.#supervisor.forget(thread);
    this.#options.columns.forgetThread(thread);
    this.#options.counters.clearGauges(thread);
    this.#listener.onEnd(thread, place.reason);
    if (!this.#closing) this.#replace(thread, place);
  }

  #replace(thread: number, place: Place): void {
    const key = `${thread} ${place.reason}`;
    const restarts = this.#restarts.get(key) ?? { thread, reason: place.reason, count: 0 };
    restarts.count++;
    this.#restarts.set(key, restarts);
    const lived = performance.now() - place.startedAt;
    place.quickEnds = lived < SETTLED_AFTER ? place.quickEnds + 1 : 0;
    const delay = place.quickEnds < 2 ? 0 : Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** (place.quickEnds - 2));
    this.#options.log.warn({ thread, reason: place.reason, delay }, "data thread ended: starting its successor");
    place.restart = setTimeout(() => this.#spawn(thread), delay);
  }
}

async function readCpuTime(worker: Worker): Promise<number | null> {
  try {
    const { user, system } = await worker.cpuUsage();
    return (user + system) / 1000;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_WORKER_NOT_RUNNING") return null;
    throw error;
  }
}
