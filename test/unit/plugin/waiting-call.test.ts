import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK } from "../../../src/plugin/abi.ts";
import { OUTCOME } from "../../../src/plugin/host.ts";
import type { Exchange } from "../../../src/proxy/exchange.ts";
import { until } from "../../e2e/program.ts";
import { buildFixture, makeExchange, planOf, TestHost } from "./kit.ts";

/** Gives up what the exchange waits for, as the corridor does when it ends. */
function giveUp(exchange: Exchange): void {
  exchange.suspension?.cancel();
  exchange.suspension = null;
}

test("a call that waits through a table waits where it may, and ends its guest where it may not", async () => {
  const host = new TestHost();
  const instance = host.load("waits");
  const exchange = makeExchange();
  assert.equal(instance.call(HOOK.log, exchange), OUTCOME.failed);
  assert.equal(host.failures("log", "trap"), 1);
  assert.equal(instance.call(HOOK.response_head, exchange), OUTCOME.waiting);
  await until(() => host.resumed.length === 1, "it was answered");
  assert.deepEqual(host.resumed, [{ hook: HOOK.response_head, exchange, outcome: OUTCOME.continue }]);
});

test("nothing is waited for behind an answer to a body that streams by: the endpoint's may come meanwhile", async () => {
  const host = new TestHost();
  const instance = host.load("waits");
  assert.equal(instance.call(HOOK.request_body, makeExchange()), OUTCOME.waiting);
  await until(() => host.resumed.length === 1, "it was answered");
  assert.equal(host.resumed[0]!.outcome, OUTCOME.respond);
});

test("time that is over in line is the call's failure, and holds back no guest", async () => {
  const host = new TestHost();
  const plans = [planOf({ key: "a", guests: 1, time: 3_600_000 }), planOf({ key: "b", guests: 1, time: 20 })];
  const [long, short] = host.prepare([buildFixture("waits")], plans).instances;
  const first = makeExchange();
  assert.equal(long!.call(HOOK.request_head, first), OUTCOME.waiting);
  assert.equal(short!.call(HOOK.request_head, makeExchange()), OUTCOME.waiting);
  await until(() => host.resumed.length === 1, "its time is over");
  assert.equal(host.resumed[0]!.outcome, OUTCOME.failed);
  assert.equal(host.failures("request_head", "timeout"), 1);
  giveUp(first);
  await until(() => host.host.guests() === 1, "the guest is gone");
  const next = makeExchange();
  assert.equal(short!.call(HOOK.request_head, next), OUTCOME.waiting);
  assert.equal(host.refused("request_head"), 0);
  giveUp(next);
});

test("guests that fail in calls which may wait are made again within what restarts may cost", async () => {
  const host = new TestHost();
  const instance = host.load("waits");
  for (let at = 0; at < 40; at++) {
    if (instance.call(HOOK.response_body, makeExchange()) !== OUTCOME.waiting) break;
    await until(() => host.resumed.length === at + 1, "it failed");
  }
  assert.ok(host.refused("response_body") > 0);
});
