/** A deadline of an exchange while it waits for what has no clock of its own: a plugin, or the rest of a body that one holds. */
import type { Timed } from "../net/clock.ts";

export class TimeLimit implements Timed {
  deadline: number;
  sweepIndex = -1;
  readonly #over: () => void;

  /** `over` must let no exception out. */
  constructor(deadline: number, over: () => void) {
    this.deadline = deadline;
    this.#over = over;
  }

  expire(): void {
    this.#over();
  }
}
