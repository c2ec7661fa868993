import assert from "node:assert/strict";
import { test } from "node:test";
import { Counters, seriesKey } from "../../../src/observe/counters.ts";
import { RequestRates } from "../../../src/observe/request-rates.ts";
import { CLASS_OF_STATUS, countStatus, STATUS_CLASSES, STATUS_LABELS } from "../../../src/observe/series.ts";

const WEB = { listener: "web", route: "0", cluster: "app" };

function start() {
  const clock = { now: 1000 };
  const counters = new Counters(2);
  const blocks = [0, 1].map((worker) => new Float64Array(counters.block(worker)));
  const base = counters.allocate(seriesKey("requests", WEB));
  const rates = new RequestRates(counters, () => clock.now);
  const count = (status: number, times: number, worker = 0, at = base) => {
    for (let i = 0; i < times; i++) countStatus(blocks[worker]!, at, status);
  };
  return { clock, counters, rates, count, base };
}

const of = (values: Float64Array) =>
  Object.fromEntries(STATUS_CLASSES.map((name, index) => [name, values[index]!]).filter(([, value]) => value !== 0));

test("each status belongs to the class that its label begins with", () => {
  for (const [cell, label] of STATUS_LABELS.entries())
    assert.equal(STATUS_CLASSES[CLASS_OF_STATUS[cell]!], label === "other" ? "other" : `${label[0]}xx`, label);
});

test("rates are those of the last ten seconds, over all workers", () => {
  const { clock, rates, count } = start();
  count(200, 10);
  count(204, 10, 1);
  count(503, 1);
  count(999, 1);
  clock.now += 2000;
  const [first] = rates.list();
  assert.deepEqual(first!.labels, WEB);
  assert.deepEqual(of(first!.counts), { "2xx": 20, "5xx": 1, other: 1 });
  assert.deepEqual(of(first!.rates), { "2xx": 10, "5xx": 0.5, other: 0.5 }, "since the start, where that is less");
  rates.sample();
  for (let second = 2; second < 30; second += 2) {
    count(404, 20);
    clock.now += 2000;
    rates.sample();
  }
  const [later] = rates.list();
  assert.deepEqual(of(later!.rates), { "4xx": 10 });
  assert.deepEqual(of(later!.counts), { "2xx": 20, "4xx": 280, "5xx": 1, other: 1 });
  clock.now += 60_000;
  assert.deepEqual(of(rates.list()[0]!.rates), {}, "a late sample");
});

test("one request right after the start is not a rate of thousands", () => {
  const { clock, rates, count } = start();
  count(200, 1);
  clock.now += 1;
  assert.deepEqual(of(rates.list()[0]!.rates), { "2xx": 1 });
});

test("a new series begins at zero, also in reused cells", () => {
  const { clock, counters, rates, count, base } = start();
  count(200, 100);
  clock.now += 5000;
  rates.sample();
  clock.now += 10_000;
  rates.sample();
  counters.free(seriesKey("requests", WEB), base);
  const other = { ...WEB, route: "1" };
  const again = counters.allocate(seriesKey("requests", other));
  assert.equal(again, base);
  count(200, 10, 0, again);
  clock.now += 10_000;
  const [only, ...more] = rates.list();
  assert.deepEqual(more, []);
  assert.deepEqual(only!.labels, other);
  assert.deepEqual(of(only!.rates), { "2xx": 1 });
});
