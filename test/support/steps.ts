/** Counts the work of a function independently of the machine's speed and load. */
import { type Profiler, Session } from "node:inspector";

/**
 * Executions of functions and blocks of `src/` in `run`, and the lengths of the texts given to regular expressions: how often
 * an expression backtracks is not known, but it is bounded if its texts are short.
 */
export function countSteps(run: () => unknown): number {
  const session = new Session();
  session.connect();
  try {
    session.post("Profiler.enable");
    session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
    const texts = measureTexts(run);
    let counts: Profiler.ScriptCoverage[] = [];
    // The callback is called before `post` returns.
    session.post("Profiler.takePreciseCoverage", (error, { result }) => {
      if (error !== null) throw error;
      counts = result;
    });
    const ranges = counts
      .filter(({ url }) => url.includes("/src/"))
      .flatMap(({ functions }) => functions.flatMap(({ ranges }) => ranges));
    return ranges.reduce((sum, { count }) => sum + count, texts);
  } finally {
    session.post("Profiler.disable");
    session.disconnect();
  }
}

/** The total length of the texts given to regular expressions in `run`. */
function measureTexts(run: () => unknown): number {
  let length = 0;
  const { exec } = RegExp.prototype;
  // All methods with a regular expression call this one once it is replaced (ECMA-262, RegExpExec).
  RegExp.prototype.exec = function (text) {
    length += text.length;
    return exec.call(this, text);
  };
  try {
    run();
  } finally {
    RegExp.prototype.exec = exec;
  }
  return length;
}
