import assert from "node:assert/strict";
import { test } from "node:test";
import { EndpointColumns, HEALTH } from "../../../src/cluster/columns.ts";
import { Endpoints } from "../../../src/control/endpoints.ts";
import type { Plan } from "../../../src/plan/plan.ts";

test("a cluster that was removed and comes back has no endpoint that an operator drained before", (t) => {
  const columns = EndpointColumns.allocate(1, 1);
  const resolver = { servers: [] };
  const parts = { log: {}, memory: { columns }, workers: {}, versions: {}, resolver };
  const endpoints = new Endpoints(parts as unknown as ConstructorParameters<typeof Endpoints>[0]);
  t.after(() => endpoints.close());
  // A request in flight keeps the row of the endpoint.
  const clusters = [{ name: "app", set: { endpoints: [{ address: "a:1", slot: 0 }] }, check: null, passive: null }];
  const plan = { clusters } as unknown as Plan;
  endpoints.changes.change("app", "a:1", { state: "draining" });
  endpoints.take(plan);
  assert.equal(columns.health[0]! & HEALTH.draining, HEALTH.draining);
  endpoints.changes.keep(new Set());
  endpoints.take(plan);
  assert.equal(columns.health[0]! & HEALTH.draining, 0);
});
