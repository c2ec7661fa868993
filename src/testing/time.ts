/** Time as a plugin under test has it: what it waits for is passed over, in its order, and nobody really waits. */
import { setImmediate } from "node:timers/promises";
import type { After } from "../plugin/host/timer.ts";

type Timer = { readonly due: number; readonly run: () => void };

export class TestTime {
  /** Milliseconds that have been passed over. */
  elapsed = 0;
  readonly #timers = new Set<Timer>();
  /** Answers that the test itself is still making, in real time. */
  readonly #awaited = new Set<Promise<void>>();

  readonly after: After = (milliseconds, run) => {
    const timer = { due: this.elapsed + milliseconds, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  /** Time stands still until that is settled. It must not reject. */
  hold(work: Promise<void>): void {
    this.#awaited.add(work);
    void work.then(() => this.#awaited.delete(work));
  }

  /** Goes on from timer to timer until it is done. */
  async pass(isDone: () => boolean): Promise<void> {
    for (;;) {
      // A guest that was answered goes on in microtasks, and may wait for the next thing by now.
      await setImmediate();
      if (isDone()) return;
      if (this.#awaited.size > 0) await Promise.race(this.#awaited);
      else this.#runNext();
    }
  }

  #runNext(): void {
    let next: Timer | null = null;
    for (const timer of this.#timers) if (next === null || timer.due < next.due) next = timer;
    if (next === null) throw new Error("the plugin waits for something that never comes");
    this.#timers.delete(next);
    this.elapsed = Math.max(this.elapsed, next.due);
    next.run();
  }
}
