import { METRIC } from "./abi";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, encode } from "./bytes";
import { metric_add, metric_define, metric_define_by, metric_observe, metric_of, metric_set } from "./imports";
import { check, checkNumber } from "./status";

/**
 * Defines a counter, on `/metrics` under this name with the label `plugin`. All metrics are defined at the top of the file
 * or in `configure`, at most 64 of a plugin:
 *
 *     const refused = counter("auth_refused_total", "Requests refused.", ["reason", "expired"]);
 *     export function onRequest(req: Request): void { refused.add(); … }
 *
 * A name is letters, digits and `_`, and does not begin with `sluice_`, `process_` or `nodejs_`. `labels` are names and
 * values in turn; they are fixed here. For a label whose values become known at run time there is `counterBy`.
 */
export function counter(name: string, help: string = "", labels: string[] = []): Counter {
  return new Counter(define(METRIC.counter, name, help, labels, null));
}

/** Defines a gauge: the sum of what each thread has set or added, as for requests under way or entries of a cache. */
export function gauge(name: string, help: string = "", labels: string[] = []): Gauge {
  return new Gauge(define(METRIC.gauge, name, help, labels, null));
}

/** Defines a gauge that shows what any thread has set last, as for the version of a list that all threads load. */
export function latest(name: string, help: string = "", labels: string[] = []): Latest {
  return new Latest(define(METRIC.latest, name, help, labels, null));
}

/**
 * Defines a histogram. `buckets` are upper bounds, ascending, at most 32; without them those of Sluice's own durations,
 * 1 ms to 10 s in seconds.
 */
export function histogram(name: string, help: string = "", labels: string[] = [], buckets: f64[] | null = null): Histogram {
  return new Histogram(define(METRIC.histogram, name, help, labels, buckets));
}

/**
 * Defines a counter with one more label, `label`, whose values become known at run time, and how many of them there may
 * be: 1 to 1000, over all such metrics of a plugin.
 *
 *     const requests = counterBy("tenant_requests_total", "Requests of each tenant.", "tenant", 100);
 *     export function onRequest(req: Request): void { requests.of(tenantOf(req)).add(); … }
 *
 * Each worker has room for that many values. Further ones, and those of more than 100 bytes in UTF-8, are counted as
 * `other`; no value is forgotten while the metric is defined. So count by what is authenticated or looked up: values
 * that a client may invent fill the room.
 */
export function counterBy(name: string, help: string, label: string, values: i32, labels: string[] = []): By<Counter> {
  return new By<Counter>(defineBy(METRIC.counter, name, help, labels, null, label, values));
}

/** The same of a `gauge`. */
export function gaugeBy(name: string, help: string, label: string, values: i32, labels: string[] = []): By<Gauge> {
  return new By<Gauge>(defineBy(METRIC.gauge, name, help, labels, null, label, values));
}

/** The same of a `latest`. */
export function latestBy(name: string, help: string, label: string, values: i32, labels: string[] = []): By<Latest> {
  return new By<Latest>(defineBy(METRIC.latest, name, help, labels, null, label, values));
}

/** The same of a `histogram`. */
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

/** A metric for each value of a label. Of `counterBy`, `gaugeBy`, `latestBy`, `histogramBy`. */
// @ts-ignore: decorator
@final
export class By<T> {
  constructor(private family: i32) {}

  /** The metric of this value; that of `other` where there is no room for it. */
  of(value: string): T {
    // The host need not see all of a long one.
    const text = value.length > LONGEST_VALUE ? value.substring(0, LONGEST_VALUE + 1) : value;
    const id = metric_of(this.family, VALUE, encode(text, VALUE, VALUE_CAP));
    check(id, "no metric for", text);
    return instantiate<T>(id);
  }
}

/** Goes up, over all threads. Of `counter`. */
// @ts-ignore: decorator
@final
export class Counter {
  constructor(private id: i32) {}

  /** Adds `by`, which is not below 0. */
  add(by: f64 = 1): void {
    checkNumber(metric_add(this.id, by), "cannot count", by);
  }
}

/** The sum of what each thread says. Of `gauge`. */
// @ts-ignore: decorator
@final
export class Gauge {
  constructor(private id: i32) {}

  /** Adds to this thread's part. */
  add(by: f64): void {
    checkNumber(metric_add(this.id, by), "cannot add", by);
  }

  /** Sets this thread's part. */
  set(value: f64): void {
    checkNumber(metric_set(this.id, value), "cannot set", value);
  }
}

/** What was set last, on whichever thread. Of `latest`. */
// @ts-ignore: decorator
@final
export class Latest {
  constructor(private id: i32) {}

  /** Sets it. */
  set(value: f64): void {
    checkNumber(metric_set(this.id, value), "cannot set", value);
  }
}

/** How often values were how large, over all threads. Of `histogram`. */
// @ts-ignore: decorator
@final
export class Histogram {
  constructor(private id: i32) {}

  /** Counts one value. */
  observe(value: f64): void {
    checkNumber(metric_observe(this.id, value), "cannot observe", value);
  }
}

function define(kind: i32, name: string, help: string, labels: string[], buckets: f64[] | null): i32 {
  return defineBy(kind, name, help, labels, buckets, "", -1);
}

/** `values`: below 0 where there is no label known at run time. */
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
