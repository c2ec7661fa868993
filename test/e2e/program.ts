/** The real program as a child process, on free ports and in its own directory, stopped at the end of the test. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { findFreePort } from "./free-port.ts";

/**
 * The program that the tests start: `npm test` bundles the sources, which halves the time of a start
 * (scripts/bundle-program.ts); a test file that is run by itself uses the sources.
 */
export const launcher = process.env.SLUICE_TEST_LAUNCHER ?? join(import.meta.dirname, "../../bin/sluice.js");

/**
 * How a worker accepts connections (src/net/accept.ts; "transfer", where the first worker accepts for all:
 * src/worker/links.ts). The behaviour is the same in all of them. The first is the default.
 */
const MODES = ["handle", "public"] as const;
export type AcceptMode = (typeof MODES)[number] | "transfer";

/** A test that starts the program: required by `startSluice`, so that each such test states its modes. */
export type LiveTest = TestContext & { readonly accept: AcceptMode };

type Run = (t: LiveTest) => void | Promise<void>;

/** Runs a test in each mode: for what depends on how a client's connection is read, paused, ended or counted. */
export function testInEachMode(name: string, run: Run, modes: readonly AcceptMode[] = MODES): void {
  for (const accept of modes) test(`${name} (${accept})`, (t) => run(Object.assign(t, { accept })));
}

/** Runs a test in the default mode only: for what is decided about requests once they are read. */
export function testInUsualMode(name: string, run: Run): void {
  testInEachMode(name, run, [MODES[0]]);
}

/** Runs a test in all modes, also where the first worker distributes connections: for accepting and draining. */
export function testInAllModes(name: string, run: Run): void {
  testInEachMode(name, run, [...MODES, "transfer"]);
}

/** The number of repetitions of a slow step: a quarter in modes other than the default. */
export function times(t: LiveTest, count: number): number {
  return t.accept === MODES[0] ? count : Math.ceil(count / 4);
}

/** The environment of a program that is started in the test's mode. */
export function environment(t: LiveTest): NodeJS.ProcessEnv {
  return { ...process.env, SLUICE_ACCEPT: t.accept };
}

/** Ports of the listener and the admin interface, and further ones by name. */
export type Ports = Readonly<Record<string, number>> & { readonly web: number; readonly admin: number };

export type Options = {
  /** Files beside the configuration, by name. */
  files?: Record<string, string | Uint8Array>;
  /** Default: 1, so that a test knows which worker it uses; 2 in mode "transfer". */
  workers?: number;
  /** Names of further ports. */
  ports?: readonly string[];
  /**
   * Where its standard output goes: a descriptor, or a pipe: read by the test (the default), never, or one whose
   * reader has closed.
   */
  stdout?: "unread" | "closed" | number;
  /** Called with the process's id right after it was spawned. */
  onSpawn?: (pid: number) => void;
  /** A module that every thread of the program loads first, to make a worker fail. */
  preload?: URL;
};

/** Bound of the wait for a start, ms: on a machine with ten times its load one has taken 35 s. */
const START_WAIT = 90_000;

const endings = new WeakMap<TestContext, (() => unknown)[]>();

/** Runs `end` after the test, in reverse order of registration: clients are closed before the program is stopped. */
export function atEnd(t: TestContext, end: () => unknown): void {
  const before = endings.get(t);
  if (before !== undefined) return void before.push(end);
  const all = [end];
  endings.set(t, all);
  t.after(async () => {
    const failures: unknown[] = [];
    for (const one of all.reverse())
      try {
        await one();
      } catch (error) {
        failures.push(error);
      }
    if (failures.length > 0) throw failures[0];
  });
}

/** The connections of Node's `fetch`: what the package undici gets and sets, which takes a tenth of a second to load. */
const DISPATCHER = Symbol.for("undici.globalDispatcher.2");
type Dispatcher = { readonly constructor: new () => Dispatcher; close(): Promise<void> };

/**
 * Closes the keep-alive connections of `fetch`: a draining program would wait for their idle timeout, and on a listener
 * whose protocol has changed they are served by the former configuration until they are drained.
 */
export function closeIdleConnections(): void {
  const kept = Reflect.get(globalThis, DISPATCHER) as Dispatcher | undefined;
  assert.ok(kept, "Node's fetch has a dispatcher after its first call");
  Reflect.set(globalThis, DISPATCHER, new kept.constructor());
  void kept.close();
}

