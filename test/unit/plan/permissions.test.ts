import assert from "node:assert/strict";
import { test } from "node:test";
import { IMPORTS } from "../../../src/abi/abi.ts";
import type { PluginConfig } from "../../../src/config/schema.ts";
import { checkPermissions, permissionFor } from "../../../src/plan/permissions.ts";

const at = { file: "s.yaml", line: 3, column: 5, path: "plugins.p.allow" };
const NOTHING: PluginConfig["allow"] = {
  at,

  clock: "coarse",
  headers: { hide: [] },
  kv: [],
  fetch: [],
  share: [],
};
const groups = Object.keys(IMPORTS);

test("host calls beyond the exchange are denied until allowed, each with the line to add", () => {
  assert.deepEqual(
    checkPermissions(NOTHING, groups).map(({ line, column, message }) => [line, column, message]),
    [
      ["clock", "clock: precise"],
      ["kv", "kv: [NAME]"],
      ["fetch", "fetch: [cluster:NAME]"],
    ].map(([group, add]) => [3, 5, `imports sluice:${group}/1, which is not allowed: add \`allow: { ${add} }\``]),
  );
  for (const [group, allow] of [
    ["kv", { kv: ["a"] }],
    ["fetch", { fetch: ["cluster:a"] }],
    ["clock", { clock: "precise" }],
  ] as const) {
    const left = checkPermissions({ ...NOTHING, ...allow }, groups).map(({ message }) => message);
    assert.ok(left.length === 2 && !left.some((message) => message.includes(`:${group}/`)), left.join());
    assert.match(permissionFor(`sluice:${group}/1`)!, new RegExp(`^${group}: `));
  }
});
