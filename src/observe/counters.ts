/** Counters in the main thread (`series.ts`): allocates cell ranges to series, and sums the blocks of the workers. */
import { LIMIT } from "../abi/abi.ts";
import { type LabelLayout, LabelTable } from "./label-table.ts";
import {
  BLOCK_CELLS,
  CLUSTER_CELLS,
  CONNECTION_RESULTS,
  GRPC_CELLS,
  HISTOGRAM_CELLS,
  LISTENER_CELLS,
  PLUGIN_CELLS,
  REQUEST_CELLS,
  ROLLOUT_CELLS,
  UPSTREAM_CELLS,
  WORKER_CELLS,
} from "./series.ts";

/** Number of cells per series, by kind. */
const SERIES_CELLS = {
  /** `sluice_requests_total{listener,route,cluster,status}`, `sluice_grpc_requests_total{…,grpc_status}` */
  requests: REQUEST_CELLS,
  /** `sluice_grpc_method_requests_total{listener,method,grpc_status}` */
  grpcMethod: GRPC_CELLS,
  /** `sluice_request_duration_seconds{listener,route}` */
  duration: HISTOGRAM_CELLS,
  /** `sluice_relay_connections_total{listener,route,cluster,result}` */
  connections: CONNECTION_RESULTS.length,
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
  /** Metrics of plugins, by kind. */
  pluginCounter: 1,
  pluginGauge: 1,
  /** A cell per bucket, one for +Inf, and the sum. */
  pluginHistogram: LIMIT.metricBuckets + 2,
  /** The value, and the time at which it was set. */
  pluginLatest: 2,
  /** Metrics with a label whose values are known only at run time (`LabelTable`); `labels.cells`: the number of cells. */
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

/** Identifies a series by kind and labels. */
export function seriesKey(kind: SeriesKind, labels: Labels): string {
  return JSON.stringify([kind, labels]);
}

const LISTENER_GAUGES = [LISTENER_CELLS.connections, LISTENER_CELLS.tunnels, LISTENER_CELLS.oldestTunnel];

export class Counters {
  /** One block per worker that was ever started. */
  readonly buffers: SharedArrayBuffer[] = [];
  readonly #blocks: Float64Array[] = [];
  readonly #series = new Map<string, Series>();
  /** Freed ranges by size; sizes are a few constants, and powers of two. */
  readonly #free = new Map<number, number[]>();
  #unused: number = WORKER_CELLS.size;

  constructor(workers = 0) {
    if (workers > 0) this.block(workers - 1);
  }

  /** The block of a worker; its replacement with the same number continues in it. */
  block(worker: number): SharedArrayBuffer {
    while (this.buffers.length <= worker) {
      const buffer = new SharedArrayBuffer(BLOCK_CELLS * 8);
      this.buffers.push(buffer);
      this.#blocks.push(new Float64Array(buffer));
    }
    return this.buffers[worker]!;
  }

  /** Allocates the series of that key and returns its first cell; all cells are 0. @throws Error if none are left */
  allocate(key: string): number {
    const [kind, labels]: [SeriesKind, Labels] = JSON.parse(key);
    const size = SERIES_CELLS[kind] || 2 ** Math.ceil(Math.log2(Number(labels.cells)));
    const base = this.#free.get(size)?.pop() ?? this.#allocateNew(size);
    this.#series.set(key, { kind, labels, base, size });
    return base;
  }

  /** Frees a series. Workers must have stopped writing to it. */
  free(key: string, base: number): void {
    const { size } = this.#series.get(key)!;
    this.#series.delete(key);
    for (const block of this.#blocks) block.fill(0, base, base + size);
    this.#free.getOrInsert(size, []).push(base);
  }

  /** All series of a kind. */
  *list(kind: SeriesKind): Iterable<Series> {
    for (const series of this.#series.values()) if (series.kind === kind) yield series;
  }

  /** The sum of a cell over all workers. */
  sum(cell: number): number {
    let total = 0;
    for (const block of this.#blocks) total += block[cell]!;
    return total;
  }

  /** The least positive value of a cell over all workers; 0 if there is none. */
  least(cell: number): number {
    let least = 0;
    for (const { [cell]: value } of this.#blocks) if (value! > 0 && (least === 0 || value! < least)) least = value!;
    return least;
  }

  /** Adds cells of all workers to groups: cell `base + i` to `target[at + groups[i]]`. */
  addGroups(base: number, groups: Uint8Array, target: Float64Array, at: number): void {
    for (const block of this.#blocks)
      for (let i = 0; i < groups.length; i++) {
        const value = block[base + i]!;
        if (value !== 0) target[at + groups[i]!]! += value;
      }
  }

  /** A cell of one worker. */
  read(worker: number, cell: number): number {
    return this.#blocks[worker]![cell]!;
  }

  /** The label values in one worker's table, with the first cell of each. */
  listLabels(worker: number, layout: LabelLayout): ReadonlyMap<string, number> {
    return new LabelTable(this.#blocks[worker]!, layout).list();
  }

  /** Clears the gauges of a worker that has exited. Called by the supervisor. */
  clearGauges(worker: number): void {
    const block = this.#blocks[worker]!;
    block[WORKER_CELLS.requestsInFlight] = 0;
    block[WORKER_CELLS.guests] = 0;
    block[WORKER_CELLS.loopDelay] = 0;
    for (const series of this.list("pluginGauge")) block[series.base] = 0;
    for (const { base, labels } of this.list("pluginGaugeBy"))
      for (const cell of this.listLabels(worker, { base, values: Number(labels.values), width: 1 }).values())
        block[cell] = 0;
    for (const { base } of this.list("upstream")) block[base + UPSTREAM_CELLS.sessions] = 0;
    for (const { base } of this.list("listener")) for (const cell of LISTENER_GAUGES) block[base + cell] = 0;
  }

  #allocateNew(size: number): number {
    if (this.#unused + size > BLOCK_CELLS)
      throw new Error(
        `the metrics need more than ${BLOCK_CELLS} counters: fewer routes, endpoints or plugins are possible`,
      );
    const base = this.#unused;
    this.#unused += size;
    return base;
  }
}
