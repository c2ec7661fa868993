/** Timers of suspended calls; `sluice/test` replaces them by simulated ones. */

/** Calls `run` once after that many milliseconds. The returned function cancels it. */
export type After = (milliseconds: number, run: () => void) => () => void;

export const setTimer: After = (milliseconds, run) => {
  const timer = setTimeout(run, milliseconds);
  return () => clearTimeout(timer);
};
