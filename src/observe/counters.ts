/** The main thread's side of the counters (`series.ts`): hands out cell ranges by series, and sums the blocks. */
import { LIMIT } from "../abi/abi.ts";
import {
  BLOCK_CELLS,
  CLUSTER_CELLS,
  HISTOGRAM_CELLS,
  type LabelLayout,
  LabelTable,
  LISTENER_CELLS,
  PLUGIN_CELLS,
  ROLLOUT_CELLS,
  STATUS_CELLS,
  THREAD_CELLS,
  UPSTREAM_CELLS,
} from "./series.ts";

/** Cells of one series of each kind. */
export const SERIES_CELLS = {
  /** `sluice_requests_total{listener,route,cluster,status}` */
  requests: STATUS_CELLS,
  /** `sluice_request_duration_seconds{listener,route}` */
  duration: HISTOGRAM_CELLS,
  /** `sluice_upstream_duration_seconds{cluster,endpoint}`, `sluice_upstream_failures_total{cluster,endpoint,reason}` */
  upstream: UPSTREAM_CELLS.size,
  /** `sluice_retries_total{cluster}`, `sluice_no_endpoint_total{cluster}` */
  retries: CLUSTER_CELLS.size,
  /** `sluice_connections_active{listener}`, its bytes, connections denied, requests rejected */
  listener: LISTENER_CELLS.size,
  /** `sluice_plugin_*{plugin}`, and `{plugin,version="canary"}` for a canary version */
  plugin: PLUGIN_CELLS.size,
  /** `sluice_plugin_rollout_*{plugin,version}` */
  rollout: ROLLOUT_CELLS.size,
  /** What plugins define, by kind. */
  pluginCounter: 1,
  pluginGauge: 1,
  /** A cell for each bucket, one for +Inf, the sum. */
  pluginHistogram: LIMIT.metricBuckets + 2,
  /** The value, and when it was set. */
  pluginLatest: 2,
  /** The same with a label whose values are known at run time (`LabelTable`): as many as `labels.cells` says. */
  pluginBy: 0,
  pluginGaugeBy: 0,
} as const;
export type SeriesKind = keyof typeof SERIES_CELLS;

export type Labels = Readonly<Record<string, string>>;
export type Series = {
  readonly kind: SeriesKind;
  readonly labels: Labels;
  readonly base: number;
  readonly size: number;
};

/** The identity of a series: equal for equal kind and labels. */
export function seriesKey(kind: SeriesKind, labels: Labels): string {
  return JSON.stringify([kind, labels]);
}

const LISTENER_GAUGES = [LISTENER_CELLS.connections, LISTENER_CELLS.tunnels, LISTENER_CELLS.oldestTunnel];

export class Counters {
  /** One block a worker that ever ran. */
  readonly buffers: SharedArrayBuffer[] = [];
  readonly #blocks: Float64Array[] = [];
  readonly #series = new Map<string, Series>();
  /** Ranges given back, by their size: sizes are a handful of constants, and powers of two. */
  readonly #free = new Map<number, number[]>();
  #unused: number = THREAD_CELLS.size;

  constructor(threads = 0) {
    if (threads > 0) this.block(threads - 1);
  }

  /** The block of that worker; its successor with the same number continues in it. */
  block(thread: number): SharedArrayBuffer {
    while (this.buffers.length <= thread) {
      const buffer = new SharedArrayBuffer(BLOCK_CELLS * 8);
      this.buffers.push(buffer);
      this.#blocks.push(new Float64Array(buffer));
    }
    return this.buffers[thread]!;
  }

  /** First cell for the series of that key, all zero. @throws Error with the figure when the cells have run out. */
  allocate(key: string): number {
    const [kind, labels]: [SeriesKind, Labels] = JSON.parse(key);
    const size = SERIES_CELLS[kind] || 2 ** Math.ceil(Math.log2(Number(labels.cells)));
    const base = this.#free.get(size)?.pop() ?? this.#takeFresh(size);
    this.#series.set(key, { kind, labels, base, size });
    return base;
  }

  /** Takes a series away. Only when no thread writes to it any more. */
  free(key: string, base: number): void {
    const { size } = this.#series.get(key)!;
    this.#series.delete(key);
    for (const block of this.#blocks) block.fill(0, base, base + size);
    const free = this.#free.get(size);
    if (free === undefined) this.#free.set(size, [base]);
    else free.push(base);
  }

  /** Every series of a kind. */
  *list(kind: SeriesKind): Iterable<Series> {
    for (const series of this.#series.values()) if (series.kind === kind) yield series;
  }

  /** One cell over all threads. */
  sum(cell: number): number {
    let total = 0;
    for (const block of this.#blocks) total += block[cell]!;
    return total;
  }

  /** The least value of a cell over all threads, of those above 0; else 0. */
  least(cell: number): number {
    let least = 0;
    for (const { [cell]: value } of this.#blocks) if (value! > 0 && (least === 0 || value! < least)) least = value!;
    return least;
  }

  /** Adds the cells from `base` on, over all threads, to groups: that of `base + i` to `target[at + groups[i]]`. */
  addGroups(base: number, groups: Uint8Array, target: Float64Array, at: number): void {
    for (const block of this.#blocks)
      for (let i = 0; i < groups.length; i++) {
        const value = block[base + i]!;
        if (value !== 0) target[at + groups[i]!]! += value;
      }
  }

  /** One cell of one thread. */
  read(thread: number, cell: number): number {
    return this.#blocks[thread]![cell]!;
  }

  /** The values of a label in one thread's table, with the first cell of each. */
  listLabels(thread: number, layout: LabelLayout): ReadonlyMap<string, number> {
    return new LabelTable(this.#blocks[thread]!, layout).list();
  }

  /** What an ended thread had open is open no more. The supervisor's; the thread must have ended. */
  clearGauges(thread: number): void {
    const block = this.#blocks[thread]!;
    block[THREAD_CELLS.requestsInFlight] = 0;
    block[THREAD_CELLS.guests] = 0;
    block[THREAD_CELLS.loopDelay] = 0;
    for (const series of this.list("pluginGauge")) block[series.base] = 0;
    for (const { base, labels } of this.list("pluginGaugeBy"))
      for (const cell of this.listLabels(thread, { base, values: Number(labels.values), width: 1 }).values())
        block[cell] = 0;
    for (const { base } of this.list("listener")) for (const cell of LISTENER_GAUGES) block[base + cell] = 0;
  }

  #takeFresh(size: number): number {
    if (this.#unused + size > BLOCK_CELLS)
      throw new Error(
        `the metrics need more than ${BLOCK_CELLS} counters: fewer routes, endpoints or plugins are possible`,
      );
    const base = this.#unused;
    this.#unused += size;
    return base;
  }
}
