/** Which endpoints are ejected, for how long, and how they recover. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { EndpointColumns, HEALTH } from "../../../src/cluster/columns.ts";
import { PassiveHealth } from "../../../src/control/passive-health.ts";
import type { PassivePlan, Plan } from "../../../src/plan/plan.ts";

const PASSIVE: PassivePlan = {
  consecutiveFailures: 5,
  statuses: [503],
  ejectFor: 1000,
  maxEjectFor: 4000,
  maxEjected: 0.5,
  panic: 0.5,
};
const OUT = HEALTH.ejected;
const PROBING = HEALTH.ejected | HEALTH.probing;

/** The parts of a plan that are read. */
function planOf(endpoints: number, passive: PassivePlan | null = PASSIVE): Plan {
  const timeouts = { connect: 100, response: 500, idle: 0 };
  const list = Array.from({ length: endpoints }, (_, slot) => ({ address: `10.0.0.${slot}:80`, slot }));
  return { clusters: [{ name: "app", set: { version: 1, endpoints: list }, timeouts, passive }] } as unknown as Plan;
}

function start(t: TestContext, endpoints: number, passive?: PassivePlan | null) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const columns = EndpointColumns.allocate(1);
  const lines: string[] = [];
  const fields: Record<string, unknown>[] = [];
  const write = (of: Record<string, unknown>, message: string) => {
    fields.push(of);
    lines.push(message);
  };
  const health = new PassiveHealth({ columns, log: { info: write, warn: write } as never });
  health.take(planOf(endpoints, passive));
  t.after(() => health.close());
  const fail = (slot: number, cause = "connect_refused") => {
    columns.failures[slot] = 5;
    health.receive({ slot, event: "failing", cause });
  };
  const states = () => Array.from({ length: endpoints }, (_, slot) => columns.health[slot]);
  return { columns, health, lines, fields, fail, states };
}

test("an endpoint is ejected for ejectFor, then one request decides; each further ejection lasts twice as long", (t) => {
  const { columns, health, lines, fail, states } = start(t, 2);
  fail(0);
  assert.deepEqual(states(), [OUT, 0]);
  assert.deepEqual(lines, ["endpoint ejected: it failed the requests sent to it"]);
  for (const [time, count] of [
    [1000, 1],
    [2000, 2],
    [4000, 3],
    [4000, 4],
  ] as const) {
    const { cause, since, until, count: seen } = health.describe(0)!;
    assert.deepEqual([seen, Date.parse(until) - Date.parse(since)], [count, time]);
    assert.equal(cause, count === 1 ? "connect_refused" : "response_timeout");
    t.mock.timers.tick(time - 1);
    assert.deepEqual(states(), [OUT, 0]);
    t.mock.timers.tick(1);
    assert.deepEqual(states(), [PROBING, 0]);
    assert.deepEqual([columns.claimProbe(0), columns.claimProbe(0)], [true, false], "one request alone");
    health.receive({ slot: 0, event: "probe_failed", cause: "response_timeout" });
  }
  t.mock.timers.tick(4000);
  columns.claimProbe(0);
  health.receive({ slot: 0, event: "recovered", cause: "" });
  assert.deepEqual([states(), columns.failures[0], health.describe(0)], [[0, 0], 0, null]);
  assert.deepEqual(
    [...health.counts()].map(({ count }) => count),
    [5, 0],
  );

  fail(1);
  health.clear(1);
  assert.deepEqual([states(), health.describe(1)], [[0, 0], null], "an active check has found it healthy");

  columns.failures[1] = 5;
  health.clear(1);
  health.receive({ slot: 1, event: "failing", cause: "connect_refused" });
  assert.deepEqual(states(), [0, 0], "earlier failures are not counted");

  t.mock.timers.tick(4001);
  fail(0);
  assert.equal(health.describe(0)!.count, 1, "it was in service for longer than it was out");
});

