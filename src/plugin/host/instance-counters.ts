/** Counters of one plugin's calls on one worker (`observe/series.ts`). */
import { FAILURE, type Failure } from "../../abi/abi.ts";
import { MAX_REASONS, PLUGIN_CELLS, WORKER_CELLS } from "../../observe/series.ts";

export class InstanceCounters {
  readonly #cells: Float64Array;
  readonly #base: number;

  /** `base`: the plugin's first cell. */
  constructor(cells: Float64Array, base: number) {
    this.#cells = cells;
    this.#base = base;
  }

  called(hook: number): void {
    this.#cells[this.#base + PLUGIN_CELLS.calls + hook]!++;
  }

  spent(hook: number, fuel: number): void {
    this.#cells[this.#base + PLUGIN_CELLS.fuel + hook]! += fuel;
  }

  failed(hook: number, reason: Failure): void {
    this.#cells[this.#base + PLUGIN_CELLS.failures + hook * MAX_REASONS + FAILURE.indexOf(reason)]!++;
  }

  /** A call was not made: the plugin is in quarantine, or the client is blocked. */
  refused(hook: number): void {
    this.#cells[this.#base + PLUGIN_CELLS.refused + hook]!++;
  }

  /** A call was not made: all guests are in use and the queue is full. */
  rejected(hook: number): void {
    this.#cells[this.#base + PLUGIN_CELLS.rejected + hook]!++;
  }

  logDropped(): void {
    this.#cells[this.#base + PLUGIN_CELLS.logDropped]!++;
    this.#cells[WORKER_CELLS.logDropped]!++;
  }
}
