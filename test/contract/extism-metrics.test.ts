/** Extism plugins define metrics in their start and count in every hook. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import { extismModule, place } from "../support/extism.ts";
import { call, exchange, load } from "./plugin-harness.ts";

/** Defines the metric in `on_configure`, then runs the body for each request. */
function run(definition: unknown, body = "", group = "metrics"): string[] {
  const texts = [typeof definition === "string" ? definition : JSON.stringify(definition), "a", "b".repeat(101)];
  const text = (index: number) => `(call $text ${place(index, texts[index]!)})`;
  const module = extismModule(
    `(global $metric (mut i64) (i64.const -1))
     (func (export "on_configure") (global.set $metric (call $${group}_define ${text(0)})))
     (func (export "on_request") (local $of i64)
       ${body.replaceAll("METRIC", "(global.get $metric)").replaceAll("SHORT", text(1)).replaceAll("LONG", text(2))})`,
    texts,
  );
  const loaded = load(module);
  const outcome = call(loaded, "request_head", exchange("GET / HTTP/1.1\nHost: a"));
  assert.equal(outcome, loaded.reports.length > 0 ? OUTCOME.failed : OUTCOME.continue);
  loaded.dispose();
  return loaded.reports.map((line) => line.replace(/^error: plugin test failed in request_head: /, ""));
}

const COUNTER = { kind: "counter", name: "seen_total", help: "Seen.", labels: { a: "b" } };
const HISTOGRAM = { kind: "histogram", name: "size_bytes", buckets: [1, 10, 100] };
const FAMILY = { kind: "counter", name: "tenants_total", by: { label: "tenant", values: 3 } };

test("metrics of each kind are defined and changed", () => {
  assert.deepEqual(run(COUNTER, "(call $metrics_add METRIC (f64.const 2.5))"), []);
  assert.deepEqual(run(HISTOGRAM, "(call $metrics_observe METRIC (f64.const 5))"), []);
  const gauge = "(call $metrics_add METRIC (f64.const -1)) (call $metrics_set METRIC (f64.const 7))";
  assert.deepEqual(run({ kind: "gauge", name: "depth" }, gauge), []);
  assert.deepEqual(run({ kind: "latest", name: "version" }, "(call $metrics_set METRIC (f64.const 7))"), []);
  const family = (value: string) => `(call $metrics_add (call $metrics_of METRIC ${value}) (f64.const 1))`;
  assert.deepEqual(run(FAMILY, family("SHORT") + family("LONG")), []);
});

test("a change that is not possible fails the hook", () => {
  const none = /there is no such metric, it is of another kind, or the number is not possible$/;
  for (const [definition, body, cause] of [
    [COUNTER, "(call $metrics_add METRIC (f64.const -1))", none],
    [COUNTER, "(call $metrics_add METRIC (f64.const nan))", none],
    [COUNTER, "(call $metrics_set METRIC (f64.const 1))", none],
    [COUNTER, "(call $metrics_observe METRIC (f64.const 1))", none],
    [COUNTER, "(call $metrics_add (i64.const 999999) (f64.const 1))", none],
    [COUNTER, "(drop (call $metrics_of METRIC SHORT))", none],
    [FAMILY, "(call $metrics_add METRIC (f64.const 1))", none],
    [COUNTER, "(drop (call $metrics_define SHORT))", /^define: the metric is not JSON$/],
    [FAMILY, "(drop (call $metrics_of METRIC (i64.const 3)))", /^of: 3 is not a block of memory$/],
  ] as const)
    assert.match(run(definition, body)[0]!, cause, body);
  const late = run(
    COUNTER,
    `(drop (call $metrics_define (call $again)))
     ) (func $again (result i64) (call $text ${place(0, JSON.stringify(COUNTER))})`,
  );
  assert.match(late[0]!, /^define: only in start-up code and on_configure$/);
});

test("a wrong definition refuses the plugin, with its cause", () => {
  const cases: [definition: unknown, cause: RegExp][] = [
    ["{", /define: the metric is not JSON/],
    [[], /define: the metric is a list, expected an object/],
    [{ kind: "meter", name: "a" }, /define: the kind "meter", expected one of counter, gauge, histogram, latest/],
    [{ kind: "counter" }, /define: the name is "undefined", expected a text/],
    [{ ...COUNTER, name: "sluice_a" }, /define: an invalid name, label or bucket/],
    [{ ...COUNTER, label: {} }, /define: the key "label", expected one of kind, name/],
    [{ ...COUNTER, labels: { plugin: "a" } }, /define: an invalid name, label or bucket/],
    [{ ...COUNTER, labels: { a: 1 } }, /define: the label a is "1", expected a text/],
    [{ ...COUNTER, labels: { a: "b\0c" } }, /define: the label a is .*, expected a text/],
    [{ ...HISTOGRAM, buckets: [2, 1] }, /define: an invalid name, label or bucket/],
    [{ ...HISTOGRAM, buckets: ["1"] }, /define: buckets are a list, expected a list of numbers/],
    [{ ...HISTOGRAM, buckets: Array.from({ length: 33 }, (_, i) => i) }, /define: .* over a limit/],
    [{ ...FAMILY, by: { label: "tenant", values: 1001 } }, /define: .* over a limit/],
    [{ ...FAMILY, by: { label: "tenant", values: -1 } }, /define: by.values is "-1", expected a whole number/],
    [{ ...COUNTER, help: "h".repeat(1025) }, /define: .* over a limit/],
    [{ ...COUNTER, help: "h".repeat(9000) }, /define: .* over a limit/],
  ];
  for (const [definition, cause] of cases)
    assert.throws(
      () => run(definition),
      ({ message }: Error) => cause.test(message),
      JSON.stringify(definition),
    );
});

test("functions of extism:host/user are those of Sluice's modules, with their permissions", () => {
  assert.deepEqual(run(COUNTER, "(call $user_metrics_add METRIC (f64.const 1))", "user_metrics"), []);
  const none = "(i64.const 0)";
  const groupsOf = (body: string) =>
    buildModule(extismModule(`(func (export "on_request") ${body})`), { memory: 65536 * 4 }).info.groups;
  assert.deepEqual(groupsOf(`(drop (call $user_kv_get ${none} ${none}))`), ["extism:host/env", "sluice:kv/1"]);
  assert.deepEqual(groupsOf(`(drop (call $user_http_headers ${none}))`), ["extism:host/env", "sluice:http/1"]);
});
