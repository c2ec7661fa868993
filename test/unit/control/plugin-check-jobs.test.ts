import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { CheckResult } from "../../../src/cluster/health.ts";
import type { CheckTarget } from "../../../src/control/endpoint-check.ts";
import { PluginCheckJobs } from "../../../src/control/plugin-check-jobs.ts";
import type { ToWorker } from "../../../src/worker/messages.ts";
import { until } from "./parts.ts";

const HEALTHY: CheckResult = { result: "healthy", problem: "" };

function target(timeout = 60_000): CheckTarget {
  return { cluster: "app", endpoint: { slot: 3 }, check: { timeout } } as unknown as CheckTarget;
}

function makeJobs(t: TestContext, serving: number[]) {
  const posted: { worker: number; message: ToWorker }[] = [];
  const jobs = new PluginCheckJobs({
    serving: () => serving,
    post: (worker, message) => void posted.push({ worker, message }),
  });
  const reported: CheckResult[] = [];
  const begin = (timeout?: number) => {
    const stop = jobs.begin(target(timeout), (result) => reported.push(result));
    t.after(stop);
    return stop;
  };
  const given = () =>
    posted.flatMap(({ worker, message }) => (message.type === "check" ? [{ worker, ...message.job }] : []));
  const withdrawn = () =>
    posted.flatMap(({ worker, message }) =>
      message.type === "cancelCheck" ? [{ worker, number: message.number }] : [],
    );
  const report = (job: { worker: number; number: number }, result: CheckResult | null = HEALTHY) =>
    jobs.receive(job.worker, { type: "checked", number: job.number, result: result });
  return { jobs, reported, begin, given, withdrawn, report };
}

test("jobs are distributed to serving workers in turn, and each completes once", (t) => {
  const serving = [0, 2];
  const { reported, begin, given, report } = makeJobs(t, serving);
  for (let i = 0; i < 3; i++) begin();
  serving.push(1);
  begin();
  assert.deepEqual(
    given().map(({ worker, cluster, slot, timeout }) => [worker, cluster, slot, timeout]),
    [0, 2, 0, 1].map((worker) => [worker, "app", 3, 60_000]),
  );
  const [first] = given();
  report(first!);
  report(first!, { result: "unhealthy", problem: "late" });
  assert.deepEqual(reported, [HEALTHY]);
});

test("a job of a worker that ends, or has another version, is assigned again; a late result is ignored", async (t) => {
  const { jobs, reported, begin, given, report } = makeJobs(t, [0, 1]);
  begin();
  jobs.forget(0);
  await until(() => given().length === 2);
  const [first, second] = given();
  assert.equal(second!.worker, 1);
  report(first!);
  assert.deepEqual(reported, []);
  report(second!, null);
  await until(() => given().length === 3);
  report(given()[2]!);
  assert.deepEqual(reported, [HEALTHY]);
});

test("a check that no worker makes ends without a result", async (t) => {
  const { reported, begin, given, report } = makeJobs(t, [0, 1]);
  begin();
  for (let tries = 1; reported.length === 0; tries++) {
    await until(() => given().length === tries || reported.length > 0);
    if (reported.length === 0) report(given().at(-1)!, null);
  }
  assert.deepEqual(reported, [{ result: "failed", problem: "no result after 5 attempts" }]);
  assert.equal(given().length, 5);
  const none = makeJobs(t, []);
  none.begin();
  assert.deepEqual(none.reported, [{ result: "failed", problem: "no worker is serving" }]);
});

test("a stuck worker is skipped until it responds again", async (t) => {
  const { reported, begin, given, withdrawn, report } = makeJobs(t, [0, 1]);
  begin(1);
  assert.equal(given()[0]!.worker, 0);
  await until(() => given().length === 2);
  const [stuck, other] = given();
  assert.deepEqual([other!.worker, withdrawn()], [1, [{ worker: 0, number: stuck!.number }]]);
  report(other!);
  assert.deepEqual(reported, [HEALTHY]);
  begin();
  begin();
  assert.deepEqual(
    given()
      .slice(2)
      .map(({ worker }) => worker),
    [1, 1],
  );
  report(stuck!, null);
  begin();
  assert.equal(given().at(-1)!.worker, 0);
});

test("if all workers are stuck, jobs are assigned nevertheless", async (t) => {
  const { reported, begin, given } = makeJobs(t, [0]);
  begin(1);
  await until(() => reported.length === 1);
  assert.deepEqual(reported, [{ result: "failed", problem: "no result after 5 attempts" }]);
  assert.equal(given().length, 5);
});

test("a cancelled check reports nothing, at any stage", async (t) => {
  const { reported, begin, given, withdrawn, report } = makeJobs(t, [0, 1]);
  const stop = begin(1);
  stop();
  assert.equal(withdrawn()[0]!.number, given()[0]!.number);
  report(given()[0]!);
  const again = begin();
  report(given()[1]!, null);
  again();
  await setTimeout(700);
  assert.deepEqual([reported, given().length], [[], 2]);
});
