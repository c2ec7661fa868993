/**
 * The metrics of one configuration of a plugin. All are defined at the start check; the control plane then assigns cells
 * in the counter block of each worker, in which the plugin counts.
 */
import { LIMIT, METRIC, STATUS } from "../../abi/abi.ts";
import { LabelTable } from "../../observe/label-table.ts";
import type { MetricDefinition, MetricPlan } from "../../observe/plugin-metrics.ts";
import { metricCells, metricIdentity } from "../../observe/series.ts";

const NEVER = Number.NEGATIVE_INFINITY;

export class PluginMetrics {
  /** The definitions of a start check. */
  readonly defined: MetricDefinition[] = [];
  readonly #isStartCheck: boolean;
  /** Series by number: metrics, and series of families for label values that were used. */
  readonly #byId = new Map<number, MetricDefinition>();
  /** Families (metrics with a label whose values are known at run time) by number; `table` is null in a start check. */
  readonly #families = new Map<number, { readonly definition: MetricDefinition; readonly table: LabelTable | null }>();
  /** Numbers by identity of the definition. */
  readonly #ids: Map<string, number>;
  readonly #cells: Float64Array;
  /** Sum of the declared label values of all families of a start check. */
  #values = 0;

  /** `plans`: the definitions with their cells; null in a start check: anything can be defined, and nothing is counted. */
  constructor(plans: readonly MetricPlan[] | null, cells: Float64Array) {
    this.#isStartCheck = plans === null;
    this.#ids = new Map(plans?.map((plan) => [metricIdentity(plan), plan.cells]));
    this.#cells = cells;
    for (const plan of plans ?? []) this.#add(plan.cells, plan);
  }

  /** Returns the metric's number, from 0; `absent` if the start check did not define it, `tooLarge` above the limits. */
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

  /** Returns the number of a family's series for a label value; of `other` if all rows are used. */
  of(family: number, value: string): number {
    const found = this.#families.get(family);
    if (found === undefined) return STATUS.invalid;
    const id = found.table === null ? LIMIT.metrics + family : found.table.cellsOf(value);
    if (!this.#byId.has(id)) this.#byId.set(id, found.definition);
    return id;
  }

  /** Adds to a counter (not negative) or to this worker's part of a gauge. Returns `ok` or `invalid`. */
  add(id: number, by: number): number {
    const kind = this.#kindOf(id);
    if ((kind !== METRIC.counter && kind !== METRIC.gauge) || !Number.isFinite(by)) return STATUS.invalid;
    if (kind === METRIC.counter && by < 0) return STATUS.invalid;
    if (!this.#isStartCheck) this.#cells[id]! += by;
    return STATUS.ok;
  }

  /** Sets this worker's part of a gauge, or the newest value of all workers. Returns `ok` or `invalid`. */
  set(id: number, value: number): number {
    const kind = this.#kindOf(id);
    if ((kind !== METRIC.gauge && kind !== METRIC.latest) || !Number.isFinite(value)) return STATUS.invalid;
    if (this.#isStartCheck) return STATUS.ok;
    this.#cells[id] = value;
    if (kind === METRIC.latest) this.#cells[id + 1] = performance.timeOrigin + performance.now();
    return STATUS.ok;
  }

  /** Counts an observation in a histogram. Returns `ok` or `invalid`. */
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
