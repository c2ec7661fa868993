import { METRIC } from "./abi";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, encode } from "./bytes";
import { metric_add, metric_define, metric_define_by, metric_observe, metric_of, metric_set } from "./imports";
import { check, checkNumber } from "./status";

/**
 * Defines a counter, exposed on `/metrics` under this name with the label `plugin`. Define metrics at the top of the file
 * or in `configure`, at most 64 per plugin:
 *
 *     const rejected = counter("auth_rejected_total", "Rejected requests.", ["reason", "expired"]);
 *     export function onRequest(req: Request): void { rejected.add(); … }
 *
 * A name has letters, digits and `_`, and does not start with `sluice_`, `process_` or `nodejs_`. `labels` are alternating
 * names and values. For a label whose values are known only at run time use `counterBy`.
 */
export function counter(name: string, help: string = "", labels: string[] = []): Counter {
  return new Counter(define(METRIC.counter, name, help, labels, null));
}

/** Defines a gauge: the sum of the values of all workers, such as requests in flight or entries of a cache. */
export function gauge(name: string, help: string = "", labels: string[] = []): Gauge {
  return new Gauge(define(METRIC.gauge, name, help, labels, null));
}

/** Defines a gauge with the value that any worker set last, such as the version of a list that all workers load. */
export function latest(name: string, help: string = "", labels: string[] = []): Latest {
  return new Latest(define(METRIC.latest, name, help, labels, null));
}

/**
 * Defines a histogram. `buckets` are at most 32 ascending upper bounds; by default those of Sluice's own durations, 1 ms
 * to 10 s in seconds.
 */
export function histogram(name: string, help: string = "", labels: string[] = [], buckets: f64[] | null = null): Histogram {
  return new Histogram(define(METRIC.histogram, name, help, labels, buckets));
}

/**
 * Defines a counter with one more label, `label`, whose values are known only at run time. `values` is their maximum
 * number: 1 to 1000 over all such metrics of a plugin.
 *
 *     const requests = counterBy("tenant_requests_total", "Requests of each tenant.", "tenant", 100);
 *     export function onRequest(req: Request): void { requests.of(tenantOf(req)).add(); … }
 *
 * Each worker stores that many values as long as the metric is defined. Further ones, and those of more than 100 bytes in
 * UTF-8, are counted as `other`. Use only authenticated or looked-up values: a client could exhaust the limit with
 * invented ones.
 */
export function counterBy(name: string, help: string, label: string, values: i32, labels: string[] = []): By<Counter> {
  return new By<Counter>(defineBy(METRIC.counter, name, help, labels, null, label, values));
}

/** As `counterBy`, for a `gauge`. */
export function gaugeBy(name: string, help: string, label: string, values: i32, labels: string[] = []): By<Gauge> {
  return new By<Gauge>(defineBy(METRIC.gauge, name, help, labels, null, label, values));
}

/** As `counterBy`, for a `latest`. */
export function latestBy(name: string, help: string, label: string, values: i32, labels: string[] = []): By<Latest> {
  return new By<Latest>(defineBy(METRIC.latest, name, help, labels, null, label, values));
}

/** As `counterBy`, for a `histogram`. */
export function histogramBy(
  name: string,
  help: string,
  label: string,
  values: i32,
  labels: string[] = [],
  buckets: f64[] | null = null,
): By<Histogram> {
  return new By<Histogram>(defineBy(METRIC.histogram, name, help, labels, buckets, label, values));
}

/** A longer value is counted as `other`. */
const LONGEST_VALUE: i32 = 100;

/** A metric per value of a label; returned by `counterBy`, `gaugeBy`, `latestBy`, `histogramBy`. */
// @ts-ignore: decorator
@final
export class By<T> {
  constructor(private family: i32) {}

  /** The metric of this value, or that of `other` if the limit is reached. */
  of(value: string): T {
    // One character above the limit is enough for the host to count it as `other`.
    const text = value.length > LONGEST_VALUE ? value.substring(0, LONGEST_VALUE + 1) : value;
    const id = metric_of(this.family, VALUE, encode(text, VALUE, VALUE_CAP));
    check(id, "no metric for", text);
    return instantiate<T>(id);
  }
}

/** A counter, summed over all workers; returned by `counter`. */
// @ts-ignore: decorator
@final
export class Counter {
  constructor(private id: i32) {}

  /** Adds `by`, at least 0. */
  add(by: f64 = 1): void {
    checkNumber(metric_add(this.id, by), "cannot count", by);
  }
}

/** A gauge, summed over all workers; returned by `gauge`. */
// @ts-ignore: decorator
@final
export class Gauge {
  constructor(private id: i32) {}

  /** Adds to the value of this worker. */
  add(by: f64): void {
    checkNumber(metric_add(this.id, by), "cannot add", by);
  }

  /** Sets the value of this worker. */
  set(value: f64): void {
    checkNumber(metric_set(this.id, value), "cannot set", value);
  }
}

/** A gauge with the value set last by any worker; returned by `latest`. */
// @ts-ignore: decorator
@final
export class Latest {
  constructor(private id: i32) {}

  /** Sets it. */
  set(value: f64): void {
    checkNumber(metric_set(this.id, value), "cannot set", value);
  }
}

/** A histogram, summed over all workers; returned by `histogram`. */
// @ts-ignore: decorator
@final
export class Histogram {
  constructor(private id: i32) {}

  /** Adds an observation. */
  observe(value: f64): void {
    checkNumber(metric_observe(this.id, value), "cannot observe", value);
  }
}

function define(kind: i32, name: string, help: string, labels: string[], buckets: f64[] | null): i32 {
  return defineBy(kind, name, help, labels, buckets, "", -1);
}

/** `values`: negative without a label known only at run time. */
function defineBy(
  kind: i32,
  name: string,
  help: string,
  labels: string[],
  buckets: f64[] | null,
  label: string,
  values: i32,
): i32 {
  const helpSize = encode(help, VALUE, VALUE_CAP);
  let end = helpSize;
  for (let i = 0; i < labels.length; i++) {
    end += encode(labels[i], VALUE + end, VALUE_CAP - end);
    store<u8>(VALUE + end++, 0);
  }
  const at = VALUE + helpSize;
  const size = end - helpSize;
  const bounds: usize = buckets ? buckets.dataStart : 0;
  const boundsSize: i32 = buckets ? buckets.length << 3 : 0;
  const by = VALUE + end;
  const bySize = encode(label, by, VALUE_CAP - end);
  const nameSize = encode(name, KEY, KEY_CAP);
  const id =
    values < 0
      ? metric_define(kind, KEY, nameSize, VALUE, helpSize, at, size, bounds, boundsSize)
      : metric_define_by(kind, KEY, nameSize, VALUE, helpSize, at, size, bounds, boundsSize, by, bySize, values);
  check(id, "cannot define metric", name);
  return id;
}
