import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";
import { locateConfigProblem } from "../../../src/plan/config-problems.ts";

const FILE = `listeners: { web: { address: ":1", cluster: a } }
clusters: { a: ["a:1"] }
plugins:
  p:
    wasm: a.wasm
    config:
      rules:
        - { limit: abc }
      "a.b": { c: 1 }
      "x: y": 2
`;

test("a configuration error of a plugin is reported at its key, without offsets of its module", () => {
  const { config } = loadConfig(FILE, { file: "s.yaml", env: {} });
  const plugin = config!.plugins[0]!;
  const origin = { at: plugin.at, settings: plugin.config };
  const raw = "\n    at ~start function[18]+0xd6f\n    at ~lib/sluice/sdk/config/expected function[10]+0x6eb";
  const cases: [problem: string, shown: string][] = [
    [
      "config rules.0.limit: expected a number",
      "8:20: plugins.p.config.rules.0.limit: plugin p: start: config rules.0.limit: expected a number",
    ],
    [
      "config rules.0.name: expected a string",
      "8:11: plugins.p.config.rules.0: plugin p: start: config rules.0.name: expected a string",
    ],
    [
      "config a\\.b.c: expected a string",
      "9:19: plugins.p.config.a.b.c: plugin p: start: config a\\.b.c: expected a string",
    ],
    [
      "config a.b.c: expected a string",
      "9:19: plugins.p.config.a.b.c: plugin p: start: config a.b.c: expected a string",
    ],
    ["config x: y: expected a string", "10:15: plugins.p.config.x: y: plugin p: start: config x: y: expected a string"],
    [
      "config (all of it): expected a list",
      "7:7: plugins.p.config: plugin p: start: config (all of it): expected a list",
    ],
    [
      'cluster "abc": it is unknown, at configure (p.ts:1:2)',
      '8:20: plugins.p.config.rules.0.limit: plugin p: start: cluster "abc": it is unknown, at configure (p.ts:1:2)',
    ],
    ['strategy "2": it is unknown', '10:15: plugins.p.config.x: y: plugin p: start: strategy "2": it is unknown'],
    ['cluster "other": it is unknown', '4:3: plugins.p: plugin p: start: cluster "other": it is unknown'],
    ["unreachable", "4:3: plugins.p: plugin p: start: unreachable"],
  ];
  for (const [problem, shown] of cases)
    assert.equal(formatProblem(locateConfigProblem(`plugin p: start: ${problem}`, origin)), `s.yaml:${shown}`);
  const found = locateConfigProblem(`plugin p: start: config rules: expected nothing${raw}`, origin).message;
  assert.equal(found, "plugin p: start: config rules: expected nothing");
  const own = locateConfigProblem(
    "plugin p: start: config rules: expected nothing\n    at ~start (p.ts:2:26)",
    origin,
  ).message;
  const twice = "plugin p: configure: config rules: expected nothing (p.ts:9:5)\n    at configure (p.ts:9:5)";
  assert.equal(
    locateConfigProblem(twice, origin).message,
    twice.slice(0, twice.indexOf("\n")),
    "a place is named once",
  );
  assert.match(own, /at ~start \(p\.ts:2:26\)$/, "the author's line stays");
});
