/** The workers: started, watched, ended, and replaced when one ends by itself or is stuck. */

import type { BoundSocket } from "node:net";
import { type MessagePort, type Transferable, Worker } from "node:worker_threads";
import type { EndpointColumns } from "../cluster/columns.ts";
import type { Counters } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import type { FromWorker, ToWorker, WorkerInit } from "../worker/messages.ts";
import { Supervisor } from "./supervisor.ts";

/** Why a thread ended that nobody had asked to: the `reason` of `sluice_thread_restarts_total`. */
/**
 * MiB. V8's default lets objects of a burst of requests grow old: 5,000 at once left 19 KiB each, with this 15, at the
 * same processor time.
 */
const YOUNG_GENERATION = 8;

export type EndReason = "crash" | "memory" | "stuck";

export type ThreadsOptions = {
  /** The most threads at one time: what `columns` have room for. */
  readonly places: number;
  /** The module that a worker runs. */
  readonly entry: URL;
  readonly columns: EndpointColumns;
  readonly connections: { readonly buffer: SharedArrayBuffer; forgetWorker(worker: number): void };
  readonly counters: Counters;
  readonly keyValue: { readonly buffer: SharedArrayBuffer; forgetThread(thread: number): number };
  readonly log: Log;
};

export type ThreadListener = {
  /** The thread runs and can be sent a plan: at the start, or as the successor of one that ended. */
  onUp(thread: number): void;
  onMessage(thread: number, message: FromWorker): void;
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
  /** When its thread ends it has no successor, and the place is free. */
  leaving: boolean;
};

export class Threads {
  readonly #options: ThreadsOptions;
  readonly #listener: ThreadListener;
  readonly #heartbeat: SharedArrayBuffer;
  /** By number; undefined where no thread is. */
  readonly #places: (Place | undefined)[] = [];
  readonly #supervisor: Supervisor;
  readonly #restarts = new Map<string, { thread: number; reason: EndReason; count: number }>();
  #closing = false;

  constructor(options: ThreadsOptions, listener: ThreadListener) {
    this.#options = options;
    this.#listener = listener;
    this.#heartbeat = new SharedArrayBuffer(4 * options.places);
    this.#supervisor = new Supervisor(this.#heartbeat, (thread) => this.#endStuck(thread));
  }

  /** Starts `count` more, and answers their numbers: the lowest that are free. @throws Error with the figure when they are not. */
  add(count: number): number[] {
    const { places, columns } = this.#options;
    const there = this.present().length;
    if (there + count > places)
      throw new Error(
        `workers: ${there + count} workers at one time, those that still leave counted; a start with so many cores has room for ${places}`,
      );
    const fresh = Array.from({ length: places }, (_, thread) => thread)
      .filter((thread) => this.#places[thread] === undefined)
      .slice(0, count);
    for (const thread of fresh) {
      columns.addThread(thread);
      this.#places[thread] = {
        worker: null,
        up: false,
        startedAt: 0,
        reason: "crash",
        quickEnds: 0,
        restart: null,
        leaving: false,
      };
      this.#spawn(thread, this.#places[thread]);
    }
    return fresh;
  }

  /** All that there are, by number: those that are being replaced, and those that leave, too. */
  present(): number[] {
    return this.#list(() => true);
  }

  /** Those that do not leave. */
  running(): number[] {
    return this.#list((place) => !place.leaving);
  }

  /** The threads that can be spoken to. */
  up(): number[] {
    return this.#list((place) => place.up);
  }

  #list(is: (place: Place) => boolean): number[] {
    return this.#places.flatMap((place, thread) => (place !== undefined && is(place) ? [thread] : []));
  }

  post(thread: number, message: ToWorker, transfer: readonly (BoundSocket | MessagePort)[] = []): void {
    this.#places[thread]?.worker?.postMessage(message, transfer as readonly unknown[] as Transferable[]);
  }

  /** Ends a thread that cannot do what it must; it is replaced, unless it was to leave. */
  end(thread: number): void {
    void this.#places[thread]?.worker?.terminate();
  }

  /** From now on that thread has no successor. */
  retire(thread: number): void {
    const place = this.#places[thread];
    if (place === undefined) return;
    place.leaving = true;
    if (place.restart !== null) clearTimeout(place.restart);
    if (place.worker === null) this.#places[thread] = undefined;
  }

  /** How often threads were replaced, by thread and reason. */
  restarts(): Iterable<{ thread: number; reason: EndReason; count: number }> {
    return this.#restarts.values();
  }

  /** From now on a thread that ends has no successor. */
  stopReplacing(): void {
    this.#closing = true;
    for (const place of this.#places) if (place != null && place.restart !== null) clearTimeout(place.restart);
  }

  async close(): Promise<void> {
    this.stopReplacing();
    this.#supervisor.close();
    await Promise.all(this.#places.map((place) => place?.worker?.terminate()));
  }

  #spawn(thread: number, place: Place): void {
    const { columns, connections, counters, keyValue, entry } = this.#options;
    const workerData: WorkerInit = {
      thread,
      columns: columns.buffer,
      connections: connections.buffer,
      counters: counters.block(thread),
      keyValue: keyValue.buffer,
      heartbeat: this.#heartbeat,
    };
    const worker = new Worker(entry, {
      workerData,
      name: `worker-${thread}`,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION },
    });
    place.worker = worker;
    place.reason = "crash";
    place.startedAt = performance.now();
    place.restart = null;
    worker.on("message", (message: FromWorker) => this.#receive(thread, worker, message));
    worker.on("error", (error) => this.#noteError(thread, error));
    worker.on("exit", () => this.#endPlace(thread));
  }

  #receive(thread: number, worker: Worker, message: FromWorker): void {
    if (message.type !== "up") return this.#listener.onMessage(thread, message);
    this.#places[thread]!.up = true;
    this.#supervisor.watch(thread, { cpuTime: () => readCpuTime(worker) });
    this.#listener.onUp(thread);
  }

  #noteError(thread: number, error: unknown): void {
    if (error instanceof Error && "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY")
      this.#places[thread]!.reason = "memory";
    this.#options.log.error({ thread, err: error }, "worker failed");
  }

  #endStuck(thread: number): void {
    this.#options.log.error({ thread }, "worker is stuck: terminating it");
    this.#places[thread]!.reason = "stuck";
    this.end(thread);
  }

  #endPlace(thread: number): void {
    const place = this.#places[thread]!;
    place.worker = null;
    place.up = false;
    this.#supervisor.forget(thread);
    this.#options.columns.forgetThread(thread);
    this.#options.connections.forgetWorker(thread);
    this.#options.counters.clearGauges(thread);
    if (place.leaving) this.#places[thread] = undefined;
    const held = this.#options.keyValue.forgetThread(thread);
    if (held > 0) this.#options.log.warn({ thread }, "worker ended inside the key-value store: repaired");
    this.#listener.onEnd(thread, place.reason);
    if (!this.#closing && !place.leaving) this.#replace(thread, place);
  }

  #replace(thread: number, place: Place): void {
    const key = `${thread} ${place.reason}`;
    const restarts = this.#restarts.get(key) ?? { thread, reason: place.reason, count: 0 };
    restarts.count++;
    this.#restarts.set(key, restarts);
    const lived = performance.now() - place.startedAt;
    place.quickEnds = lived < SETTLED_AFTER ? place.quickEnds + 1 : 0;
    const delay = place.quickEnds < 2 ? 0 : Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** (place.quickEnds - 2));
    this.#options.log.warn({ thread, reason: place.reason, delay }, "worker ended: starting its successor");
    place.restart = setTimeout(() => this.#spawn(thread, place), delay);
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
