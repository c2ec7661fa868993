import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HOOK } from "../../../../src/abi/abi.ts";
import { ThrottledLog } from "../../../../src/observe/throttled-log.ts";
import { GuestSuspension } from "../../../../src/plugin/abi/guest-suspension.ts";
import { OUTCOME, PluginHost } from "../../../../src/plugin/host/host.ts";
import { SLOW, SlowCalls } from "../../../../src/plugin/host/slow-calls.ts";
import { buildModule } from "../../../../src/plugin/wasm/build.ts";
import { compileWat, makeExchange, planOf, TestHost } from "../kit.ts";

const MUCH = 400_000;

class Calls {
  time = 0;
  readonly slow: SlowCalls;
  refused = 0;

  constructor(share = 0.0025) {
    this.slow = new SlowCalls(share, () => this.time);
  }

  /** Makes a call as `HookRunner` does. */
  call(elapsed: number, processor: number, fuel: number): void {
    const { slow } = this;
    if (slow.hasExceeded && slow.refuses()) {
      this.refused++;
      return;
    }
    if (slow.isTimed) slow.ended(elapsed, slow.readsProcessorTime ? processor : -1, fuel);
    if (fuel >= SLOW.fuel) slow.usedMuch();
    this.time += elapsed;
  }
}

test("calls that take 90 ns a unit are limited to their share of the time", () => {
  const calls = new Calls();
  for (let i = 0; i < 600; i++) {
    calls.call(40, 40, MUCH);
    calls.time += 60;
  }
  // 35 ms of each are beyond the permitted 5: 15 ms saved up, and 0.25 % of a minute.
  const made = 600 - calls.refused;
  assert.ok(made >= 4 && made <= 6, `${made}`);
  calls.time += 60_000;
  calls.call(1, 1, MUCH);
  assert.equal(calls.refused, 600 - made, "made again after the time");
});

test("of calls that all take 45 ms, ten a second, two are made in 21 s", () => {
  const calls = new Calls();
  for (let i = 0; i < 210; i++) {
    calls.call(45, 45, MUCH);
    calls.time = 100 * (i + 1);
  }
  assert.equal(210 - calls.refused, 2);
});

test("a call is not charged for waiting, or for much fuel in ordinary time", () => {
  const calls = new Calls();
  for (let i = 0; i < 5000; i++) {
    calls.call(i % 10 === 0 ? 200 : 1, 1, MUCH);
    calls.call(70, 70, 8_000_000);
  }
  assert.equal(calls.refused, 0);
});

test("the first calls are timed, and those after one of much fuel; processor time is read after one that took long", () => {
  const calls = new Calls();
  const read = () => [calls.slow.isTimed, calls.slow.readsProcessorTime];
  const callOften = (elapsed: number, fuel: number) => {
    for (let i = 0; i < SLOW.calls; i++) calls.call(elapsed, elapsed, fuel);
  };
  assert.deepEqual(read(), [true, true]);
  callOften(1, SLOW.fuel - 1);
  assert.deepEqual(read(), [false, false]);
  calls.call(1, 1, SLOW.fuel);
  assert.deepEqual(read(), [true, false]);
  calls.call(1000, 0, MUCH);
  assert.deepEqual(read(), [true, true]);
  callOften(1, MUCH);
  assert.deepEqual(read(), [true, false]);
  callOften(0, 10);
  assert.deepEqual(read(), [false, false]);
});

test("rare slow calls among many of ordinary time, as by garbage collection, refuse nothing", () => {
  const calls = new Calls();
  for (let i = 0; i < 20_000; i++) {
    const time = i % 1000 === 999 ? 30 : 0.5;
    calls.call(time, time, MUCH);
  }
  assert.equal(calls.refused, 0);
});

test("with a share of 1 nothing is timed", () => {
  const calls = new Calls(1);
  for (let i = 0; i < 100; i++) calls.call(1000, 1000, MUCH);
  assert.deepEqual([calls.refused, calls.slow.isTimed], [0, false]);
});

