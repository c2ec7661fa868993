/** The compiler's process as its parent sees it: started when it is needed, again when it has ended or grown too large. */
import { type ChildProcess, fork } from "node:child_process";
import { extname } from "node:path";
import type { BuildOrder, BuildReport } from "./compiler-process.ts";

const COMPILER = new URL(`./compiler-process${extname(import.meta.filename)}`, import.meta.url);

/** A compiler that has built once holds 450 MiB; one that holds this much is replaced before the next build. */
const MOST_MEMORY = 1536 * 1024 * 1024;

type Waiting = { readonly order: BuildOrder; readonly tell: (report: BuildReport) => void; attempts: number };

export type CompilerOptions = { readonly entry?: URL; readonly mostMemory?: number };

export class WarmCompiler {
  readonly #entry: URL;
  readonly #mostMemory: number;
  #child: ChildProcess | null = null;
  /** In the order in which the child answers. */
  readonly #waiting: Waiting[] = [];
  #closed = false;

  constructor({ entry = COMPILER, mostMemory = MOST_MEMORY }: CompilerOptions = {}) {
    this.#entry = entry;
    this.#mostMemory = mostMemory;
  }

  /** The process that runs now; undefined when there is none. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Builds; what is wrong is in the report, also that the compiler has died of it twice. */
  build(order: BuildOrder): Promise<BuildReport> {
    const { promise, resolve } = Promise.withResolvers<BuildReport>();
    const waiting = { order, tell: resolve, attempts: 1 };
    this.#waiting.push(waiting);
    this.#start().send(waiting.order);
    return promise;
  }

  #start(): ChildProcess {
    if (this.#child !== null) return this.#child;
    const child = fork(this.#entry);
    // An order that found it dead is sent again when its end is told; one that never began has no end.
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
    const done = this.#waiting.shift();
    done?.tell(report);
    if (report.memory < this.#mostMemory || this.#waiting.length > 0 || done?.order.wasm === null) return;
    this.#retire();
    // The next one is warm by the time it is needed.
    if (!this.#closed) void this.build({ source: report.source, wasm: null });
  }

  /** The build that it was at is tried once more: a crash may have come of what was before. */
  #ended(reason: string): void {
    this.#child = null;
    const first = this.#waiting[0];
    if (first !== undefined && first.attempts++ > 1) {
      const { source } = first.order;
      this.#waiting.shift();
      first.tell({ source, problems: [`${source}: the compiler ended: ${reason}`], took: 0, files: [], memory: 0 });
    }
    if (this.#closed) return;
    for (const { order } of this.#waiting) this.#start().send(order);
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
