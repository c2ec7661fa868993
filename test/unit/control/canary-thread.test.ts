/** New versions are tried in a thread of their own, which holds up nobody and never has the last word. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { CanaryThread } from "../../../src/control/canary-thread.ts";
import { startOnce } from "../../../src/plugin/canary.ts";
import type { PluginParts } from "../../../src/plugin/host.ts";
import { buildFixture, planOf } from "../plugin/kit.ts";

function startThread(t: TestContext, options: ConstructorParameters<typeof CanaryThread>[0] = {}): CanaryThread {
  const thread = new CanaryThread(options);
  t.after(() => thread.close());
  return thread;
}

function partsOf(fixtures: readonly string[]): PluginParts {
  const modules = fixtures.map((name) => buildFixture(name));
  const instances = fixtures.map((name, module) => planOf({ plugin: name, module, key: name }));
  return { modules, instances, clusters: ["app"], strategies: [] };
}

test("what a thread says of guests is what is so", async (t) => {
  const thread = startThread(t);
  for (const fixtures of [["no-op"], ["no-op", "traps-at-start", "moody", "refuses-configuration"], []]) {
    const parts = partsOf(fixtures);
    assert.deepEqual(await thread.try(parts), startOnce(parts));
  }
  const { problems } = await thread.try(partsOf(["no-op", "traps-at-start", "refuses-configuration"]));
  assert.deepEqual(
    problems.map(({ instance, message }) => [instance, message.split(": ", 2).join(": ")]),
    [
      [1, "plugin traps-at-start: start"],
      [2, "plugin refuses-configuration: configure"],
    ],
  );
});

test("a version whose guests take too long to start is given up, and the next one is tried", async (t) => {
  const thread = startThread(t, { time: 400 });
  const modules = [buildFixture("slow-start")];
  const instances = Array.from({ length: 5000 }, (_, i) => planOf({ plugin: "slow", key: String(i) }));
  const { problems } = await thread.try({ modules, instances, clusters: [], strategies: [] });
  assert.deepEqual(problems, [
    { instance: -1, message: "5000 configurations of plugins could not be tried: starting them took more than 0.4 s" },
  ]);
  const again = startThread(t);
  assert.equal((await again.try({ modules, instances: [planOf()], clusters: [], strategies: [] })).guests, 1);
});

test("a thread that ends is told as a problem, and another takes its place", async (t) => {
  const thread = startThread(t, { entry: new URL("./ending-thread.ts", import.meta.url) });
  for (let turn = 0; turn < 2; turn++) {
    const { problems } = await thread.try(partsOf(["no-op"]));
    assert.deepEqual(problems, [
      { instance: -1, message: "1 configurations of plugins could not be tried: the thread that starts them ended" },
    ]);
  }
  const missing = startThread(t, { entry: new URL("./none.ts", import.meta.url) });
  const { problems } = await missing.try(partsOf(["no-op"]));
  assert.match(
    problems[0]!.message,
    /^1 configurations of plugins could not be tried: the thread that starts them failed: .*none\.ts/s,
  );
});
