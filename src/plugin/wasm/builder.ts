/**
 * Builds modules in a separate process with limits for time and memory: a module can make the engine's compiler use
 * gigabytes, and running out of memory ends a process. Modules that were compiled there are then compiled here.
 */
import { type ChildProcess, fork } from "node:child_process";
import { dirname, extname } from "node:path";
import { type BuildPlace, buildModuleAside, type CheckedModule, compileChecked, type ModulePlan } from "./build.ts";
import { BUILD_LIMITS, type BuildJob, type BuildLimits, type BuildReply } from "./build-job.ts";
import { PluginError } from "./error.ts";

/** Milliseconds for which an idle process is kept. */
const IDLE = 1000;

export class ModuleBuilder {
  readonly #trusted: string | null;
  readonly #limits: BuildLimits;
  #process: ChildProcess | null = null;
  #idle: NodeJS.Timeout | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #busy = false;
  #closed = false;

  /** Modules in the directory `trusted`, which are part of the program, are built in this process. */
  constructor(trusted: string | null = null, limits: BuildLimits = BUILD_LIMITS) {
    this.#trusted = trusted;
    this.#limits = limits;
  }

  /** @throws PluginError for an invalid module, or one that exceeds the limits. */
  async build(bytes: Uint8Array, place: BuildPlace): Promise<ModulePlan> {
    if (dirname(place.path) === this.#trusted) return buildModuleAside(bytes, place);
    const checked = this.#last.then(() => this.#ask({ bytes, ...place, limits: this.#limits }));
    this.#last = checked.catch(() => undefined);
    return compileChecked(await checked);
  }

  /** Starts the process before the first module is built. */
  warm(): void {
    if (this.#process === null && !this.#closed) this.#rest(this.#start());
  }

  /** Ends the process; pending builds fail. */
  close(): void {
    this.#closed = true;
    this.#end();
  }

  async #ask(job: BuildJob): Promise<CheckedModule> {
    if (this.#closed) throw new PluginError("shutting down");
    const child = this.#process ?? this.#start();
    this.#work(child);
    const reply = await ask(child, job);
    if (reply.checked === null && reply.ends) this.#end();
    else this.#rest(child);
    if (this.#closed) throw new PluginError("shutting down");
    if (reply.checked === null) throw new PluginError(reply.problem, reply.hook);
    const { sourceMap, ...rest } = reply.checked;
    return { ...rest, sourceMap: sourceMap && { ...sourceMap, table: shared(sourceMap.table) } };
  }

  #start(): ChildProcess {
    const { NODE_COMPILE_CACHE } = process.env;
    const child = fork(new URL(`./build-process${extname(import.meta.filename)}`, import.meta.url), {
      serialization: "advanced",
      // No options and no environment of this process, which may contain secrets.
      execArgv: [],
      env: NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE },
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    const gone = () => {
      if (this.#process === child) this.#process = null;
    };
    child.on("error", gone);
    child.on("exit", gone);
    this.#process = child;
    return child;
  }

  #work(child: ChildProcess): void {
    this.#busy = true;
    clearTimeout(this.#idle);
    child.ref();
    child.channel?.ref();
  }

  /** Keeps the process for `IDLE` ms; it does not keep this process alive. */
  #rest(child: ChildProcess): void {
    this.#busy = false;
    child.unref();
    child.channel?.unref();
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#end(), IDLE).unref();
  }

  #end(): void {
    clearTimeout(this.#idle);
    const child = this.#process;
    this.#process = null;
    if (this.#busy) child?.kill("SIGKILL");
    // An orderly exit writes Node's compile cache.
    else if (child?.connected) child.disconnect();
    this.#busy = false;
  }
}

/** Sends a job and returns its reply; a failure of the process is a reply with a problem. */
function ask(child: ChildProcess, job: BuildJob): Promise<BuildReply> {
  const { promise, resolve } = Promise.withResolvers<BuildReply>();
  const fail = (problem: string) => resolve({ checked: null, problem, hook: "", ends: true });
  const timer = setTimeout(fail, job.limits.elapsed, `building it takes more than ${job.limits.elapsed / 1000} s`);
  const onError = ({ message }: Error) => fail(`the process that builds it failed: ${message}`);
  const onExit = (code: number | null, signal: string | null) =>
    fail(`the process that builds it ended (${signal ?? `exit code ${code}`})`);
  child.once("message", resolve).once("error", onError).once("exit", onExit);
  child.send(job, (error) => error && onError(error));
  return promise.finally(() => {
    clearTimeout(timer);
    child.off("message", resolve).off("error", onError).off("exit", onExit);
  });
}

/** Copies a table to shared memory, since it is posted to every worker. */
function shared(table: Uint32Array): Uint32Array {
  const copy = new Uint32Array(new SharedArrayBuffer(table.byteLength));
  copy.set(table);
  return copy;
}
