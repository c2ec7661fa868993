import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { CheckResult } from "../../../src/cluster/health.ts";
import { type CheckTarget, EndpointCheck } from "../../../src/control/endpoint-check.ts";
import { HealthChecks, type HealthChecksOptions } from "../../../src/control/health-checks.ts";
import { type NativeProbe, probe } from "../../../src/control/probe.ts";
import type { CheckPlan, ClusterPlan, Plan } from "../../../src/plan/plan.ts";
import { until } from "./parts.ts";

const CHECK: CheckPlan = {
  key: "a",
  tls: null,
  proxyProtocol: null,
  probe: { kind: "http", protocol: "http1", method: "GET", path: "/", host: "", statuses: [{ least: 200, most: 399 }] },
  interval: 20,
  timeout: 1000,
  healthyAfter: 2,
  unhealthyAfter: 3,
};

function plan(endpoints: readonly { slot: number; port?: number }[], check: CheckPlan | null = CHECK): Plan {
  const cluster = {
    name: "app",
    check,
    set: {
      version: 1,
      endpoints: endpoints.map(({ slot, port = 1 }) => ({
        address: `127.0.0.1:${port}`,
        host: "127.0.0.1",
        port,
        path: "",
        weight: 1,
        zone: "",
        slot,
        cells: 0,
      })),
    },
  };
  return { clusters: [cluster as unknown as ClusterPlan] } as unknown as Plan;
}

type Bench = {
  checks: HealthChecks;
  /** Rows that were removed from service. */
  out: Set<number>;
  log: string[];
};

function makeChecks(t: TestContext, options: Partial<HealthChecksOptions> = {}): Bench {
  const out = new Set<number>();
  const log: string[] = [];
  const write = (level: string) => (fields: object, message: string) =>
    log.push(`${level} ${JSON.stringify(fields)} ${message}`);
  const checks = new HealthChecks({
    probe: ({ endpoint, check }, done) =>
      probe(check.probe as NativeProbe, { endpoint, timeout: check.timeout, tls: null, proxyProtocol: null }, done),
    mark: (slot, unhealthy) => void (unhealthy ? out.add(slot) : out.delete(slot)),
    log: { info: write("info"), warn: write("warn") } as unknown as HealthChecksOptions["log"],
    ...options,
  });
  t.after(() => checks.close());
  return { checks, out, log };
}

/** Checks that the test completes. */
function makeManual() {
  const waiting: { slot: number; key: string; done: (result: CheckResult["result"]) => void }[] = [];
  const stopped: number[] = [];
  const manual: HealthChecksOptions["probe"] = ({ endpoint: { slot }, check: { key } }, done) => {
    const one = { slot, key, done: (result: CheckResult["result"]) => done({ result, problem: result }) };
    waiting.push(one);
    return () => {
      stopped.push(slot);
      waiting.splice(waiting.indexOf(one), 1);
    };
  };
  const next = async (): Promise<(typeof waiting)[number]> => {
    await until(() => waiting.length > 0);
    return waiting.shift()!;
  };
  return { manual, waiting, stopped, next };
}

