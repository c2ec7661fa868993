/** The workers: started, watched, ended, and replaced when one ends by itself or is stuck. */

import type { BoundSocket } from "node:net";
import { type MessagePort, type Transferable, Worker } from "node:worker_threads";
import type { EndpointColumns } from "../cluster/columns.ts";
import type { Counters } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import type { FromWorker, ToWorker, WorkerInit } from "../worker/messages.ts";
import { Supervisor } from "./supervisor.ts";

/** Why a worker ended that nobody had asked to: the `reason` of `sluice_worker_restarts_total`. */
/**
 * MiB. V8's default lets objects of a burst of requests grow old: 5,000 at once left 19 KiB each, with this 15, at the
 * same processor time.
 */
const YOUNG_GENERATION = 8;

export type EndReason = "crash" | "memory" | "stuck";

export type WorkersOptions = {
  /** The most workers at one time: what `columns` have room for. */
  readonly places: number;
  /** The module that a worker runs. */
  readonly entry: URL;
  readonly columns: EndpointColumns;
  readonly connections: { readonly buffer: SharedArrayBuffer; forgetWorker(worker: number): void };
  readonly counters: Counters;
  readonly keyValue: { readonly buffer: SharedArrayBuffer; forgetThread(worker: number): number };
  readonly log: Log;
};

export type WorkersListener = {
  /** The worker runs and can be sent a plan: at the start, or as the successor of one that ended. */
  onUp(worker: number): void;
  onMessage(worker: number, message: FromWorker): void;
  /** The worker has ended, and what it held is cleared. A successor follows unless the workers are closing. */
  onEnd(worker: number, reason: EndReason): void;
};

/** A successor of a worker that lived shorter than this is started later and later. */
const SETTLED_AFTER = 30_000;
const FIRST_DELAY = 100;
const LONGEST_DELAY = 10_000;

type Place = {
  handle: Worker | null;
  up: boolean;
  startedAt: number;
  reason: EndReason;
  quickEnds: number;
  restart: NodeJS.Timeout | null;
  /** When its worker ends it has no successor, and the place is free. */
  leaving: boolean;
};

export class Workers {
  readonly #options: WorkersOptions;
  readonly #listener: WorkersListener;
  readonly #heartbeat: SharedArrayBuffer;
  /** By number; undefined where no worker is. */
  readonly #places: (Place | undefined)[] = [];
  readonly #supervisor: Supervisor;
  readonly #restarts = new Map<string, { worker: number; reason: EndReason; count: number }>();
  #closing = false;

  constructor(options: WorkersOptions, listener: WorkersListener) {
    this.#options = options;
    this.#listener = listener;
    this.#heartbeat = new SharedArrayBuffer(4 * options.places);
    this.#supervisor = new Supervisor(this.#heartbeat, (worker) => this.#endStuck(worker));
  }