test("a probe returned after the ejection ended leaves the endpoint in service", (t) => {
  const { columns, health, fail, states } = start(t, 2);
  fail(0);
  t.mock.timers.tick(1000);
  columns.claimProbe(0);
  columns.offerProbe(0);
  assert.deepEqual(states(), [PROBING, 0]);
  columns.claimProbe(0);
  health.clear(0);
  columns.offerProbe(0);
  assert.deepEqual(states(), [0, 0]);
});

test("a probe without a result is replaced when its time is over", (t) => {
  const { columns, fail, states } = start(t, 2);
  fail(0);
  t.mock.timers.tick(1000);
  columns.claimProbe(0);
  assert.deepEqual(states(), [OUT, 0]);
  t.mock.timers.tick(500 + 100 + 1000);
  assert.deepEqual(states(), [PROBING, 0]);
});

test("an ejection is logged with its cause and length, also when it was delayed by another", (t) => {
  const { health, fields, fail } = start(t, 2);
  fail(0);
  fail(1, "response_timeout");
  health.receive({ slot: 0, event: "recovered", cause: "" });
  const of = (slot: number) => ({ cluster: "app", endpoint: `10.0.0.${slot}:80` });
  const cause = "response_timeout";
  assert.deepEqual(fields, [
    { event: "endpoint_ejected", ...of(0), cause: "connect_refused", eject_ms: 1000, count: 1 },
    { event: "endpoint_not_ejected", ...of(1), cause, ejected: 1, max_ejected: 1 },
    { event: "endpoint_recovered", ...of(0) },
    { event: "endpoint_ejected", ...of(1), cause, eject_ms: 1000, count: 1 },
  ]);
  assert.equal(health.describe(1)!.cause, cause);
});

test("at most the share is ejected, never the only endpoint; the next follows after a recovery", (t) => {
  const { health, columns, lines, fail, states } = start(t, 5);
  for (const slot of [0, 1, 2, 2]) fail(slot);
  assert.deepEqual(states(), [OUT, OUT, 0, 0, 0]);
  assert.equal(lines.filter((line) => /not ejected: health\.passive\.maxEjected is reached/.test(line)).length, 1);
  health.receive({ slot: 0, event: "recovered", cause: "" });
  assert.deepEqual(states(), [0, OUT, OUT, 0, 0]);
  columns.failures[3] = 0;
  health.receive({ slot: 3, event: "failing", cause: "upstream_reset" });
  assert.deepEqual(states(), [0, OUT, OUT, 0, 0], "it has responded since");
});

for (const [endpoints, passive, out] of [
  [1, PASSIVE, 0],
  [2, PASSIVE, 1],
  [3, PASSIVE, 1],
  [8, PASSIVE, 4],
  [8, { ...PASSIVE, maxEjected: 0.05 }, 1],
  [8, { ...PASSIVE, maxEjected: 0 }, 0],
  [8, { ...PASSIVE, maxEjected: 1 }, 8],
  [8, null, 0],
] as const)
  test(`of ${endpoints} failing endpoints ${out} are ejected at ${passive?.maxEjected ?? "no passive health"}`, (t) => {
    const { fail, states } = start(t, endpoints, passive);
    for (let slot = 0; slot < endpoints; slot++) fail(slot);
    assert.equal(states().filter((state) => state === OUT).length, out);
  });

test("an ejection outlives a version, and ends with its endpoint or its cluster's passive health", (t) => {
  const { health, fail, states } = start(t, 4);
  fail(0);
  fail(3);
  health.take(planOf(4));
  assert.deepEqual(states(), [OUT, 0, 0, OUT]);
  health.take(planOf(3));
  assert.deepEqual(states(), [OUT, 0, 0, 0]);
  health.take(planOf(3, null));
  assert.deepEqual(states(), [0, 0, 0, 0]);
  t.mock.timers.tick(100_000);
  assert.deepEqual(states(), [0, 0, 0, 0], "no timer is left");
});
