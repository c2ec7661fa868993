/** Metrics that one configuration of a plugin defines while it is started, and counts in cells of its thread's block. */
import { LIMIT, METRIC, STATUS } from "../../abi/abi.ts";

export type MetricDefinition = {
  /** One of METRIC. */
  readonly kind: number;
  readonly name: string;
  readonly help: string;
  readonly labels: readonly (readonly [name: string, value: string])[];
  /** Of a histogram: upper bounds, ascending. */
  readonly buckets: readonly number[];
};

/** A definition with the first of its cells, by which the guest names it: a number that no other series has meanwhile. */
export type MetricPlan = MetricDefinition & { readonly cells: number };

const NEVER = Number.NEGATIVE_INFINITY;

export class PluginMetrics {
  /** What was defined on trial: the main thread gives it cells, and posts it to the threads. */
  readonly defined: MetricDefinition[] = [];
  readonly #byId: Map<number, MetricPlan> | null;
  /** The number of each definition, by its identity. */
  readonly #ids: Map<string, number>;
  readonly #cells: Float64Array;

  /** `plans`: what may be defined; null on trial, where all may, and nothing is counted. */
  constructor(plans: readonly MetricPlan[] | null, cells: Float64Array) {
    this.#byId = plans === null ? null : new Map(plans.map((plan) => [plan.cells, plan]));
    this.#ids = new Map(plans?.map((plan) => [identityOf(plan), plan.cells]));
    this.#cells = cells;
  }

  /** A number for the metric, from 0; `absent` when it was not defined on trial, `tooLarge` when there are too many. */
  define(definition: MetricDefinition): number {
    const identity = identityOf(definition);
    const known = this.#ids.get(identity);
    if (known !== undefined) return known;
    if (this.#byId !== null) return STATUS.absent;
    if (this.defined.length >= LIMIT.metrics) return STATUS.tooLarge;
    const id = this.defined.push(definition) - 1;
    this.#ids.set(identity, id);
    return id;
  }

  /** To a counter, which only goes up, or to this thread's part of a gauge. */
  add(id: number, by: number): number {
    const kind = this.#kindOf(id);
    if ((kind !== METRIC.counter && kind !== METRIC.gauge) || !Number.isFinite(by)) return STATUS.invalid;
    if (kind === METRIC.counter && by < 0) return STATUS.invalid;
    if (this.#byId !== null) this.#cells[id]! += by;
    return STATUS.ok;
  }

  /** This thread's part of a gauge, or the newest value of all threads. */
  set(id: number, value: number): number {
    const kind = this.#kindOf(id);
    if ((kind !== METRIC.gauge && kind !== METRIC.latest) || !Number.isFinite(value)) return STATUS.invalid;
    if (this.#byId === null) return STATUS.ok;
    this.#cells[id] = value;
    if (kind === METRIC.latest) this.#cells[id + 1] = performance.timeOrigin + performance.now();
    return STATUS.ok;
  }

  observe(id: number, value: number): number {
    if (this.#kindOf(id) !== METRIC.histogram || !Number.isFinite(value)) return STATUS.invalid;
    if (this.#byId === null) return STATUS.ok;
    const { buckets } = this.#byId.get(id)!;
    let bucket = 0;
    while (bucket < buckets.length && value > buckets[bucket]!) bucket++;
    this.#cells[id + bucket]!++;
    this.#cells[id + buckets.length + 1]! += value;
    return STATUS.ok;
  }

  #kindOf(id: number): number {
    return (this.#byId === null ? this.defined[id]?.kind : this.#byId.get(id)?.kind) ?? NEVER;
  }
}

/** Equal for two definitions of one series; what its help says is not part of it. */
export function identityOf({ kind, name, labels, buckets }: MetricDefinition): string {
  return JSON.stringify([kind, name, labels, buckets]);
}
