/** Starts, supervises and ends the workers, and replaces one that crashes or is stuck. */

import type { BoundSocket } from "node:net";
import { type MessagePort, type Transferable, Worker } from "node:worker_threads";
import type { Log } from "../observe/log.ts";
import type { FromWorker, ToWorker, WorkerInit } from "../worker/messages.ts";
import type { SharedMemory } from "./shared-memory.ts";
import { Supervisor } from "./supervisor.ts";

/**
 * MiB. With V8's default, objects of a burst of requests are promoted to the old generation: 5,000 requests at once left
 * 19 KiB each, with this limit 15, at the same processor time.
 */
const YOUNG_GENERATION = 8;
/**
 * MiB of stack: as much as the main thread, where start-up code is checked, and suspended calls have. Node reserves 192 KiB
 * of it. A guest that recurses without end blocks its worker for as long as it takes to fill and unwind the stack.
 */
const STACK = 1.1875;

/** The cause of an unexpected end: the `reason` of `sluice_worker_restarts_total`. */
export type EndReason = "crash" | "memory" | "stuck";

export type WorkersOptions = {
  readonly memory: SharedMemory;
  /** The main module of a worker. */
  readonly entry: URL;
  readonly log: Log;
};

export type WorkersListener = {
  /** The worker is ready to receive a plan; it is a new one, or the replacement of one that ended. */
  onUp(worker: number): void;
  onMessage(worker: number, message: FromWorker): void;
  /**
   * The worker has ended and its shared state is cleared. It is replaced, unless it was retired or the workers are
   * closing.
   */
  onEnd(worker: number, reason: EndReason): void;
};

/** Milliseconds. Replacements of workers that ended sooner are started with growing delays. */
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
  /** Its worker is not replaced. */
  leaving: boolean;
};

export class Workers {
  readonly #options: WorkersOptions;
  readonly #listener: WorkersListener;
  readonly #heartbeat: SharedArrayBuffer;
  /** By number of the worker. */
  readonly #places: (Place | undefined)[] = [];
  readonly #supervisor: Supervisor;
  readonly #restarts = new Map<string, { worker: number; reason: EndReason; count: number }>();
  #closing = false;

  constructor(options: WorkersOptions, listener: WorkersListener) {
    this.#options = options;
    this.#listener = listener;
    this.#heartbeat = new SharedArrayBuffer(4 * options.memory.places);
    this.#supervisor = new Supervisor(this.#heartbeat, (worker) => this.#endStuck(worker));
  }

  /** Starts `count` more workers and returns their numbers, the lowest free ones. @throws Error if there are not enough. */
  add(count: number): number[] {
    const { places, columns } = this.#options.memory;
    const present = this.present().length;
    if (present + count > places)
      throw new Error(
        `workers: ${present + count} workers at one time, including those that are stopping; the limit since the start is ${places}`,
      );
    const added = Array.from({ length: places }, (_, worker) => worker)
      .filter((worker) => this.#places[worker] === undefined)
      .slice(0, count);
    for (const worker of added) {
      columns.addWorker(worker);
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
    return added;
  }

  /** Numbers of all workers, including those that are being replaced or are leaving. */
  present(): number[] {
    return this.#list(() => true);
  }

  /** Numbers of the workers that are not leaving. */
  running(): number[] {
    return this.#list((place) => !place.leaving);
  }

  /** Numbers of the workers that can receive messages. */
  up(): number[] {
    return this.#list((place) => place.up);
  }

  #list(matches: (place: Place) => boolean): number[] {
    return this.#places.flatMap((place, worker) => (place !== undefined && matches(place) ? [worker] : []));
  }

  post(worker: number, message: ToWorker, transfer: readonly (BoundSocket | MessagePort)[] = []): void {
    this.#places[worker]?.handle?.postMessage(message, transfer as readonly unknown[] as Transferable[]);
  }

  /** Terminates a worker; it is replaced, unless it was retired. */
  end(worker: number): void {
    void this.#places[worker]?.handle?.terminate();
  }

  /** The worker will not be replaced when it ends. */
  retire(worker: number): void {
    const place = this.#places[worker];
    if (place === undefined) return;
    place.leaving = true;
    if (place.restart !== null) clearTimeout(place.restart);
    if (place.handle === null) this.#places[worker] = undefined;
  }

  /** Number of replacements, by worker and reason. */
  restarts(): Iterable<{ worker: number; reason: EndReason; count: number }> {
    return this.#restarts.values();
  }

  /** From now on workers that end are not replaced. */
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
    const { memory, entry } = this.#options;
    const workerData: WorkerInit = {
      worker,
      ...memory.buffersOf(worker),
      heartbeat: this.#heartbeat,
    };
    const handle = new Worker(entry, {
      workerData,
      name: `worker-${worker}`,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION, stackSizeMb: STACK },
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
    const repaired = this.#options.memory.forgetWorker(worker);
    if (place.leaving) this.#places[worker] = undefined;
    if (repaired > 0) this.#options.log.warn({ worker }, "worker ended inside the key-value store: repaired");
    this.#listener.onEnd(worker, place.reason);
    if (!this.#closing && !place.leaving) this.#replace(worker, place);
  }

  #replace(worker: number, place: Place): void {
    const key = `${worker} ${place.reason}`;
    this.#restarts.getOrInsert(key, { worker, reason: place.reason, count: 0 }).count++;
    const age = performance.now() - place.startedAt;
    place.quickEnds = age < SETTLED_AFTER ? place.quickEnds + 1 : 0;
    const delay = place.quickEnds < 2 ? 0 : Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** (place.quickEnds - 2));
    this.#options.log.warn({ worker, reason: place.reason, delay }, "worker ended: starting a replacement");
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
