/** One interval of load, and what the proxy spent in it. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { readRss, readTimes } from "./programs.ts";

export type Load = {
  readonly port: number;
  /** Over https. */
  readonly tls?: boolean | undefined;
  readonly path: string;
  readonly headers: readonly string[];
  /** Bytes of each request's body; 0: GET without one. */
  readonly upload: number;
  readonly connections: number;
  /** HTTP/2 with so many streams at once on each connection; absent: HTTP/1.1. */
  readonly streams?: number | undefined;
  /** HTTP/2: the file that is the body of each request. */
  readonly file?: string | undefined;
  readonly seconds: number;
  readonly core: number;
};

export type Sample = {
  /** Processor time of the proxy's process for one request, µs. */
  readonly cpu: number;
  /** The share of the interval in which another process had the proxy's core: what disturbs a measurement. */
  readonly waited: number;
  readonly requests: number;
  /** Requests a second. */
  readonly rate: number;
  /** Time to the complete response, µs. */
  readonly p99: number;
  /** Resident memory of the proxy's process after the interval, bytes. */
  readonly rss: number;
};

export type Result = { requests: number; micros: number; p99: number; broken: number; refused: number };

const run = promisify(execFile);

/** Loads `pid`'s port. @throws when one request failed: such an interval compares nothing. */
export async function measure(name: string, pid: number, load: Load): Promise<Sample> {
  const before = readTimes(pid);
  const result = await (load.streams === undefined ? runWrk(load) : runH2load(load, load.streams));
  const after = readTimes(pid);
  if (result.broken + result.refused > 0 || result.requests === 0)
    throw new Error(`${name}: ${result.broken} broken and ${result.refused} refused of ${result.requests} requests`);
  return {
    cpu: (after.ran - before.ran) / result.requests,
    waited: (after.waited - before.waited) / result.micros,
    requests: result.requests,
    rate: (result.requests * 1e6) / result.micros,
    p99: result.p99,
    rss: readRss(pid),
  };
}

export async function runWrk({ port, tls, path, headers, upload, connections, seconds, core }: Load): Promise<Result> {
  const { stdout } = await run("taskset", [
    ...["-c", String(core), "wrk", "-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "10s"],
    ...["-s", join(import.meta.dirname, "wrk.lua")],
    ...headers.flatMap((header) => ["-H", header]),
    `${tls ? "https" : "http"}://127.0.0.1:${port}${path}`,
    ...["--", String(upload)],
  ]);
  const line = /^RESULT (.*)$/m.exec(stdout)?.[1];
  if (line === undefined) throw new Error(`wrk printed no result: ${stdout}`);
  return JSON.parse(line) as Result;
}

async function runH2load(load: Load, streams: number): Promise<Result> {
  const { port, tls, path, headers, file, connections, seconds, core } = load;
  const directory = await mkdtemp(join(tmpdir(), "sluice-h2load-"));
  try {
    const log = join(directory, "log");
    const started = performance.now();
    const { stdout } = await run(
      "taskset",
      [
        ...["-c", String(core), "h2load", "-t1", `-c${connections}`, `-m${streams}`],
        ...[`-D${seconds}`, `--log-file=${log}`],
        ...headers.flatMap((header) => ["-H", header]),
        ...(file === undefined ? [] : ["-d", file]),
        `${tls ? "https" : "http"}://127.0.0.1:${port}${path}`,
      ],
      { timeout: 10_000 + 2000 * seconds },
    );
    const micros = (performance.now() - started) * 1000;
    // A line has the time at which a request began, its status, and its duration in µs.
    const lines = (await readFile(log, "utf8")).trim().split("\n");
    const durations = Float64Array.from(lines, (line) => Number(line.split("\t")[2])).sort();
    const [, failed = "0", errored = "0"] = /(\d+) failed, (\d+) errored/.exec(stdout) ?? [];
    // What was under way when the time was over is counted as failed and errored alike.
    const broken = Number(failed) - Number(errored);
    return {
      requests: durations.length,
      micros,
      p99: durations[Math.floor(durations.length * 0.99)] ?? 0,
      broken,
      refused: 0,
    };
  } finally {
    await rm(directory, { recursive: true });
  }
}
