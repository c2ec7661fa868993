/** Manages the compiler process: starts it on demand, and replaces it if it has ended or uses too much memory. */
import { type ChildProcess, fork } from "node:child_process";
import { extname } from "node:path";
import type { BuildJob, BuildReport } from "./compiler-process.ts";

const COMPILER = new URL(`./compiler-process${extname(import.meta.filename)}`, import.meta.url);

/** Memory in bytes above which the process is replaced after a build; the first build uses 450 MiB. */
const MAX_MEMORY = 1536 * 1024 * 1024;

type Pending = { readonly job: BuildJob; readonly resolve: (report: BuildReport) => void; attempts: number };

export type CompilerOptions = { readonly entry?: URL; readonly maxMemory?: number };

export class WarmCompiler {
  readonly #entry: URL;
  readonly #maxMemory: number;
  #child: ChildProcess | null = null;
  /** In the order of the child's reports. */
  readonly #pending: Pending[] = [];
  #closed = false;

  constructor({ entry = COMPILER, maxMemory = MAX_MEMORY }: CompilerOptions = {}) {
    this.#entry = entry;
    this.#maxMemory = maxMemory;
  }

  /** Id of the running process, if any. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Builds a plugin. Errors are in the report, also if the compiler process has ended twice during the build. */
  build(job: BuildJob): Promise<BuildReport> {
    const { promise, resolve } = Promise.withResolvers<BuildReport>();
    this.#pending.push({ job, resolve, attempts: 1 });
    this.#start().send(job);
    return promise;
  }

  #start(): ChildProcess {
    if (this.#child !== null) return this.#child;
    const child = fork(this.#entry);
    // `exit` follows for a started process, and resends its jobs; not for one that could not be started.
    child.on("error", (error) => {
      if (this.#child === child && child.pid === undefined) this.#ended(error.message);
    });
    child.on("message", (report: BuildReport) => this.#receive(report));
    child.on("exit", (code, signal) => {
      if (this.#child === child) this.#ended(signal ?? `exit code ${code}`);
    });
    this.#child = child;
    return child;
  }

  #receive(report: BuildReport): void {
    const done = this.#pending.shift();
    done?.resolve(report);
    if (report.memory < this.#maxMemory || this.#pending.length > 0 || done?.job.wasm === null) return;
    this.#retire();
    // Starts and warms up the next process.
    if (!this.#closed) void this.build({ source: report.source, wasm: null });
  }

  /** Retries the current build once: an earlier build may have caused the crash. */
  #ended(reason: string): void {
    this.#child = null;
    const first = this.#pending[0];
    if (first !== undefined && first.attempts++ > 1) {
      const { source } = first.job;
      this.#pending.shift();
      first.resolve({ source, problems: [`${source}: the compiler ended: ${reason}`], took: 0, files: [], memory: 0 });
    }
    if (this.#closed) return;
    for (const { job } of this.#pending) this.#start().send(job);
  }

  #retire(): void {
    const child = this.#child;
    this.#child = null;
    child?.disconnect();
  }

  close(): void {
    this.#closed = true;
    this.#retire();
  }
}
