import assert from "node:assert/strict";
import { test } from "node:test";
import { FUEL, HOOK, type Hook } from "../../../src/abi/abi.ts";
import type { PluginConfig } from "../../../src/config/schema.ts";
import { findTightLimits } from "../../../src/plan/limits.ts";
import type { Plugin } from "../../../src/plan/modules.ts";

const MIB = 1024 * 1024;

function messages(limits: Partial<PluginConfig["limits"]>, hook: Hook = "response_body"): string[] {
  const declared = {
    at: { path: "plugins.mask", line: 3, column: 5 },
    limits: { fuel: FUEL.default, memory: 16 * MIB, body: MIB, ...limits },
  };
  const plugin = { module: { info: { hooks: 1 << HOOK[hook] } }, declared } as unknown as Plugin;
  const problems = findTightLimits([plugin, { ...plugin, declared: null }]);
  for (const { path, line } of problems) assert.deepEqual([path, line], ["plugins.mask", 3]);
  return problems.map(({ message }) => message);
}

test("the defaults are consistent, and plugins without body hooks are not checked", () => {
  assert.deepEqual(messages({}), []);
  assert.deepEqual(messages({ body: 0, memory: 65_536 }), []);
  assert.deepEqual(messages({ memory: 65_536 }, "request_head"), []);
});

test("a limit on bodies that does not fit the memory causes a warning with the figures", () => {
  assert.deepEqual(messages({ body: 7.5 * MIB }), []);
  assert.deepEqual(messages({ body: 8 * MIB }), [
    "a body of 8MiB (limits.body) and what replaces it need 17MiB, which is over limits.memory (16MiB)",
  ]);
  assert.deepEqual(messages({ memory: 1.5 * MIB }, "request_body"), [
    "a body of 1MiB (limits.body) and what replaces it need 3MiB, which is over limits.memory (1.5MiB)",
  ]);
});

test("a limit on bodies beyond which fuel does not grow causes a warning", () => {
  assert.deepEqual(messages({ body: 64 * MIB, memory: 512 * MIB }), [
    "fuel grows up to 51.2MiB of a body (40 units a byte, limits.fuel: 500000), which is less than limits.body (64MiB)",
  ]);
  assert.deepEqual(messages({ body: 51 * MIB, memory: 512 * MIB }), []);
});