test("in no span of time do slow calls take more than their share, the burst, the credit and one call each", () => {
  const call = fc.record({
    processor: fc.integer({ min: 0, max: 200 }),
    fuel: fc.integer({ min: 0, max: 1_000_000 }),
    pause: fc.integer({ min: 0, max: 5000 }),
  });
  fc.assert(
    fc.property(fc.array(call, { maxLength: 200 }), (many) => {
      const calls = new Calls();
      let [beyond, credit, most] = [0, 0, 0];
      for (const { processor, fuel, pause } of many) {
        const before = calls.refused;
        calls.call(processor, processor, fuel);
        const permitted = Math.max(SLOW.least, fuel * SLOW.unit);
        if (calls.refused === before) beyond += Math.max(0, processor - permitted);
        most = Math.max(most, processor);
        credit += permitted * SLOW.credit;
        calls.time += pause;
      }
      assert.ok(beyond <= SLOW.burst + calls.time * 0.0025 + credit + most, `${beyond}`);
    }),
  );
});

/** A filter that uses more than SLOW.fuel in `request_head`; every such call takes 40 ms of the clocks that are read. */
const LOOP = `(module (memory (export "memory") 1)
  (func (export "sluice_abi") (result i32) i32.const 1)
  (func (export "request_head") (param i32 i32) (result i32) (local $i i32)
    (loop (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 200000)))) i32.const 0))`;

test("slow calls are refused by the failure policy, counted and logged, and made again after a time", async (t) => {
  const module = await buildModule(compileWat(LOOP), { memory: 2 ** 20 });
  const test = new TestHost();
  const lines: unknown[] = [];
  const log = new ThrottledLog(
    (_level, message, fields) => void lines.push({ message, ...fields }),
    () => test.time,
  );
  const host = new PluginHost({ cells: test.cells, report: () => {}, warnings: log, now: () => test.time });
  const plans = [planOf({ slow: 0.0025, onFailure: "reject" })];
  const set = host.prepare({ modules: [module], instances: plans, clusters: [], strategies: [] });
  const [instance] = set.instances;
  let clock = 0;
  t.mock.method(performance, "now", () => (clock += 40));
  t.mock.method(process, "threadCpuUsage", () => ({ user: (clock += 40) * 1000, system: 0 }));
  const outcomes = Array.from({ length: 20 }, () => instance!.call(HOOK.request_head, makeExchange()));
  const made = outcomes.indexOf(OUTCOME.failed);
  assert.equal(made, 1);
  assert.ok(outcomes.slice(made).every((outcome) => outcome === OUTCOME.failed));
  assert.equal(test.calls("request_head"), made);
  assert.ok(test.fuel("request_head") > made * SLOW.fuel, `${test.fuel("request_head")}`);
  assert.equal(test.refused("request_head"), 20 - made);
  assert.equal(lines.length, 1);
  assert.match(JSON.stringify(lines), /takes? longer than their fuel.*limits\.slow.*"milliseconds":\d\d,"fuel":\d/);
  // A new version has the same budget.
  const next = host.prepare({ modules: [module], instances: plans, clusters: [], strategies: [] });
  assert.equal(next.instances[0]!.call(HOOK.request_head, makeExchange()), OUTCOME.failed);
  test.time += 600_000;
  assert.equal(instance!.call(HOOK.request_head, makeExchange()), OUTCOME.continue);
});

test("the processor time of a suspended call is that of its parts", async (t) => {
  let clock = 0;
  t.mock.method(process, "threadCpuUsage", () => ({ user: (clock += 1000), system: 0 }));
  const suspension = new GuestSuspension();
  suspension.readsProcessorTime = true;
  suspension.resumed();
  clock += 2000;
  const result = suspension.suspend((complete) => {
    clock += 700_000;
    queueMicrotask(() => complete(1));
    return () => undefined;
  });
  assert.equal(await result, 1);
  clock += 3000;
  suspension.paused();
  assert.equal(suspension.processor, 2 + 3 + 2, "and one for each reading");
});
