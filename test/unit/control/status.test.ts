import assert from "node:assert/strict";
import { test } from "node:test";
import type { EndpointHealth } from "../../../src/admin/api.ts";
import { EndpointColumns, HEALTH } from "../../../src/cluster/columns.ts";
import { describeClusters, findUnavailable } from "../../../src/control/status.ts";
import { NO_TRAFFIC } from "../../../src/control/traffic.ts";
import { Counters, seriesKey } from "../../../src/observe/counters.ts";
import { observeDuration, UPSTREAM_CELLS, UPSTREAM_FAILURES } from "../../../src/observe/series.ts";
import type { ClusterPlan, EndpointPlan, Plan } from "../../../src/plan/plan.ts";

function start(count: number, panic = 0) {
  const columns = EndpointColumns.allocate(1);
  const counters = new Counters(1);
  const endpoints = Array.from({ length: count }, (_, slot): EndpointPlan => {
    const address = `127.0.0.1:${slot + 1}`;
    const cells = counters.allocate(seriesKey("upstream", { cluster: "app", endpoint: address }));
    return { address, host: "127.0.0.1", port: slot + 1, path: "", weight: 1, zone: "", slot, cells };
  });
  const cluster = { name: "app", strategies: [], set: { version: 1, endpoints }, passive: { panic } };
  const plan = { clusters: [cluster as unknown as ClusterPlan] } as unknown as Plan;
  const checks = new Map<number, EndpointHealth>();
  const describe = () =>
    describeClusters({
      plan,
      columns,
      counters,
      traffic: () => NO_TRAFFIC,
      health: (slot) => checks.get(slot) ?? null,
      ejection: () => null,
      set: () => null,
    })[0]!;
  return { columns, counters, endpoints, plan, checks, describe };
}

const CHECKED: EndpointHealth = {
  state: "healthy",
  checked: true,
  since: "noon",
  problem: "",
  lastCheck: null,
  history: [],
};

test("an endpoint is healthy after a successful check, and unchecked before or without one", () => {
  const { columns, checks, describe } = start(6);
  checks.set(1, { ...CHECKED, checked: false });
  checks.set(2, CHECKED);
  columns.mark(3, HEALTH.unhealthy, true);
  columns.eject(4);
  columns.eject(5);
  columns.offerProbe(5);
  const { endpoints, usable } = describe();
  assert.deepEqual(
    endpoints.map(({ state, healthy }) => [state, healthy]),
    [
      ["unchecked", true],
      ["unchecked", true],
      ["healthy", true],
      ["unhealthy", false],
      ["ejected", false],
      ["ejected", false],
    ],
  );
  assert.equal(usable, 3);
  columns.mark(3, HEALTH.draining, true);
  columns.mark(4, HEALTH.disabled, true);
  assert.deepEqual(
    describe().endpoints.map(({ state }) => state),
    ["unchecked", "unchecked", "healthy", "draining", "disabled", "ejected"],
  );
});

test("a cluster is unavailable when no endpoint takes requests; ejections that are ignored do not count", () => {
  const { columns, plan, describe } = start(2);
  assert.deepEqual(findUnavailable(plan, columns), []);
  for (const slot of [0, 1]) columns.mark(slot, HEALTH.unhealthy, true);
  assert.deepEqual(findUnavailable(plan, columns), ["app"]);
  assert.deepEqual([describe().usable, describe().panic], [0, false]);

  const other = start(2, 0.5);
  for (const slot of [0, 1]) other.columns.eject(slot);
  assert.deepEqual(findUnavailable(other.plan, other.columns), []);
  assert.deepEqual([other.describe().usable, other.describe().panic], [2, true]);
  assert.deepEqual(findUnavailable(start(0).plan, start(0).columns), ["app"], "it has no endpoint at all");
  assert.deepEqual(findUnavailable(null, columns), []);
});

test("responses, and failed attempts by reason, are counted over all workers", () => {
  const { counters, endpoints, describe } = start(2);
  const cells = new Float64Array(counters.block(0));
  const first = endpoints[1]!.cells + UPSTREAM_CELLS.failures;
  cells[first + UPSTREAM_FAILURES.indexOf("connect_refused")] = 3;
  new Float64Array(counters.block(1))[first + UPSTREAM_FAILURES.indexOf("connect_refused")] = 2;
  cells[first + UPSTREAM_FAILURES.indexOf("retried_status")] = 1;
  observeDuration(cells, endpoints[1]!.cells + UPSTREAM_CELLS.duration, 0.002);
  observeDuration(new Float64Array(counters.block(1)), endpoints[1]!.cells + UPSTREAM_CELLS.duration, 20);
  assert.deepEqual(
    describe().endpoints.map(({ responses, failedAttempts }) => ({ responses, failedAttempts })),
    [
      { responses: 0, failedAttempts: {} },
      { responses: 2, failedAttempts: { connect_refused: 5, retried_status: 1 } },
    ],
  );
});
