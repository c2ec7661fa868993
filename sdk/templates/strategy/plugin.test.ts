// Run by "sluice plugin test". The plugin runs as in the proxy, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const strategy = await plugin("./plugin.ts");

test("picks the endpoint with the lowest load per weight", () => {
  strategy.update([
    { address: "10.0.0.1:80", inFlight: 3 },
    { address: "10.0.0.2:80", inFlight: 4, weight: 2 },
  ]);
  assert.equal(strategy.pick().endpoint, "10.0.0.2:80");
  assert.equal(strategy.pick({ without: ["10.0.0.2:80"] }).endpoint, "10.0.0.1:80");
});

test("picks none from an empty list", () => {
  strategy.update([]);
  assert.equal(strategy.pick().endpoint, null);
});
