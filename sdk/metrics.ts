import { METRIC } from "./abi";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, encode } from "./bytes";
import { metric_add, metric_define, metric_observe, metric_set } from "./imports";
import { check, checkNumber } from "./status";

/**
 * Defines a counter, on `/metrics` under this name with the label `plugin`. All metrics are defined at the top of the file
 * or in `configure`, at most 64 of a plugin:
 *
 *     const refused = counter("auth_refused_total", "Requests refused.", ["reason", "expired"]);
 *     export function onRequest(req: Request): void { refused.add(); … }
 *
 * A name is letters, digits and `_`, and does not begin with `sluice_`, `process_` or `nodejs_`. `labels` are names and
 * values in turn; they are fixed here, and never come from a client.
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
  let end = encode(help, VALUE, VALUE_CAP);
  const helpLength = end;
  for (let i = 0; i < labels.length; i++) {
    end += encode(labels[i], VALUE + end, VALUE_CAP - end);
    store<u8>(VALUE + end++, 0);
  }
  const labelsAt = VALUE + helpLength;
  const bounds: usize = buckets ? buckets.dataStart : 0;
  const boundsLength: i32 = buckets ? buckets.length << 3 : 0;
  const nameLength = encode(name, KEY, KEY_CAP);
  const id = metric_define(kind, KEY, nameLength, VALUE, helpLength, labelsAt, end - helpLength, bounds, boundsLength);
  check(id, "cannot define metric", name);
  return id;
}
