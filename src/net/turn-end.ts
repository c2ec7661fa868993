/** Tasks for the end of a turn of the event loop, after all of its socket events. One immediate runs all of them. */

let tasks: (() => void)[] = [];
/** The array of the turn before, reused. */
let spare: (() => void)[] = [];

/** Runs `task`, which does not throw, once at the end of this turn. Tasks that are added meanwhile run in the next one. */
export function atTurnEnd(task: () => void): void {
  if (tasks.push(task) === 1) setImmediate(runAll);
}

function runAll(): void {
  const current = tasks;
  tasks = spare;
  for (let i = 0; i < current.length; i++) current[i]!();
  current.length = 0;
  spare = current;
}
