/**
 * Requests per second by series and status class, for status and dashboard. The main thread reads the counters from time
 * to time and keeps the readings of the last ten seconds; workers do nothing for it.
 */
import type { Counters, Labels, Series } from "./counters.ts";
import { CLASS_OF_STATUS, STATUS_CLASSES } from "./series.ts";

/** Of one `sluice_requests_total{listener,route,cluster}`. Both arrays: one value for each of STATUS_CLASSES. */
export type RequestRate = { readonly labels: Labels; readonly counts: Float64Array; readonly rates: Float64Array };

const WINDOW = 10_000;
const PERIOD = 2_000;
/** Reading thousands of series takes longer: never more than this share of the main thread's time. */
const MAX_SHARE = 0.005;

type Sample = { readonly at: number; readonly counts: ReadonlyMap<Series, Float64Array> };

export class RequestRates {
  readonly #counters: Counters;
  readonly #now: () => number;
  /** The oldest first. The first is empty: before the start there were no requests. */
  readonly #samples: Sample[];
  #timer: NodeJS.Timeout | null = null;

  constructor(counters: Counters, now = () => performance.now()) {
    this.#counters = counters;
    this.#now = now;
    this.#samples = [{ at: now(), counts: new Map() }];
  }

  start(): void {
    const tick = () => {
      const began = performance.now();
      this.sample();
      const took = performance.now() - began;
      this.#timer = setTimeout(tick, Math.max(PERIOD, took / MAX_SHARE)).unref();
    };
    this.#timer = setTimeout(tick, PERIOD).unref();
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  sample(): void {
    this.#samples.push(this.#read());
    this.#forget();
  }

  /** Counts since the series began, and rates over the last ten seconds, or since the start where that is less. */
  list(): RequestRate[] {
    this.#forget();
    const { at, counts } = this.#read();
    const oldest = this.#samples[0]!;
    const seconds = Math.max(1, (at - oldest.at) / 1000);
    return Array.from(counts, ([series, now]) => {
      const before = oldest.counts.get(series);
      return {
        labels: series.labels,
        counts: now,
        rates: now.map((count, index) => (count - (before?.[index] ?? 0)) / seconds),
      };
    });
  }

  /** Drops samples that the window does not need: the oldest kept one is at or just before its beginning. */
  #forget(): void {
    const begin = this.#now() - WINDOW;
    while (this.#samples.length > 1 && this.#samples[1]!.at <= begin) this.#samples.shift();
  }

  #read(): Sample {
    const counts = new Map<Series, Float64Array>();
    for (const series of this.#counters.list("requests")) {
      const classes = new Float64Array(STATUS_CLASSES.length);
      for (const [cell, index] of CLASS_OF_STATUS.entries()) classes[index]! += this.#counters.sum(series.base + cell);
      counts.set(series, classes);
    }
    return { at: this.#now(), counts };
  }
}
