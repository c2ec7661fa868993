/** One interval of load, and what the proxy spent in it. */
import { execFile } from "node:child_process";
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
  const result = await runWrk(load);
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
