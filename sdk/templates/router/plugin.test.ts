// Run by "sluice plugin test". The plugin runs as in the proxy, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const router = await plugin("./plugin.ts", { clusters: ["app", "canary"] });

test("selects the canary by header or path", () => {
  assert.equal(router.route({ headers: { "x-canary": "1" } }).cluster, "canary");
  assert.equal(router.route({ url: "/next/page" }).cluster, "canary");
});

test("passes other requests to the next route", () => {
  assert.equal(router.route({ url: "/" }).cluster, null);
});
