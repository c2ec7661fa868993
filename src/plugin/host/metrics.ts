/** Metrics that one configuration of a plugin defines while it is started, and counts in cells of its thread's block. */
import { LIMIT, METRIC, STATUS } from "../../abi/abi.ts";
import type { MetricDefinition, MetricPlan } from "../../observe/plugin-metrics.ts";
import { LabelTable, metricCells, metricIdentity } from "../../observe/series.ts";

const NEVER = Number.NEGATIVE_INFINITY;

export class PluginMetrics {
  /** What was defined on trial: the main thread gives it cells, and posts it to the threads. */
  readonly defined: MetricDefinition[] = [];
  readonly #isStartCheck: boolean;
  /** What may be counted in, by its number; of a family the series of each value, once the plugin has asked for it. */
  readonly #byId = new Map<number, MetricDefinition>();
  /** Families by their number, which is none to count in; without a table on trial. */
  readonly #families = new Map<number, { readonly definition: MetricDefinition; readonly table: LabelTable | null }>();
  /** The number of each definition, by its identity. */
  readonly #ids: Map<string, number>;
  readonly #cells: Float64Array;
  /** Of all labels known at run time that were defined on trial. */
  #values = 0;

  /** `plans`: what may be defined; null on trial, where all may, and nothing is counted. */
  constructor(plans: readonly MetricPlan[] | null, cells: Float64Array) {
    this.#isStartCheck = plans === null;
    this.#ids = new Map(plans?.map((plan) => [metricIdentity(plan), plan.cells]));
    this.#cells = cells;
    for (const plan of plans ?? []) this.#add(plan.cells, plan);
  }

  /** A number for the metric, from 0; `absent` when it was not defined on trial, `tooLarge` when there are too many. */
  define(definition: MetricDefinition): number {
    const identity = metricIdentity(definition);
    const known = this.#ids.get(identity);
    if (known !== undefined) return known;
    if (!this.#isStartCheck) return STATUS.absent;
    if (this.defined.length >= LIMIT.metrics) return STATUS.tooLarge;
    if (this.#values + (definition.by?.values ?? 0) > LIMIT.metricValues) return STATUS.tooLarge;
    this.#values += definition.by?.values ?? 0;
    const id = this.defined.push(definition) - 1;
    this.#ids.set(identity, id);
    this.#add(id, definition);
    return id;
  }

  /** The number of a family's series for that value of its label; for that of `other` where it has no room. */
  of(family: number, value: string): number {
    const found = this.#families.get(family);
    if (found === undefined) return STATUS.invalid;
    const id = found.table === null ? LIMIT.metrics + family : found.table.cellsOf(value);
    if (!this.#byId.has(id)) this.#byId.set(id, found.definition);
    return id;
  }

  /** To a counter, which only goes up, or to this thread's part of a gauge. */
  add(id: number, by: number): number {
    const kind = this.#kindOf(id);
    if ((kind !== METRIC.counter && kind !== METRIC.gauge) || !Number.isFinite(by)) return STATUS.invalid;
    if (kind === METRIC.counter && by < 0) return STATUS.invalid;
    if (!this.#isStartCheck) this.#cells[id]! += by;
    return STATUS.ok;
  }

  /** This thread's part of a gauge, or the newest value of all threads. */
  set(id: number, value: number): number {
    const kind = this.#kindOf(id);
    if ((kind !== METRIC.gauge && kind !== METRIC.latest) || !Number.isFinite(value)) return STATUS.invalid;
    if (this.#isStartCheck) return STATUS.ok;
    this.#cells[id] = value;
    if (kind === METRIC.latest) this.#cells[id + 1] = performance.timeOrigin + performance.now();
    return STATUS.ok;
  }

  observe(id: number, value: number): number {
    if (this.#kindOf(id) !== METRIC.histogram || !Number.isFinite(value)) return STATUS.invalid;
    if (this.#isStartCheck) return STATUS.ok;
    const { buckets } = this.#byId.get(id)!;
    let bucket = 0;
    while (bucket < buckets.length && value > buckets[bucket]!) bucket++;
    this.#cells[id + bucket]!++;
    this.#cells[id + buckets.length + 1]! += value;
    return STATUS.ok;
  }

  #kindOf(id: number): number {
    return this.#byId.get(id)?.kind ?? NEVER;
  }

  #add(id: number, definition: MetricDefinition): void {
    const { by } = definition;
    if (by === undefined) return void this.#byId.set(id, definition);
    const layout = { base: id, values: by.values, width: metricCells(definition) };
    this.#families.set(id, { definition, table: this.#isStartCheck ? null : new LabelTable(this.#cells, layout) });
  }
}
