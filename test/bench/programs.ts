/** Starts the programs of a run, each pinned to one core, reads what they cost from /proc, and ends them by their ids. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Command = { readonly name: string; readonly run: readonly string[]; readonly core: number };

export type Program = { readonly name: string; readonly pid: number; close(): Promise<void> };

const ERROR_BYTES = 8192;

/** Owns every process of a run. */
export class Programs {
  readonly #living = new Set<ChildProcess>();
  readonly #ending = new Set<ChildProcess>();

  start({ name, run, core }: Command): Program {
    // taskset replaces itself with the program, so that the child's id is the program's.
    const child = spawn("taskset", ["-c", String(core), ...run], { stdio: ["ignore", "ignore", "pipe"] });
    let errors = "";
    this.#living.add(child);
    child.stderr.on("data", (bytes: Buffer) => {
      errors = (errors + bytes.toString()).slice(-ERROR_BYTES);
    });
    child.once("exit", (code, signal) => {
      this.#living.delete(child);
      if (!this.#ending.has(child)) console.error(`${name} ended with ${code ?? signal}: ${errors.trim()}`);
    });
    return { name, pid: child.pid ?? 0, close: () => this.#end(child) };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#living].map((child) => this.#end(child)));
  }

  /** For an exit that cannot wait. */
  kill(): void {
    for (const child of this.#living) child.kill("SIGKILL");
  }

  async #end(child: ChildProcess): Promise<void> {
    this.#ending.add(child);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    const waited = new AbortController();
    const killing = sleep(3000, undefined, { signal: waited.signal }).then(
      () => child.kill("SIGKILL"),
      () => false,
    );
    await ended;
    waited.abort();
    await killing;
  }
}

/** Waits until the program accepts connections there. @throws when it ended, or is not ready in 60 s. */
export async function waitForPort({ name, pid }: Program, port: number): Promise<void> {
  for (let tries = 0; tries < 1200 && existsSync(`/proc/${pid}/task`); tries++) {
    if (await accepts(port)) return;
    await sleep(50);
  }
  throw new Error(`${name} does not listen on 127.0.0.1:${port}`);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

export type Times = {
  /** Processor time, user and system, of all threads since each began, µs. */
  readonly ran: number;
  /** Time in which a thread could have run but another process had the core, µs. */
  readonly waited: number;
};

export function readTimes(pid: number): Times {
  let ran = 0;
  let waited = 0;
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const times = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ");
      ran += Number(times[0]) / 1000;
      waited += Number(times[1]) / 1000;
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    return { ran: readTicks(pid), waited: 0 };
  }
  return { ran, waited };
}

/** The same from `stat`, in steps of 10 ms: for kernels that keep no scheduler figures for a thread. */
function readTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** Resident memory of a process in bytes. */
export function readRss(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(line?.[1] ?? 0) * 1024;
}

/** The only child of a process: the worker of a master. */
export async function findWorker(pid: number): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim();
    if (children !== "" && !children.includes(" ")) return Number(children);
    await sleep(20);
  }
  throw new Error(`process ${pid} has not exactly one worker`);
}
