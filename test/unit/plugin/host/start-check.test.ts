/** New versions are started in slices, each problem names its instance, and the time is limited. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PluginParts } from "../../../../src/plugin/host/host.ts";
import { checkStart } from "../../../../src/plugin/host/start-check.ts";
import { buildFixture, planOf } from "../kit.ts";

function partsOf(fixtures: readonly string[]): PluginParts {
  const modules = fixtures.map((name) => buildFixture(name));
  const instances = fixtures.map((name, module) => planOf({ plugin: name, module, key: name }));
  return { modules, instances, clusters: ["app"], strategies: [] };
}

function manySlow(count: number): PluginParts {
  const instances = Array.from({ length: count }, (_, i) => planOf({ plugin: "slow", key: String(i) }));
  return { modules: [buildFixture("slow-start")], instances, clusters: [], strategies: [] };
}

test("problems name their instance", async () => {
  assert.deepEqual(await checkStart(partsOf([])), { guests: 0, metrics: [], problems: [] });
  assert.deepEqual(await checkStart(partsOf(["no-op", "moody"])), { guests: 2, metrics: [[], []], problems: [] });
  const { guests, problems } = await checkStart(partsOf(["no-op", "traps-at-start", "refuses-configuration"]));
  assert.equal(guests, 0);
  assert.deepEqual(
    problems.map(({ instance, message }) => [instance, message.split(": ", 2).join(": ")]),
    [
      [1, "plugin traps-at-start: start"],
      [2, "plugin refuses-configuration: configure"],
    ],
  );
});

test("other work continues while guests start", async () => {
  let turns = 0;
  const count = setInterval(() => turns++);
  const { guests } = await checkStart(manySlow(50));
  clearInterval(count);
  assert.equal(guests, 50);
  assert.ok(turns > 1, `other work had ${turns} turns`);
});

test("a version whose guests take too long to start is cancelled", async () => {
  const { guests, problems } = await checkStart(manySlow(5000), 200);
  assert.equal(guests, 0);
  assert.deepEqual(problems, [
    {
      instance: -1,
      message: "5000 configurations of plugins could not be checked: starting them took more than 0.2 s",
    },
  ]);
});