  /** Starts `count` more, and answers their numbers: the lowest that are free. @throws Error with the figure when they are not. */
  add(count: number): number[] {
    const { places, columns } = this.#options;
    const there = this.present().length;
    if (there + count > places)
      throw new Error(
        `workers: ${there + count} workers at one time, those that still leave counted; a start with so many cores has room for ${places}`,
      );
    const fresh = Array.from({ length: places }, (_, worker) => worker)
      .filter((worker) => this.#places[worker] === undefined)
      .slice(0, count);
    for (const worker of fresh) {
      columns.addThread(worker);
      this.#places[worker] = {
        handle: null,
        up: false,
        startedAt: 0,
        reason: "crash",
        quickEnds: 0,
        restart: null,
        leaving: false,
      };
      this.#spawn(worker, this.#places[worker]);
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

  /** The workers that can be spoken to. */
  up(): number[] {
    return this.#list((place) => place.up);
  }

  #list(is: (place: Place) => boolean): number[] {
    return this.#places.flatMap((place, worker) => (place !== undefined && is(place) ? [worker] : []));
  }

  post(worker: number, message: ToWorker, transfer: readonly (BoundSocket | MessagePort)[] = []): void {
    this.#places[worker]?.handle?.postMessage(message, transfer as readonly unknown[] as Transferable[]);
  }

  /** Ends a worker that cannot do what it must; it is replaced, unless it was to leave. */
  end(worker: number): void {
    void this.#places[worker]?.handle?.terminate();
  }

  /** From now on that worker has no successor. */
  retire(worker: number): void {
    const place = this.#places[worker];
    if (place === undefined) return;
    place.leaving = true;
    if (place.restart !== null) clearTimeout(place.restart);
    if (place.handle === null) this.#places[worker] = undefined;
  }

  /** How often workers were replaced, by worker and reason. */
  restarts(): Iterable<{ worker: number; reason: EndReason; count: number }> {
    return this.#restarts.values();
  }

  /** From now on a worker that ends has no successor. */
  stopReplacing(): void {
    this.#closing = true;
    for (const place of this.#places) if (place != null && place.restart !== null) clearTimeout(place.restart);
  }

  async close(): Promise<void> {
    this.stopReplacing();
    this.#supervisor.close();
    await Promise.all(this.#places.map((place) => place?.handle?.terminate()));
  }

  #spawn(worker: number, place: Place): void {
    const { columns, connections, counters, keyValue, entry } = this.#options;
    const workerData: WorkerInit = {
      worker,
      columns: columns.buffer,
      connections: connections.buffer,
      counters: counters.block(worker),
      keyValue: keyValue.buffer,
      heartbeat: this.#heartbeat,
    };
    const handle = new Worker(entry, {
      workerData,
      name: `worker-${worker}`,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION },
    });
    place.handle = handle;
    place.reason = "crash";
    place.startedAt = performance.now();
    place.restart = null;
    handle.on("message", (message: FromWorker) => this.#receive(worker, handle, message));
    handle.on("error", (error) => this.#noteError(worker, error));
    handle.on("exit", () => this.#endPlace(worker));
  }

  #receive(worker: number, handle: Worker, message: FromWorker): void {
    if (message.type !== "up") return this.#listener.onMessage(worker, message);
    this.#places[worker]!.up = true;
    this.#supervisor.watch(worker, { cpuTime: () => readCpuTime(handle) });
    this.#listener.onUp(worker);
  }

  #noteError(worker: number, error: unknown): void {
    if (error instanceof Error && "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY")
      this.#places[worker]!.reason = "memory";
    this.#options.log.error({ worker, err: error }, "worker failed");
  }

  #endStuck(worker: number): void {
    this.#options.log.error({ worker }, "worker is stuck: terminating it");
    this.#places[worker]!.reason = "stuck";
    this.end(worker);
  }

  #endPlace(worker: number): void {
    const place = this.#places[worker]!;
    place.handle = null;
    place.up = false;
    this.#supervisor.forget(worker);
    this.#options.columns.forgetThread(worker);
    this.#options.connections.forgetWorker(worker);
    this.#options.counters.clearGauges(worker);
    if (place.leaving) this.#places[worker] = undefined;
    const held = this.#options.keyValue.forgetThread(worker);
    if (held > 0) this.#options.log.warn({ worker }, "worker ended inside the key-value store: repaired");
    this.#listener.onEnd(worker, place.reason);
    if (!this.#closing && !place.leaving) this.#replace(worker, place);
  }

  #replace(worker: number, place: Place): void {
    const key = `${worker} ${place.reason}`;
    const restarts = this.#restarts.get(key) ?? { worker, reason: place.reason, count: 0 };
    restarts.count++;
    this.#restarts.set(key, restarts);
    const lived = performance.now() - place.startedAt;
    place.quickEnds = lived < SETTLED_AFTER ? place.quickEnds + 1 : 0;
    const delay = place.quickEnds < 2 ? 0 : Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** (place.quickEnds - 2));
    this.#options.log.warn({ worker, reason: place.reason, delay }, "worker ended: starting its successor");
    place.restart = setTimeout(() => this.#spawn(worker, place), delay);
  }
}

async function readCpuTime(handle: Worker): Promise<number | null> {
  try {
    const { user, system } = await handle.cpuUsage();
    return (user + system) / 1000;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_WORKER_NOT_RUNNING") return null;
    throw error;
  }
}
