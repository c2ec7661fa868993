/** Evaluation and report of benchmark results (test/bench). */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { readSeries } from "../../bench/admin.ts";
import { countCalls } from "../../bench/flood.ts";
import { readOptions } from "../../bench/options.ts";
import { Pacer, readStatus } from "../../bench/pace.ts";
import { replaceBlock } from "../../bench/report.ts";
import { LOAD_ROWS } from "../../bench/rows.ts";
import { quantileOf, slopeOf, spreadOf } from "../../bench/statistics.ts";
import { compareToTarget } from "../../bench/table.ts";

test("the median and the quartiles are interpolated", () => {
  assert.deepEqual(spreadOf([5, 1, 3, 2, 4]), { low: 2, median: 3, high: 4 });
  assert.deepEqual(spreadOf([4, 1, 3, 2]), { low: 1.75, median: 2.5, high: 3.25 });
  assert.deepEqual(spreadOf([7]), { low: 7, median: 7, high: 7 });
});

test("a quantile of sorted values is one of them, or interpolated", () => {
  assert.equal(quantileOf([10, 20, 30], 0.5), 20);
  assert.equal(quantileOf([10, 20], 0.25), 12.5);
  assert.equal(quantileOf([10, 20, 30], 1), 30);
});

test("a slope is the least-squares fit", () => {
  assert.equal(
    slopeOf([
      [0, 5],
      [50, 5],
      [100, 5],
    ]),
    0,
  );
  assert.equal(
    slopeOf([
      [0, 1],
      [50, 101],
      [100, 201],
    ]),
    2,
  );
  assert.equal(
    slopeOf([
      [0, 0],
      [1, 2],
      [2, 1],
      [3, 3],
    ]),
    0.8,
  );
});

test("series are read from a text of metrics, with their labels", () => {
  const text = '# TYPE a counter\na{plugin="x",hook="log"} 3\na{plugin="y"} 4\nab 5\nb 6\n';
  assert.deepEqual(readSeries(text, "a"), [
    { labels: { plugin: "x", hook: "log" }, value: 3 },
    { labels: { plugin: "y" }, value: 4 },
  ]);
  assert.deepEqual(readSeries(text, "b"), [{ labels: {}, value: 6 }]);
});

test("a plugin's row has the growth of its own counters", () => {
  const metrics = (calls: number, fuel: number, refused: number): string =>
    [
      `sluice_plugin_calls_total{plugin="bad",hook="request_head"} ${calls}`,
      'sluice_plugin_calls_total{plugin="good",hook="request_head"} 1000',
      `sluice_plugin_failures_total{plugin="bad",hook="request_head",reason="fuel"} ${fuel}`,
      'sluice_plugin_failures_total{plugin="good",hook="request_head",reason="trap"} 7',
      `sluice_plugin_refused_total{plugin="bad",hook="request_head"} ${refused}`,
    ].join("\n");
  const reported = countCalls(metrics(10, 2, 0), metrics(15, 6, 90), "bad");
  assert.deepEqual(reported, { calls: 5, refused: 90, failures: { fuel: 4 } });
  assert.deepEqual(countCalls("", metrics(15, 6, 90), "bad").failures, { fuel: 6 });
});

test("a response is complete when its length was received", () => {
  const head = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\n";
  assert.equal(readStatus(head.slice(0, -1)), null);
  assert.equal(readStatus(`${head}bus`), null);
  assert.equal(readStatus(`${head}busy`), "503");
});

test("a constant rate is kept to the last request, and the result of each is recorded", async () => {
  let asked = 0;
  const server = createServer((_, response) => {
    asked++;
    if (asked % 10 === 0) response.socket?.destroy();
    else response.writeHead(asked % 2 === 0 ? 200 : 503, { "content-length": 2 }).end("ok");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    const paced = await new Pacer(port, "/", 4).run(500, 0.2);
    assert.equal(asked, 100);
    assert.deepEqual(paced.statuses, { 200: 40, 503: 50 });
    assert.deepEqual([paced.asked, paced.broken, paced.pending], [100, 10, 0]);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

test("a target is met or missed only if both quartiles are on its side and no other process used the core", () => {
  const resultOf = (low: number, high: number, waited = 0): string => {
    const spread = { low, median: (low + high) / 2, high };
    return compareToTarget({ ours: "a", peer: "b", target: 1.2, next: 1.1, cpu: spread, rate: spread, waited });
  };
  assert.equal(resultOf(1.0, 1.05), "met, and the next");
  assert.equal(resultOf(1.0, 1.15), "met");
  assert.equal(resultOf(1.1, 1.3), "open");
  assert.equal(resultOf(1.25, 1.3), "missed");
  assert.equal(resultOf(1.0, 1.05, 0.2), "disturbed");
});

test("results replace the text between their marks, and nothing else", () => {
  const text = "before\n<!-- measured: a -->\nold\n<!-- end: a -->\nafter\n";
  const once = replaceBlock(text, "a", "new");
  assert.equal(once, "before\n<!-- measured: a -->\n\nnew\n\n<!-- end: a -->\nafter\n");
  assert.equal(replaceBlock(once, "a", "new"), once);
  assert.throws(() => replaceBlock(text, "b", "new"), /no place for "b"/);
});

test("every row has its place in the report", () => {
  const text = readFileSync(join(import.meta.dirname, "../../../docs/benchmarks.md"), "utf8");
  const others = [
    ...["where", "hooks", "prices", "idle", "idle-streams", "at-once", "grpc-messages", "handshakes"],
    ...["websockets", "tcp", "stream", "soak", "flood"],
  ];
  for (const name of [...LOAD_ROWS.map((row) => row.name), ...others])
    assert.doesNotThrow(() => replaceBlock(text, name, "new"), name);
});

test("options are checked", () => {
  const { rows, turns, seconds } = readOptions(["plain", "--turns", "9"]);
  assert.deepEqual({ rows, turns, seconds }, { rows: ["plain"], turns: 9, seconds: 3 });
  assert.equal(readOptions(["--quick"]).turns, 3);
  assert.equal(readOptions(["soak"]).reloads, 1000);
  assert.equal(readOptions(["soak", "--reloads", "20"]).reloads, 20);
  assert.throws(() => readOptions(["--turns", "0"]), RangeError);
  assert.throws(() => readOptions(["--nonsense"]), TypeError);
});
