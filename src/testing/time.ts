/** Virtual time of a plugin under test: timers fire in order, without real delays. */
import { setImmediate } from "node:timers/promises";
import type { After } from "../plugin/host/timer.ts";

type Timer = { readonly due: number; readonly run: () => void };

export class TestTime {
  /** Elapsed virtual time in milliseconds. */
  elapsed = 0;
  readonly #timers = new Set<Timer>();
  /** Pending functions of the test, which run in real time. */
  readonly #awaited = new Set<Promise<void>>();

  readonly after: After = (milliseconds, run) => {
    const timer = { due: this.elapsed + milliseconds, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  /** Stops the virtual time until `work` is settled. It must not reject. */
  pauseUntil(work: Promise<void>): void {
    this.#awaited.add(work);
    void work.then(() => this.#awaited.delete(work));
  }

  /** Fires timers until `isDone`. */
  async pass(isDone: () => boolean): Promise<void> {
    for (;;) {
      // A resumed guest continues in microtasks, and may be suspended again.
      await setImmediate();
      if (isDone()) return;
      if (this.#awaited.size > 0) await Promise.race(this.#awaited);
      else this.#runNext();
    }
  }

  #runNext(): void {
    let next: Timer | null = null;
    for (const timer of this.#timers) if (next === null || timer.due < next.due) next = timer;
    if (next === null) throw new Error("the plugin is suspended, but nothing can resume it");
    this.#timers.delete(next);
    this.elapsed = Math.max(this.elapsed, next.due);
    next.run();
  }
}
