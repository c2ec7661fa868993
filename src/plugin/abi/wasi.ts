/**
 * WASI preview 1 for plugins whose toolchain requires it: standard output is written to the log, there are a clock and
 * random bytes, but no files, arguments, environment or sockets. Unsupported functions return the error number of a host
 * without that feature.
 */
import { randomFillSync } from "node:crypto";
import { CRYPTO_FUEL, FUEL } from "../../abi/abi.ts";
import { Fault } from "../host/fault.ts";
import type { CallContext } from "./call-context.ts";
import { writeLine } from "./log-lines.ts";
import type { GuestMemory } from "./memory.ts";
import { WASI_NAMES } from "./wasi-names.ts";
import { EVENT, poll, SleptClock, SUBSCRIPTION } from "./wasi-poll.ts";

/** Error numbers of WASI. */
const ERROR = { none: 0, badDescriptor: 8, invalid: 28, noEntry: 44, notSupported: 58, noSeek: 70 } as const;

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const MOST_RANDOM = 65_536;
/** Ranges of one `fd_write`. */
const MOST_RANGES = 1024;
/** Cost of reading one, in bytes. */
const RANGE = 64;
/** Cost of a subscription, in bytes: 1 µs. */
const POLLED = 6400;
const LINE_FEED = 10;
const RETURN = 13;
const NANOSECONDS = 1_000_000n;
/** Resolution of the clock. */
const RESOLUTION = 50n * NANOSECONDS;

/** Thrown by `proc_exit(0)`: the program has ended successfully. */
export class ProgramEnd extends Error {}

type Function_ = (...values: never[]) => number;

/** `memory` is the guest's own, attached when there is an instance. */
export function makeWasi(context: CallContext, memory: GuestMemory): Record<string, Function_> {
  const slept = new SleptClock(() => BigInt(Math.trunc(context.now())) * NANOSECONDS);
  /** Begins a call that reads or writes that number of bytes of the guest's memory. */
  const enter = (call: string, bytes = 0): void => {
    context.enter(call, bytes);
    memory.refresh();
  };
  const leave = (error: number): number => context.leave(error);
  /** Writes 32-bit words, each to its own address. */
  const put = (call: string, ...words: readonly (readonly [at: number, value: number])[]): number => {
    enter(call);
    for (const [at, value] of words) memory.bytes.writeUInt32LE(value, memory.check(at, 4));
    return leave(ERROR.none);
  };
  const refuse = (call: string, error: number) => (): number => {
    enter(call);
    return leave(error);
  };
  return {
    ...Object.fromEntries(WASI_NAMES.map((name) => [name, refuse(name, refusalOf(name))])),
    args_get: refuse("args_get", ERROR.none),
    environ_get: refuse("environ_get", ERROR.none),
    sched_yield: refuse("sched_yield", ERROR.none),
    args_sizes_get: (count: number, size: number) => put("args_sizes_get", [count, 0], [size, 0]),
    environ_sizes_get: (count: number, size: number) => put("environ_sizes_get", [count, 0], [size, 0]),

    clock_time_get(clock: number, _precision: bigint, out: number): number {
      enter("clock_time_get");
      const at = memory.check(out, 8);
      if (clock !== 0 && clock !== 1) return leave(ERROR.invalid);
      memory.bytes.writeBigUInt64LE(slept.now, at);
      return leave(ERROR.none);
    },

    clock_res_get(clock: number, out: number): number {
      enter("clock_res_get");
      const at = memory.check(out, 8);
      if (clock !== 0 && clock !== 1) return leave(ERROR.invalid);
      memory.bytes.writeBigUInt64LE(RESOLUTION, at);
      return leave(ERROR.none);
    },

    random_get(out: number, length: number): number {
      enter("random_get", length >>> 0);
      const at = memory.check(out, length);
      if (length >>> 0 > MOST_RANDOM) return leave(ERROR.invalid);
      context.spend(FUEL.bytesPerUnit * (CRYPTO_FUEL.random + (length >>> 0) / CRYPTO_FUEL.bytesPerUnit));
      randomFillSync(memory.bytes, at, length >>> 0);
      return leave(ERROR.none);
    },

    poll_oneoff(from: number, to: number, count: number, out: number): number {
      enter("poll_oneoff");
      const at = memory.check(out, 4);
      if (count <= 0 || count > MOST_RANGES) return leave(ERROR.invalid);
      const events = memory.check(to, EVENT * count);
      context.spend(POLLED * count);
      memory.bytes.writeUInt32LE(poll(slept, memory, memory.check(from, SUBSCRIPTION * count), events, count), at);
      return leave(ERROR.none);
    },

    fd_close: (descriptor: number) => {
      enter("fd_close");
      return leave(descriptor <= STDERR && descriptor >= STDIN ? ERROR.none : ERROR.badDescriptor);
    },

    fd_seek: (descriptor: number) => {
      enter("fd_seek");
      return leave(descriptor <= STDERR && descriptor >= STDIN ? ERROR.noSeek : ERROR.badDescriptor);
    },

    /** A character device (2) without rights. */
    fd_fdstat_get(descriptor: number, out: number): number {
      enter("fd_fdstat_get");
      const at = memory.check(out, 24);
      if (descriptor < STDIN || descriptor > STDERR) return leave(ERROR.badDescriptor);
      memory.bytes.fill(0, at, at + 24);
      memory.bytes[at] = 2;
      return leave(ERROR.none);
    },

    /** Always at the end of the file. */
    fd_read(descriptor: number, _ranges: number, _count: number, out: number): number {
      if (descriptor === STDIN) return put("fd_read", [out, 0]);
      enter("fd_read");
      return leave(ERROR.badDescriptor);
    },

    fd_write(descriptor: number, ranges: number, count: number, out: number): number {
      enter("fd_write");
      const at = memory.check(out, 4);
      if (descriptor !== STDOUT && descriptor !== STDERR) return leave(ERROR.badDescriptor);
      if (count >>> 0 > MOST_RANGES) return leave(ERROR.invalid);
      const length = writeRanges(context, memory, descriptor === STDOUT ? "info" : "error", ranges, count);
      memory.bytes.writeUInt32LE(length >>> 0, at);
      return leave(ERROR.none);
    },

    proc_exit(code: number): never {
      enter("proc_exit");
      if (code === 0 && context.scope.isStarting) throw new ProgramEnd();
      throw new Fault("abort", `proc_exit(${code})`);
    },
  };
}

function refusalOf(name: string): number {
  if (name.startsWith("path_")) return ERROR.noEntry;
  return name.startsWith("fd_") ? ERROR.badDescriptor : ERROR.notSupported;
}

/** Logs each range that contains more than line ends; returns their total length. */
function writeRanges(
  context: CallContext,
  memory: GuestMemory,
  level: "info" | "error",
  ranges: number,
  count: number,
): number {
  const list = memory.check(ranges, 8 * count);
  let length = 0;
  for (let at = list; at < list + 8 * count; at += 8) {
    const size = memory.bytes.readUInt32LE(at + 4);
    const start = memory.check(memory.bytes.readUInt32LE(at), size);
    let end = start + size;
    while (end > start && (memory.bytes[end - 1] === LINE_FEED || memory.bytes[end - 1] === RETURN)) end--;
    context.spend(RANGE + size);
    if (end > start) writeLine(context, level, start, end - start, memory);
    length += size;
  }
  return length;
}
