/**
 * Requests per second by series and status class, for the status and the dashboard. The main thread samples the counters
 * and keeps the samples of the last ten seconds; workers do nothing for it.
 */
import type { Counters, Labels, Series } from "./counters.ts";
import { CLASS_OF_STATUS, STATUS_CLASSES } from "./series.ts";

/** Rates of one series of `sluice_requests_total`, per STATUS_CLASSES. */
export type RequestRate = { readonly labels: Labels; readonly counts: Float64Array; readonly rates: Float64Array };

const WINDOW = 10_000;
const PERIOD = 2_000;
const SAMPLES = WINDOW / PERIOD + 1;
const CLASSES = STATUS_CLASSES.length;
/** Most of the main thread's time for sampling, as a share: tens of thousands of series are sampled less often. */
const MAX_SHARE = 0.005;

export class RequestRates {
  readonly #counters: Counters;
  readonly #now: () => number;
  /** Times of the samples, by index; the first is taken before any series exists. */
  readonly #times = new Float64Array(SAMPLES);
  /** Samples of each series, by index and class; zero before the series existed. */
  readonly #samples = new Map<Series, Float64Array>();
  #taken = 1;
  #timer: NodeJS.Timeout | null = null;

  constructor(counters: Counters, now = () => performance.now()) {
    this.#counters = counters;
    this.#now = now;
    this.#times[0] = now();
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
    const place = this.#taken++ % SAMPLES;
    this.#times[place] = this.#now();
    const present = new Set<Series>();
    for (const series of this.#counters.list("requests")) {
      present.add(series);
      const samples = this.#samplesOf(series);
      samples.fill(0, place * CLASSES, (place + 1) * CLASSES);
      this.#counters.addGroups(series.base, CLASS_OF_STATUS, samples, place * CLASSES);
    }
    if (this.#samples.size === present.size) return;
    for (const series of this.#samples.keys()) if (!present.has(series)) this.#samples.delete(series);
  }

  /** Counts since the start of each series, and rates over the last ten seconds, or since the start if that is shorter. */
  list(): RequestRate[] {
    const now = this.#now();
    const place = this.#begin(now - WINDOW);
    const seconds = Math.max(1, (now - this.#times[place]!) / 1000);
    return Array.from(this.#counters.list("requests"), (series) => {
      const counts = new Float64Array(CLASSES);
      this.#counters.addGroups(series.base, CLASS_OF_STATUS, counts, 0);
      const before = this.#samples.get(series);
      const rates = counts.map((count, index) => (count - (before?.[place * CLASSES + index] ?? 0)) / seconds);
      return { labels: series.labels, counts, rates };
    });
  }

  #samplesOf(series: Series): Float64Array {
    return this.#samples.getOrInsertComputed(series, () => new Float64Array(SAMPLES * CLASSES));
  }

  /** Index of the newest sample not newer than `at`; of the oldest sample if there is none. */
  #begin(at: number): number {
    const oldest = Math.max(0, this.#taken - SAMPLES);
    for (let number = this.#taken - 1; number > oldest; number--)
      if (this.#times[number % SAMPLES]! <= at) return number % SAMPLES;
    return oldest % SAMPLES;
  }
}
