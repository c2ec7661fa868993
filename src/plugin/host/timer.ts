/** Timers of waits: the thread's own, or those of whoever tells the time instead of it (`sluice/test`). */

/** Runs something once, so many milliseconds later; what it returns calls it off. */
export type After = (milliseconds: number, run: () => void) => () => void;

export const setTimer: After = (milliseconds, run) => {
  const timer = setTimeout(run, milliseconds);
  return () => clearTimeout(timer);
};
