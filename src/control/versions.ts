/**
 * Two-phase commit of versions: every worker prepares a version without serving it, then all commit it or none does.
 * Tracks which workers may still use which version, so that its rows and cells in shared memory are not reused before.
 */
import type { Plan } from "../plan/plan.ts";
import type { FromWorker, PostedSocket } from "../worker/messages.ts";
import type { Opening } from "./listeners.ts";
import type { Workers } from "./workers.ts";

export type VersionsOptions = {
  readonly workers: Pick<Workers, "up" | "post" | "end">;
  /** Frees a version that no worker uses. */
  readonly release: (version: number) => void;
  /** Called when a worker starts to serve the committed version. */
  readonly onServing?: (worker: number) => void;
};

type Sockets = Opening["sockets"];
type Pending = { version: number; waiting: Set<number>; problems: Map<number, string>; all: boolean; done: () => void };

/** Milliseconds within which a worker must reply. */
const REPLY_TIMEOUT = 10_000;

export class Versions {
  readonly #options: VersionsOptions;
  /** Workers that serve the committed version. */
  readonly #serving = new Set<number>();
  /** For each version: the workers that may still use it. */
  readonly #usedBy = new Map<number, Set<number>>();
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
  workersOf(version: number): readonly number[] {
    return [...(this.#usedBy.get(version) ?? [])];
  }

  /** Commits `plan` on every serving worker. @throws Error if one cannot prepare it; then nothing has changed. */
  async take(plan: Plan, sockets: Sockets): Promise<void> {
    const workers = this.#committed === null ? this.#options.workers.up() : this.serving();
    const socketsFor = (worker: number) =>
      sockets.flatMap(({ address, workers, shared, udp }) => {
        const socket = workers[worker];
        return socket === undefined ? [] : [{ address, socket, shared, udp }];
      });
    if (workers.length === 0) {
      this.#options.release(plan.version);
      throw new Error("no worker is running");
    }
    await this.#prepare(plan, workers, socketsFor);
    const before = this.#committed;
    this.#committed = plan;
    await this.#commit(plan.version, workers);
    if (before !== null) this.#releaseIfUnused(before.version);
  }

  /** Brings a new worker to the committed version. @throws Error */
  async bringUp(worker: number, sockets: PostedSocket[]): Promise<void> {
    const plan = this.#committed;
    if (plan === null) return;
    await this.#prepare(plan, [worker], () => sockets);
    await this.#commit(plan.version, [worker]);
  }

  /** Handles a worker's message about a version. */
  receive(worker: number, message: FromWorker): void {
    switch (message.type) {
      case "ready":
        return this.#reply(worker, message.version, null);
      case "failed":
        this.#usedBy.get(message.version)?.delete(worker);
        return this.#reply(worker, message.version, message.problem);
      case "committed":
        if (message.version === this.#committed?.version) this.#serve(worker);
        return this.#reply(worker, message.version, null);
      case "disposed":
        this.#usedBy.get(message.version)?.delete(worker);
        return this.#releaseIfUnused(message.version);
    }
  }

  /** Whether the worker can receive a version. */
  reaches(worker: number): boolean {
    return this.#options.workers.up().includes(worker);
  }

  /** Excludes a leaving worker from further versions. Returns whether it was serving. */
  leave(worker: number): boolean {
    return this.#serving.delete(worker);
  }

  #serve(worker: number): void {
    if (this.#serving.has(worker)) return;
    this.#serving.add(worker);
    this.#options.onServing?.(worker);
  }

  /** Handles the end of a worker: it has stopped using all versions. */
  forget(worker: number, reason: string): void {
    this.#serving.delete(worker);
    for (const [version, users] of [...this.#usedBy]) if (users.delete(worker)) this.#releaseIfUnused(version);
    if (this.#pending !== null) this.#reply(worker, this.#pending.version, `worker ${worker} ended: ${reason}`);
  }

  /** A commit cannot be undone: a worker that does not reply is terminated, and its replacement starts with this version. */
  async #commit(version: number, workers: readonly number[]): Promise<void> {
    const { workers: control } = this.#options;
    const replies = this.#collectReplies(version, workers, true);
    for (const worker of workers) control.post(worker, { type: "commit", version });
    for (const worker of (await replies).keys()) {
      this.#serving.delete(worker);
      control.end(worker);
    }
  }

  async #prepare(plan: Plan, workers: readonly number[], sockets: (worker: number) => PostedSocket[]): Promise<void> {
    const { version } = plan;
    const replies = this.#collectReplies(version, workers, false);
    const users = this.#usedBy.getOrInsert(version, new Set());
    for (const worker of workers) {
      users.add(worker);
      this.#post(worker, plan, sockets(worker));
    }
    const problems = await replies;
    if (problems.size === 0) return;
    for (const worker of workers) this.#options.workers.post(worker, { type: "abort", version });
    this.#releaseIfUnused(version);
    throw new Error([...problems.values()].join("; "));
  }

  /** Waits for the replies of all workers, or, unless `all`, for the first problem. Returns the problems by worker. */
  async #collectReplies(
    version: number,
    workers: readonly number[],
    all: boolean,
  ): Promise<ReadonlyMap<number, string>> {
    const done = Promise.withResolvers<void>();
    const pending: Pending = { version, waiting: new Set(workers), problems: new Map(), all, done: done.resolve };
    this.#pending = pending;
    const timer = setTimeout(() => {
      for (const worker of [...pending.waiting]) this.#reply(worker, version, `worker ${worker} did not reply in time`);
    }, REPLY_TIMEOUT);
    await done.promise;
    clearTimeout(timer);
    this.#pending = null;
    return pending.problems;
  }

  #post(worker: number, plan: Plan, sockets: PostedSocket[]): void {
    const transfer = sockets.flatMap(({ socket }) => (socket === null ? [] : [socket]));
    try {
      this.#options.workers.post(worker, { type: "prepare", plan, sockets }, transfer);
    } catch (error) {
      // The plan cannot be cloned, so the worker did not receive it.
      this.receive(worker, { type: "failed", version: plan.version, problem: String(error) });
    }
  }

  #reply(worker: number, version: number, problem: string | null): void {
    const pending = this.#pending;
    if (pending === null || pending.version !== version || !pending.waiting.delete(worker)) return;
    if (problem !== null) pending.problems.set(worker, problem);
    if (pending.waiting.size === 0 || (problem !== null && !pending.all)) pending.done();
  }

  /** Releases a version that no worker uses or will use. */
  #releaseIfUnused(version: number): void {
    if (version === this.#committed?.version || version === this.#pending?.version) return;
    const users = this.#usedBy.get(version);
    if (users === undefined || users.size > 0) return;
    this.#usedBy.delete(version);
    this.#options.release(version);
  }
}
