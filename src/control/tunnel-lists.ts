/** Gathers the open tunnels of all workers for the admin interface. */
import type { TunnelList } from "../admin/api.ts";
import { limitTime } from "../net/fair-timer.ts";
import type { FromWorker, ToWorker } from "../worker/messages.ts";

type Report = Extract<FromWorker, { type: "tunnels" }>;

export type TunnelListsOptions = {
  /** Workers that can receive messages. */
  readonly workers: () => readonly number[];
  readonly post: (worker: number, message: ToWorker) => void;
  /** Wall-clock ms. */
  readonly now: () => number;
};

/** ms. A worker that has not reported by then is listed as silent. */
const REPLY_TIMEOUT = 1000;

export class TunnelLists {
  readonly #options: TunnelListsOptions;
  readonly #pending = new Set<number>();
  readonly #reports = new Map<number, Report>();
  /** Shared by concurrent calls: at most one request to each worker is pending. */
  #current: Promise<TunnelList> | null = null;
  #finish: () => void = () => undefined;

  constructor(options: TunnelListsOptions) {
    this.#options = options;
  }

  /** Asks all workers; resolves without those that do not report within a second. */
  list(): Promise<TunnelList> {
    this.#current ??= this.#gather();
    return this.#current;
  }

  async #gather(): Promise<TunnelList> {
    const { workers, post } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#finish = resolve;
    this.#reports.clear();
    for (const worker of workers()) {
      this.#pending.add(worker);
      post(worker, { type: "listTunnels" });
    }
    const stop = limitTime(REPLY_TIMEOUT, resolve);
    if (this.#pending.size === 0) resolve();
    await promise;
    stop();
    const list = this.#join();
    this.#pending.clear();
    this.#current = null;
    return list;
  }

  /** Handles a worker's report. */
  receive(worker: number, report: Report): void {
    if (!this.#pending.delete(worker)) return;
    this.#reports.set(worker, report);
    if (this.#pending.size === 0) this.#finish();
  }

  /** The worker has ended, and its tunnels with it. */
  forget(worker: number): void {
    if (this.#pending.delete(worker) && this.#pending.size === 0) this.#finish();
  }

  #join(): TunnelList {
    const now = this.#options.now();
    const all = [...this.#reports].flatMap(([worker, { oldest }]) => oldest.map((one) => ({ worker, ...one })));
    all.sort((one, other) => one.openedAt - other.openedAt);
    return {
      open: this.#reports.values().reduce((sum, { open }) => sum + open, 0),
      tunnels: all.map((one) => {
        const age = Math.max(0, Math.round(now - one.openedAt));
        return { ...one, openedAt: new Date(one.openedAt).toISOString(), age };
      }),
      silentWorkers: [...this.#pending],
    };
  }
}