type LogLine = Record<string, unknown> & { level?: string; msg?: string };

/** ms. */
const TICK = 100;

/**
 * Waits for `promise` up to a bound, which is reached only if the program is broken. Time in which this process does not run,
 * on a loaded machine, does not count: peers are in this process too, and a body of many chunks takes as many of its turns.
 */
export async function bounded<T>(promise: Promise<T>, what: string | (() => string), ms = 15_000): Promise<T> {
  const late = Promise.withResolvers<never>();
  let left = ms / TICK;
  const ticking = setInterval(() => {
    if (--left <= 0) late.reject(new Error(`waited ${ms} ms for ${typeof what === "string" ? what : what()}`));
  }, TICK);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearInterval(ticking);
  }
}

/** Polls until `is` holds, for state that is not reported by an event. The bound is as that of `bounded`. */
export async function until(is: () => boolean | Promise<boolean>, what: string, ms = 15_000): Promise<void> {
  const end = performance.now() + ms;
  for (let polls = 0; !(await is()); polls++) {
    if (performance.now() > end && polls > ms / TICK) throw new Error(`waited ${ms} ms until ${what}`);
    await setTimeout(20);
  }
}

export class Program {
  readonly directory: string;
  readonly ports: Ports;
  /** Standard output and standard error so far. */
  output = "";
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  readonly #head: string;
  readonly #mayFail: boolean;
  #onOutput: () => void = () => {};

