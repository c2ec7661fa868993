/**
 * Prepare, then commit: a version is built aside by every worker, and taken by all or by none. Also knows which
 * versions are alive on which worker, so that their places in shared memory are used again only after them.
 */
import type { BoundSocket } from "node:net";
import type { Plan } from "../plan/plan.ts";
import type { FromWorker, PostedSocket, ToWorker } from "../worker/messages.ts";
import type { Opening } from "./listeners.ts";

/** The workers, as the versions see them. */
export type Fleet = {
  up(): number[];
  post(worker: number, message: ToWorker, transfer?: BoundSocket[]): void;
  /** Ends a worker; another takes its place. */
  end(worker: number): void;
};

export type VersionsOptions = {
  readonly fleet: Fleet;
  /** No worker uses that version any more. */
  readonly release: (version: number) => void;
  /** That worker serves the committed version from now on. */
  readonly onServing?: (worker: number) => void;
  /** Milliseconds that a worker may be silent when it was asked to build a version. */
  readonly silence?: number;
};

type Sockets = Opening["sockets"];
type Pending = { version: number; waiting: Set<number>; problems: Map<number, string>; all: boolean; done: () => void };

const SILENCE = 10_000;

export class Versions {
  readonly #options: VersionsOptions;
  /** Workers that serve the committed version. */
  readonly #serving = new Set<number>();
  /** For each version that is alive: the workers that may still use it. */
  readonly #holders = new Map<number, Set<number>>();
  #committed: Plan | null = null;
  #pending: Pending | null = null;

  constructor(options: VersionsOptions) {
    this.#options = options;
  }

  get committed(): Plan | null {
    return this.#committed;
  }

  serving(): number[] {
    return [...this.#serving];
  }

  /** The workers that may use that version. */
  holders(version: number): readonly number[] {
    return [...(this.#holders.get(version) ?? [])];
  }

  /** Brings every serving worker to `plan`. @throws Error when one cannot be: then nothing has changed. */
  async take(plan: Plan, sockets: Sockets): Promise<void> {
    const workers = this.#committed === null ? this.#options.fleet.up() : this.serving();
    const socketsFor = (worker: number) =>
      sockets.flatMap(({ address, workers, shared }) => {
        const socket = workers[worker];
        return socket === undefined ? [] : [{ address, socket, shared }];
      });
    if (workers.length === 0) {
      this.#options.release(plan.version);
      throw new Error("no worker runs");
    }
    await this.#prepare(plan, workers, socketsFor);
    const before = this.#committed;
    this.#committed = plan;
    await this.#commit(plan.version, workers);
    if (before !== null) this.#settle(before.version);
  }

  /** Brings a worker that took another's place to the committed version. @throws Error when it cannot be. */
  async bringUp(worker: number, sockets: PostedSocket[]): Promise<void> {
    const plan = this.#committed;
    if (plan === null) return;
    await this.#prepare(plan, [worker], () => sockets);
    await this.#commit(plan.version, [worker]);
  }

  /** What a worker says of versions. */
  receive(worker: number, message: FromWorker): void {
    switch (message.type) {
      case "ready":
        return this.#answer(worker, message.version, null);
      case "failed":
        this.#holders.get(message.version)?.delete(worker);
        return this.#answer(worker, message.version, message.problem);
      case "committed":
        if (message.version === this.#committed?.version) this.#serve(worker);
        return this.#answer(worker, message.version, null);
      case "disposed":
        this.#holders.get(message.version)?.delete(worker);
        return this.#settle(message.version);
    }
  }

  /** Whether that worker can be asked to take a version. */
  reaches(worker: number): boolean {
    return this.#options.fleet.up().includes(worker);
  }

  /** A worker leaves: it holds what it has, and is asked for nothing more. Whether it served. */
  leave(worker: number): boolean {
    return this.#serving.delete(worker);
  }

  #serve(worker: number): void {
    if (this.#serving.has(worker)) return;
    this.#serving.add(worker);
    this.#options.onServing?.(worker);
  }

  /** A worker has ended, and with it every version that it held. */
  forget(worker: number, reason: string): void {
    this.#serving.delete(worker);
    for (const [version, holders] of [...this.#holders]) if (holders.delete(worker)) this.#settle(version);
    if (this.#pending !== null) this.#answer(worker, this.#pending.version, `worker ${worker} ended: ${reason}`);
  }

  /** There is no way back from here: a worker that does not answer is ended, and its successor begins with this. */
  async #commit(version: number, workers: readonly number[]): Promise<void> {
    const { fleet } = this.#options;
    const answered = this.#gather(version, workers, true);
    for (const worker of workers) fleet.post(worker, { type: "commit", version });
    for (const worker of (await answered).keys()) {
      this.#serving.delete(worker);
      fleet.end(worker);
    }
  }

  async #prepare(plan: Plan, workers: readonly number[], sockets: (worker: number) => PostedSocket[]): Promise<void> {
    const { version } = plan;
    const answered = this.#gather(version, workers, false);
    const holders = this.#holders.get(version) ?? new Set();
    this.#holders.set(version, holders);
    for (const worker of workers) {
      holders.add(worker);
      this.#post(worker, plan, sockets(worker));
    }
    const problems = await answered;
    if (problems.size === 0) return;
    for (const worker of workers) this.#options.fleet.post(worker, { type: "abort", version });
    this.#settle(version);
    throw new Error([...problems.values()].join("; "));
  }

  /** Waits for the answers of all workers; unless `all` are wanted, one problem decides. The problems, by worker. */
  async #gather(version: number, workers: readonly number[], all: boolean): Promise<ReadonlyMap<number, string>> {
    const done = Promise.withResolvers<void>();
    const pending: Pending = { version, waiting: new Set(workers), problems: new Map(), all, done: done.resolve };
    this.#pending = pending;
    const timer = setTimeout(() => {
      for (const worker of [...pending.waiting])
        this.#answer(worker, version, `worker ${worker} did not answer in time`);
    }, this.#options.silence ?? SILENCE);
    await done.promise;
    clearTimeout(timer);
    this.#pending = null;
    return pending.problems;
  }

  #post(worker: number, plan: Plan, sockets: PostedSocket[]): void {
    const transfer = sockets.flatMap(({ socket }) => (socket === null ? [] : [socket]));
    try {
      this.#options.fleet.post(worker, { type: "prepare", plan, sockets }, transfer);
    } catch (error) {
      // A plan that cannot be copied: the worker has not heard of it.
      this.receive(worker, { type: "failed", version: plan.version, problem: String(error) });
    }
  }

  #answer(worker: number, version: number, problem: string | null): void {
    const pending = this.#pending;
    if (pending === null || pending.version !== version || !pending.waiting.delete(worker)) return;
    if (problem !== null) pending.problems.set(worker, problem);
    if (pending.waiting.size === 0 || (problem !== null && !pending.all)) pending.done();
  }

  /** Gives a version's places back when no worker holds it and none will. */
  #settle(version: number): void {
    if (version === this.#committed?.version || version === this.#pending?.version) return;
    const holders = this.#holders.get(version);
    if (holders === undefined || holders.size > 0) return;
    this.#holders.delete(version);
    this.#options.release(version);
  }
}
