/**
 * Prepare, then commit: a version is built aside by every thread, and taken by all or by none. Also knows which
 * versions are alive on which thread, so that their places in shared memory are used again only after them.
 */
import type { BoundSocket } from "node:net";
import type { Plan } from "../plan/plan.ts";
import type { FromWorker, PostedSocket, ToWorker } from "../worker/messages.ts";
import type { Opening } from "./listeners.ts";

/** The workers, as the versions see them. */
export type Fleet = {
  up(): number[];
  post(thread: number, message: ToWorker, transfer?: BoundSocket[]): void;
  /** Ends a thread; another takes its place. */
  end(thread: number): void;
};

export type VersionsOptions = {
  readonly fleet: Fleet;
  /** No thread uses that version any more. */
  readonly release: (version: number) => void;
  /** That thread serves the committed version from now on. */
  readonly onServing?: (thread: number) => void;
  /** Milliseconds that a thread may be silent when it was asked to build a version. */
  readonly silence?: number;
};

type Sockets = Opening["sockets"];
type Pending = { version: number; waiting: Set<number>; problems: Map<number, string>; all: boolean; done: () => void };

const SILENCE = 10_000;

export class Versions {
  readonly #options: VersionsOptions;
  /** Threads that serve the committed version. */
  readonly #serving = new Set<number>();
  /** For each version that is alive: the threads that may still use it. */
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

  /** The threads that may use that version. */
  holders(version: number): readonly number[] {
    return [...(this.#holders.get(version) ?? [])];
  }

  /** Brings every serving thread to `plan`. @throws Error when one cannot be: then nothing has changed. */
  async take(plan: Plan, sockets: Sockets): Promise<void> {
    const threads = this.#committed === null ? this.#options.fleet.up() : this.serving();
    const forThread = (thread: number) =>
      sockets.flatMap(({ address, threads, shared }) => {
        const socket = threads[thread];
        return socket === undefined ? [] : [{ address, socket, shared }];
      });
    if (threads.length === 0) {
      this.#options.release(plan.version);
      throw new Error("no worker runs");
    }
    await this.#prepare(plan, threads, forThread);
    const before = this.#committed;
    this.#committed = plan;
    await this.#commit(plan.version, threads);
    if (before !== null) this.#settle(before.version);
  }

  /** Brings a thread that took another's place to the committed version. @throws Error when it cannot be. */
  async bringUp(thread: number, sockets: PostedSocket[]): Promise<void> {
    const plan = this.#committed;
    if (plan === null) return;
    await this.#prepare(plan, [thread], () => sockets);
    await this.#commit(plan.version, [thread]);
  }

  /** What a thread says of versions. */
  receive(thread: number, message: FromWorker): void {
    switch (message.type) {
      case "ready":
        return this.#answer(thread, message.version, null);
      case "failed":
        this.#holders.get(message.version)?.delete(thread);
        return this.#answer(thread, message.version, message.problem);
      case "committed":
        if (message.version === this.#committed?.version) this.#serve(thread);
        return this.#answer(thread, message.version, null);
      case "disposed":
        this.#holders.get(message.version)?.delete(thread);
        return this.#settle(message.version);
    }
  }

  /** Whether that thread can be asked to take a version. */
  reaches(thread: number): boolean {
    return this.#options.fleet.up().includes(thread);
  }

  /** A thread leaves: it holds what it has, and is asked for nothing more. Whether it served. */
  leave(thread: number): boolean {
    return this.#serving.delete(thread);
  }

  #serve(thread: number): void {
    if (this.#serving.has(thread)) return;
    this.#serving.add(thread);
    this.#options.onServing?.(thread);
  }

  /** A thread has ended, and with it every version that it held. */
  forget(thread: number, reason: string): void {
    this.#serving.delete(thread);
    for (const [version, holders] of [...this.#holders]) if (holders.delete(thread)) this.#settle(version);
    if (this.#pending !== null) this.#answer(thread, this.#pending.version, `worker ${thread} ended: ${reason}`);
  }

  /** There is no way back from here: a thread that does not answer is ended, and its successor begins with this. */
  async #commit(version: number, threads: readonly number[]): Promise<void> {
    const { fleet } = this.#options;
    const answered = this.#gather(version, threads, true);
    for (const thread of threads) fleet.post(thread, { type: "commit", version });
    for (const thread of (await answered).keys()) {
      this.#serving.delete(thread);
      fleet.end(thread);
    }
  }

  async #prepare(plan: Plan, threads: readonly number[], sockets: (thread: number) => PostedSocket[]): Promise<void> {
    const { version } = plan;
    const answered = this.#gather(version, threads, false);
    const holders = this.#holders.get(version) ?? new Set();
    this.#holders.set(version, holders);
    for (const thread of threads) {
      holders.add(thread);
      this.#post(thread, plan, sockets(thread));
    }
    const problems = await answered;
    if (problems.size === 0) return;
    for (const thread of threads) this.#options.fleet.post(thread, { type: "abort", version });
    this.#settle(version);
    throw new Error([...problems.values()].join("; "));
  }

  /** Waits for the answers of all threads; unless `all` are wanted, one problem decides. The problems, by thread. */
  async #gather(version: number, threads: readonly number[], all: boolean): Promise<ReadonlyMap<number, string>> {
    const done = Promise.withResolvers<void>();
    const pending: Pending = { version, waiting: new Set(threads), problems: new Map(), all, done: done.resolve };
    this.#pending = pending;
    const timer = setTimeout(() => {
      for (const thread of [...pending.waiting])
        this.#answer(thread, version, `worker ${thread} did not answer in time`);
    }, this.#options.silence ?? SILENCE);
    await done.promise;
    clearTimeout(timer);
    this.#pending = null;
    return pending.problems;
  }

  #post(thread: number, plan: Plan, sockets: PostedSocket[]): void {
    const transfer = sockets.flatMap(({ socket }) => (socket === null ? [] : [socket]));
    try {
      this.#options.fleet.post(thread, { type: "prepare", plan, sockets }, transfer);
    } catch (error) {
      // A plan that cannot be copied: the thread has not heard of it.
      this.receive(thread, { type: "failed", version: plan.version, problem: String(error) });
    }
  }

  #answer(thread: number, version: number, problem: string | null): void {
    const pending = this.#pending;
    if (pending === null || pending.version !== version || !pending.waiting.delete(thread)) return;
    if (problem !== null) pending.problems.set(thread, problem);
    if (pending.waiting.size === 0 || (problem !== null && !pending.all)) pending.done();
  }

  /** Gives a version's places back when no thread holds it and none will. */
  #settle(version: number): void {
    if (version === this.#committed?.version || version === this.#pending?.version) return;
    const holders = this.#holders.get(version);
    if (holders === undefined || holders.size > 0) return;
    this.#holders.delete(version);
    this.#options.release(version);
  }
}