  constructor(
    t: LiveTest,
    directory: string,
    ports: Ports,
    config: string | ((ports: Ports) => string),
    options: Options,
  ) {
    this.directory = directory;
    this.ports = ports;
    this.#head = `admin: 127.0.0.1:${ports.admin}\nworkers: ${options.workers ?? (t.accept === "transfer" ? 2 : 1)}\n`;
    for (const [name, content] of Object.entries(options.files ?? {})) this.write(name, content);
    this.config(typeof config === "string" ? config : config(ports));
    this.#mayFail = options.preload !== undefined;
    const preload = options.preload === undefined ? [] : ["--import", options.preload.href];
    const child = spawn(process.execPath, [...preload, launcher, "run", "-c", join(directory, "sluice.yaml")], {
      env: environment(t),
      stdio: ["ignore", typeof options.stdout === "number" ? options.stdout : "pipe", "pipe"],
    });
    this.#child = child;
    options.onSpawn?.(child.pid!);
    if (options.stdout === "closed") child.stdout!.destroy();
    for (const stream of options.stdout === undefined ? [child.stdout, child.stderr] : [child.stderr])
      stream!.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
        this.#onOutput();
      });
    this.exited = once(child, "close").then(([code, signal]) => ({ code, signal }));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get port(): number {
    return this.ports.web;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The whole lines that are JSON: its log and its access log. */
  get lines(): LogLine[] {
    return this.output
      .split("\n")
      .slice(0, -1)
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
  }

  /** The lines of the access log. */
  get accessLines(): LogLine[] {
    return this.lines.filter((line) => "method" in line || "status" in line);
  }

  /** Waits for a line of the log for which `is` holds, and returns it. */
  async logged(is: (line: LogLine) => boolean, what: string, ms?: number): Promise<LogLine> {
    const found = new Promise<LogLine>((resolve) => {
      this.#onOutput = () => {
        const line = this.lines.find(is);
        if (line !== undefined) resolve(line);
      };
      this.#onOutput();
    });
    return bounded(found, () => `${what} in the log:\n${this.output}`, ms);
  }

  write(name: string, content: string | Uint8Array): void {
    writeFileSync(join(this.directory, name), content);
  }

  /** Writes the configuration; `admin` and `workers` are put before it. */
  config(text: string): void {
    this.write("sluice.yaml", this.#head + text);
  }

  get configText(): string {
    return readFileSync(join(this.directory, "sluice.yaml"), "utf8").slice(this.#head.length);
  }

  async ask(path: string, options: RequestInit = {}): Promise<{ status: number; text: string }> {
    const response = await fetch(`http://127.0.0.1:${this.ports.admin}${path}`, options);
    return { status: response.status, text: await response.text() };
  }

  async status(): Promise<Record<string, unknown>> {
    return JSON.parse((await this.ask("/api/v1/status")).text);
  }

  /** The sum of a metric's series that have all these labels; 0 when there is none. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const { text } = await this.ask("/metrics");
    let sum = 0;
    for (const line of text.split("\n")) {
      const [, found, list = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (found !== name) continue;
      if (Object.entries(labels).every(([label, is]) => list.includes(`${label}="${is}"`))) sum += Number(value);
    }
    return sum;
  }

  /** Waits until a metric has the value: a worker counts shortly after its peer has seen what is counted. */
  async metricIs(value: number, name: string, labels: Record<string, string> = {}): Promise<void> {
    await until(async () => (await this.metric(name, labels)) === value, name).catch(async () =>
      assert.equal(await this.metric(name, labels), value, `${name} ${JSON.stringify(labels)}`),
    );
  }

  /** Reloads the configuration by the admin interface. */
  async reload(): Promise<{ status: number; text: string }> {
    return this.ask("/api/v1/reload", { method: "POST" });
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Sends SIGTERM; fails unless the program exits with 0 and has logged no internal error. */
  async stop(): Promise<void> {
    if (!this.running) return;
    closeIdleConnections();
    this.kill("SIGTERM");
    try {
      const { code, signal } = await bounded(this.exited, "the program to end after SIGTERM");
      assert.deepEqual([code, signal], [0, null], this.output);
    } finally {
      this.kill("SIGKILL");
    }
    assert.doesNotMatch(this.output, /an exception ended|failed while ending/);
    if (!this.#mayFail) assert.doesNotMatch(this.output, /worker failed/);
  }
}

/** Starts the program with that configuration, and waits until it is ready. */
export async function startSluice(
  t: LiveTest,
  config: string | ((ports: Ports) => string),
  options: Options = {},
): Promise<Program> {
  const program = await startProgram(t, config, options, (stop) => atEnd(t, stop));
  assert.ok(program.running, `it ended at once:\n${program.output}`);
  return program;
}

/** `onEnd` gets the function that stops the program, before the program is ready. */
async function startProgram(
  t: LiveTest,
  config: string | ((ports: Ports) => string),
  options: Options,
  onEnd: (stop: () => Promise<void>) => void,
): Promise<Program> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-e2e-"));
  const ports: Record<string, number> = {};
  for (const name of ["web", "admin", ...(options.ports ?? [])]) ports[name] = await findFreePort();
  const program = new Program(t, directory, ports as Ports, config, options);
  onEnd(async () => {
    await program.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  const ready = (): Promise<boolean> =>
    program.ask("/ready").then(
      ({ status }) => status === 200,
      () => false,
    );
  await until(async () => !program.running || (await ready()), `it is ready:\n${program.output}`, START_WAIT);
  return program;
}

/** The programs of `reuseSluice` by mode, and the functions that stop them. */
const shared = new Map<AcceptMode, Program>();
const stops: (() => Promise<void>)[] = [];
after(async () => {
  for (const stop of stops) await stop();
});

/**
 * The program that the tests of a file share, one in each mode, reloaded with the test's configuration: a start takes half
 * a second of processor time, a reload a tenth of it. For tests that neither read counters nor end the program.
 */
export async function reuseSluice(
  t: LiveTest,
  config: (ports: Ports) => string,
  { files = {}, ports = [] }: Pick<Options, "files" | "ports"> = {},
): Promise<Program> {
  const running = shared.get(t.accept);
  if (running === undefined) {
    const program = await startProgram(t, config, { files, ports }, (stop) => void stops.push(stop));
    shared.set(t.accept, program);
    return program;
  }
  assert.ok(running.running, `it ended during another test:\n${running.output}`);
  for (const [name, content] of Object.entries(files)) running.write(name, content);
  running.config(config(running.ports));
  const { status, text } = await running.reload();
  assert.equal(status, 200, text);
  return running;
}

/** One listener and one cluster, with further keys of each. */
export function simpleConfig(
  upstreams: number | readonly number[],
  { listener = "", cluster = "", route = "", rest = "" } = {},
): (ports: Ports) => string {
  const addresses = [upstreams].flat().map((port) => `"127.0.0.1:${port}"`);
  return (ports) => `${rest}
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes: [{ cluster: app${route === "" ? "" : `, ${route}`} }]
    ${listener}
clusters:
  app:
    endpoints: [${addresses.join(", ")}]
    ${cluster}
`;
}

/** Runs the command line to its end. */
export async function runSluice(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const exec = promisify(execFile);
  try {
    const { stdout, stderr } = await exec(process.execPath, [launcher, ...args]);
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, stdout, stderr };
  }
}
