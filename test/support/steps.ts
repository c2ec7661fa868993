/** Counts the work of a function independently of the machine's speed and load. */
import assert from "node:assert/strict";
import { type Profiler, Session } from "node:inspector";
import { setFlagsFromString } from "node:v8";
import { countRegExpSteps } from "./regexp-steps.ts";

const COMPILERS = ["turbofan", "maglev"];

/**
 * Executions of functions and blocks of `src/` in `run`, steps of regular expressions, and characters searched by methods of
 * strings. The work of methods of buffers is not counted.
 */
export function countSteps(run: () => unknown): number {
  const session = new Session();
  session.connect();
  // In optimised code the calls of inlined functions are not counted.
  for (const compiler of COMPILERS) setFlagsFromString(`--no-${compiler}`);
  try {
    session.post("Profiler.enable");
    session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
    const native = countNative(run);
    let counts: Profiler.ScriptCoverage[] = [];
    // The callback is called before `post` returns.
    session.post("Profiler.takePreciseCoverage", (error, { result }) => {
      if (error !== null) throw error;
      counts = result;
    });
    const ranges = counts
      .filter(({ url }) => url.includes("/src/"))
      .flatMap(({ functions }) => functions.flatMap(({ ranges }) => ranges));
    return ranges.reduce((sum, { count }) => sum + count, native);
  } finally {
    session.post("Profiler.disable");
    session.disconnect();
    for (const compiler of COMPILERS) setFlagsFromString(`--${compiler}`);
  }
}

const FACTOR = 8;
/** Between linear growth, 1 or less, and quadratic growth, `FACTOR`. */
const MOST = 2;

/** Fails unless the work of `run` is linear in its argument: compares `FACTOR` times `size` to as many runs with `size`. */
export function assertLinear(size: number, run: (size: number) => unknown, what: string): void {
  const [few, many] = [size, FACTOR * size].map((length) => countSteps(() => run(length)));
  const growth = many! / few! / FACTOR;
  assert.ok(growth < MOST, `${what}: ${FACTOR} times the size takes ${(FACTOR * growth).toFixed(1)} times the steps`);
}

/** Methods of strings whose work depends on the length: how many characters they read. */
const STRING_WORK: readonly [name: "indexOf" | "lastIndexOf" | "split" | "trim" | "toLowerCase", work: Work][] = [
  ["indexOf", (text, found, from) => (Number(found) < 0 ? text.length : Number(found)) - Number(from ?? 0)],
  ["lastIndexOf", (text, found, from) => Math.min(Number(from ?? text.length), text.length) - Number(found)],
  ["split", ({ length }) => length],
  ["trim", ({ length }, trimmed) => length - String(trimmed).length],
  ["toLowerCase", ({ length }) => length],
];
type Work = (text: string, result: unknown, from: unknown) => number;

function countNative(run: () => unknown): number {
  let steps = 0;
  const { exec } = RegExp.prototype;
  let isCounting = false;
  const count = (work: () => number): void => {
    if (isCounting) return;
    isCounting = true;
    steps += work();
    isCounting = false;
  };
  // All methods with a regular expression call this one once it is replaced (ECMA-262, RegExpExec).
  RegExp.prototype.exec = function (text) {
    const from = this.lastIndex;
    const found = exec.call(this, text);
    count(() => countRegExpSteps(this, text, from, found));
    return found;
  };
  const methods = STRING_WORK.map(([name, work]) => {
    const method = String.prototype[name] as (...args: unknown[]) => unknown;
    const counted = function (this: string, ...args: unknown[]): unknown {
      const result = method.apply(this, args);
      count(() => work(this, result, args[1]));
      return result;
    };
    Object.assign(String.prototype, { [name]: counted });
    return { [name]: method };
  });
  try {
    run();
  } finally {
    RegExp.prototype.exec = exec;
    Object.assign(String.prototype, ...methods);
  }
  return steps;
}
