/** What the benchmarks say of what they measured (test/bench). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readOptions } from "../../bench/options.ts";
import { replaceBlock } from "../../bench/report.ts";
import { spreadOf } from "../../bench/statistics.ts";
import { judge } from "../../bench/table.ts";

test("the median and the quartiles lie between values in proportion", () => {
  assert.deepEqual(spreadOf([5, 1, 3, 2, 4]), { low: 2, median: 3, high: 4 });
  assert.deepEqual(spreadOf([4, 1, 3, 2]), { low: 1.75, median: 2.5, high: 3.25 });
  assert.deepEqual(spreadOf([7]), { low: 7, median: 7, high: 7 });
});

test("a target is met or missed only when both quartiles say so and the core was not lost to others", () => {
  const verdict = (low: number, high: number, waited = 0): string => {
    const spread = { low, median: (low + high) / 2, high };
    return judge({ ours: "a", peer: "b", target: 1.2, next: 1.1, cpu: spread, rate: spread, waited });
  };
  assert.equal(verdict(1.0, 1.05), "met, and the next");
  assert.equal(verdict(1.0, 1.15), "met");
  assert.equal(verdict(1.1, 1.3), "open");
  assert.equal(verdict(1.25, 1.3), "missed");
  assert.equal(verdict(1.0, 1.05, 0.2), "disturbed");
});

test("results replace what stands between their marks, and nothing else", () => {
  const text = "before\n<!-- measured: a -->\nold\n<!-- end: a -->\nafter\n";
  const once = replaceBlock(text, "a", "new");
  assert.equal(once, "before\n<!-- measured: a -->\n\nnew\n\n<!-- end: a -->\nafter\n");
  assert.equal(replaceBlock(once, "a", "new"), once);
  assert.throws(() => replaceBlock(text, "b", "new"), /no place for "b"/);
});

test("options are checked", () => {
  const { rows, turns, seconds } = readOptions(["plain", "--turns", "9"]);
  assert.deepEqual({ rows, turns, seconds }, { rows: ["plain"], turns: 9, seconds: 3 });
  assert.equal(readOptions(["--quick"]).turns, 3);
  assert.throws(() => readOptions(["--turns", "0"]), RangeError);
  assert.throws(() => readOptions(["--nonsense"]), TypeError);
});