test("a failing endpoint is removed from service and returns; each change is reported once, with its cause", async (t) => {
  let status = 200;
  let asked = 0;
  const server = createServer((_, response) => {
    asked++;
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const { checks, out, log } = makeChecks(t);
  checks.take(plan([{ slot: 7, port }]));
  assert.equal(checks.describe(7)?.lastCheck, null);
  await until(() => asked >= 3);
  const well = checks.describe(7)!;
  assert.deepEqual([well.state, well.problem, well.lastCheck?.ok, well.lastCheck?.problem], ["healthy", "", true, ""]);

  status = 503;
  await until(() => out.has(7));
  const down = checks.describe(7)!;
  assert.deepEqual([down.state, down.problem], ["unhealthy", "status 503"]);
  assert.ok(down.since > well.since);
  assert.deepEqual(
    down.history.slice(-3).map(({ ok }) => ok),
    [false, false, false],
  );
  status = 204;
  await until(() => !out.has(7));
  await until(() => checks.describe(7)!.history.length === 10);
  assert.deepEqual(log, [
    `warn {"cluster":"app","endpoint":"127.0.0.1:${port}","problem":"status 503"} endpoint is unhealthy: it gets no traffic`,
    `info {"cluster":"app","endpoint":"127.0.0.1:${port}"} endpoint is healthy again`,
  ]);
  const counts = [...checks.counts()][0]!.counts;
  assert.ok(counts.healthy >= 4 && counts.unhealthy >= 3 && counts.failed === 0, JSON.stringify(counts));
});

test("the first check decides for a new endpoint; a check that could not run changes nothing", async (t) => {
  const { manual, next } = makeManual();
  const { checks, out } = makeChecks(t, { probe: manual });
  checks.take(plan([{ slot: 1 }]));
  (await next()).done("failed");
  assert.deepEqual([out.size, checks.describe(1)!.lastCheck?.ok], [0, null]);
  (await next()).done("unhealthy");
  assert.ok(out.has(1));
  for (let i = 0; i < 2; i++) {
    (await next()).done("failed");
    (await next()).done("healthy");
  }
  assert.equal(out.size, 0, "what could not be made does not come between two good ones");
  assert.deepEqual([...checks.counts()][0]?.counts, { healthy: 2, unhealthy: 1, failed: 3 });
});

test("one check per endpoint and a limited total at a time; the rest are queued and all run", async (t) => {
  const { manual, waiting } = makeManual();
  const { checks } = makeChecks(t, { probe: manual, maxChecks: 3 });
  checks.take(plan(Array.from({ length: 9 }, (_, slot) => ({ slot }))));
  await until(() => waiting.length === 3);
  await setTimeout(60);
  assert.equal(waiting.length, 3);
  const seen = new Set<number>();
  while (seen.size < 9) {
    await until(() => waiting.length === 3);
    assert.equal(new Set(waiting.map(({ slot }) => slot)).size, 3);
    const one = waiting.shift()!;
    seen.add(one.slot);
    one.done("healthy");
  }
});

test("the state in the endpoint's row survives versions; another check keeps it and counts anew", async (t) => {
  const { manual, next, stopped } = makeManual();
  const { checks, out, log } = makeChecks(t, { probe: manual });
  const strict = { ...CHECK, healthyAfter: 3 };
  checks.take(plan([{ slot: 1 }, { slot: 2 }], strict));
  for (let i = 0; i < 2; i++) (await next()).done("unhealthy");
  assert.equal(out.size, 2);
  for (let i = 0; i < 2; i++) (await next()).done("healthy");
  const under = [await next(), await next()];

  checks.take(plan([{ slot: 2 }, { slot: 1 }], strict));
  assert.deepEqual(stopped, [], "nothing has changed: the checks under way go on");
  checks.take(plan([{ slot: 2 }, { slot: 1 }], { ...strict, key: "b", healthyAfter: 2 }));
  assert.deepEqual(stopped.sort(), [1, 2], "they were of the old check");
  assert.equal(under.length, 2);
  assert.equal(out.size, 2);
  const anew = await next();
  assert.equal(anew.key, "b");
  anew.done("healthy");
  assert.equal(out.size, 2, "one of the old check's does not count");
  (await next()).done("healthy");
  (await next()).done("healthy");
  assert.equal(out.size, 1);
  assert.equal(log.length, 3);
});

test("a removed endpoint is no longer checked; one whose check was removed gets traffic again", async (t) => {
  const { manual, next, waiting, stopped } = makeManual();
  const { checks, out, log } = makeChecks(t, { probe: manual });
  checks.take(plan([{ slot: 1 }, { slot: 2 }]));
  for (let i = 0; i < 2; i++) (await next()).done("unhealthy");
  await until(() => waiting.length === 2);
  checks.take(plan([{ slot: 2 }]));
  assert.deepEqual([[...out], stopped, checks.describe(1)], [[2], [1], null]);
  checks.take(plan([{ slot: 2 }], null));
  assert.deepEqual([[...out], stopped, checks.describe(2)], [[], [1, 2], null]);
  assert.match(log.at(-1)!, /^info .* is not checked any more/);
  assert.equal(waiting.length, 0);
  await setTimeout(60);
  assert.equal(waiting.length, 0, "none is begun");
  checks.take(plan([{ slot: 2 }]));
  assert.equal(checks.describe(2)!.state, "healthy", "it begins like a new one");
});

test("close cancels running, queued and due checks; none starts after it", async (t) => {
  const { manual, waiting, stopped } = makeManual();
  const { checks } = makeChecks(t, { probe: manual, maxChecks: 1 });
  checks.take(plan([{ slot: 1 }, { slot: 2 }, { slot: 3 }]));
  await until(() => waiting.length === 1);
  checks.close();
  assert.equal(stopped.length, 1);
  checks.take(plan([{ slot: 1 }, { slot: 4 }]));
  await setTimeout(60);
  assert.equal(waiting.length, 0);
});

test("first checks follow each other by a step, or are spread over a part of their interval", async (t) => {
  const { manual, waiting } = makeManual();
  const { checks } = makeChecks(t, { probe: manual });
  const endpoints = [1, 2, 3, 4, 5].map((slot) => ({ slot }));
  const began = performance.now();
  checks.take(plan(endpoints, { ...CHECK, interval: 60_000 }));
  await until(() => waiting.length === 5);
  assert.ok(performance.now() - began >= 39, "the fifth comes after four steps");
  assert.deepEqual(
    waiting.map(({ slot }) => slot),
    [1, 2, 3, 4, 5],
  );
});

test("the next check is a random tenth earlier or later, and rarer while an endpoint stays down", () => {
  const target: CheckTarget = {
    cluster: "app",
    endpoint: plan([{ slot: 1 }]).clusters[0]!.set.endpoints[0]!,
    check: CHECK,
  };
  const check = new EndpointCheck(target);
  const fail = (times: number) => {
    for (let i = 0; i < times; i++) check.record({ result: "unhealthy", problem: "" }, 1);
  };
  const pauses = () => Array.from({ length: 500 }, () => check.pause());
  const isAbout = (interval: number) => {
    const all = pauses();
    const [least, most] = [Math.min(...all), Math.max(...all)];
    assert.ok(least >= 0.9 * interval && most <= 1.1 * interval, `${least} to ${most}, expected about ${interval}`);
    assert.ok(most - least > 0.15 * interval, `${least} to ${most} is not by chance`);
  };
  isAbout(20);
  check.record({ result: "healthy", problem: "" }, 1);
  fail(3);
  assert.equal(check.healthy, false);
  fail(4);
  isAbout(20);
  fail(1);
  isAbout(40);
  fail(5);
  isAbout(80);
  fail(50);
  isAbout(80);
  check.record({ result: "failed", problem: "" }, 1);
  isAbout(80);
  check.record({ result: "healthy", problem: "" }, 1);
  isAbout(20);
});

test("text from an endpoint or plugin is reported in one line, without control characters, and truncated", () => {
  const target: CheckTarget = {
    cluster: "app",
    endpoint: plan([{ slot: 1 }]).clusters[0]!.set.endpoints[0]!,
    check: CHECK,
  };
  const check = new EndpointCheck(target);
  check.record({ result: "unhealthy", problem: `two\r\nlines \u001b[31m\u202e${"x".repeat(1000)}` }, 1500);
  assert.match(check.problem, /^two lines \[31m x{180,190}\.\.\.$/);
  assert.equal(check.describe().lastCheck?.took, 1.5);
});
