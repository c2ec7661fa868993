import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK } from "../../../src/abi/abi.ts";
import { LISTENER_CELLS } from "../../../src/observe/series.ts";
import { OUTCOME } from "../../../src/plugin/host/host.ts";
import type { Instance } from "../../../src/plugin/host/instance.ts";
import { Admission, type AdmissionHandler, type PendingAdmission } from "../../../src/proxy/admission.ts";
import type { ConnectionChoice } from "../../../src/proxy/connection-choice.ts";
import { Exchange } from "../../../src/proxy/exchange.ts";
import { ExchangePool } from "../../../src/proxy/exchange-pool.ts";
import { type ListenerState, Snapshot } from "../../../src/proxy/snapshot.ts";

const HOOKS = 1 << HOOK.connection;
const CLUSTERS = ["app", "canary", "beta"];

type Decide = (x: PendingAdmission) => number;

/** A listener with a chain that returns these results. */
function listen(
  decisions: readonly Decide[],
  { version = 1, clusters = CLUSTERS, may = (_name: string): boolean => true } = {},
) {
  const cells = new Float64Array(LISTENER_CELLS.size);
  const exchanges = new ExchangePool();
  const asked: string[] = [];
  const ids = new Set<number>();
  const chain = decisions.map((decide, index) => ({
    index,
    plugin: `plugin ${index}`,
    mayChoose: may,
    call(hook: number, x: PendingAdmission) {
      asked.push(
        `${index} ${hook} ${x.clientAddress} ${x.listenerName} ${x.skipped === null && x.canaryChoices === null}`,
      );
      ids.add(x.id);
      (x.skipped ??= new Set()).add(index);
      x.canaryChoices ??= new Map();
      return decide(x);
    },
  })) as unknown as Instance[];
  const named = clusters.map((name) => ({ plan: { name } })) as unknown as ConstructorParameters<typeof Snapshot>[1];
  const snapshot = new Snapshot(version, named, [], () => asked.push("disposed"));
  const state = (hooks: number) =>
    ({ plan: { name: "web", cells: 0 }, chain, hooks, snapshot }) as unknown as ListenerState;
  return { cells, exchanges, admission: new Admission(exchanges, cells), asked, ids, state, snapshot };
}

class TestHandler implements AdmissionHandler {
  readonly peer = "192.0.2.7";
  readonly proxied = null;
  reported: (string | ConnectionChoice | null)[] = [];

  admitted(choice: ConnectionChoice | null): void {
    this.reported.push(choice);
  }

  denied(outcome: number): void {
    this.reported.push(`denied ${outcome}`);
  }

  guard(run: () => void): void {
    run();
  }
}

const goOn: Decide = () => OUTCOME.continue;
const choose =
  (cluster: number): Decide =>
  (x) => {
    x.chosenCluster = cluster;
    return OUTCOME.continue;
  };

/** The initial state of a request on that connection, in that version. */
function begin(choice: string | ConnectionChoice | null, listener: ListenerState): number {
  const x = new Exchange();
  x.listener = listener;
  (choice as ConnectionChoice).apply(x);
  assert.equal(x.connectionChoice, x.chosenCluster < 0 ? null : choice);
  return x.chosenCluster;
}

test("plugins are called in order until one denies or fails; each connection has its own id", () => {
  for (const no of [OUTCOME.reject, OUTCOME.failed, OUTCOME.busy]) {
    const { admission, asked, cells, exchanges, ids, state } = listen([goOn, () => no, goOn]);
    const request = exchanges.take();
    const handler = new TestHandler();
    for (let i = 0; i < 2; i++) assert.equal(admission.evaluate(state(HOOKS), handler), null);
    assert.deepEqual(handler.reported, [`denied ${no}`, `denied ${no}`]);
    // Skipped plugins and choices of a rollout of one connection do not apply to the next.
    const both = [`0 ${HOOK.connection} 192.0.2.7 web true`, `1 ${HOOK.connection} 192.0.2.7 web false`];
    assert.deepEqual(asked, [...both, ...both]);
    assert.equal(ids.size, 2);
    assert.ok(!ids.has(request.id));
    assert.equal(cells[LISTENER_CELLS.denied], 2);
  }
  const { admission, cells, state } = listen([goOn]);
  const handler = new TestHandler();
  admission.evaluate(state(HOOKS), handler);
  assert.deepEqual(handler.reported, [null]);
  assert.equal(cells[LISTENER_CELLS.denied], 0);
});

test("without a plugin that has the hook none is called", () => {
  const { admission, asked, state } = listen([() => OUTCOME.reject]);
  const handler = new TestHandler();
  assert.equal(admission.evaluate(state(~HOOKS), handler), null);
  assert.deepEqual([handler.reported, asked], [[null], []]);
});

test("the last selection of a cluster applies, to this connection and while it is allowed", () => {
  const { admission, state } = listen([choose(2), choose(1), goOn]);
  const handler = new TestHandler();
  admission.evaluate(state(HOOKS), handler);
  const [choice] = handler.reported;
  assert.equal((choice as ConnectionChoice).plugin, "plugin 1");
  assert.equal(begin(choice!, state(HOOKS)), 1);
  const none = listen([goOn]);
  none.admission.evaluate(none.state(HOOKS), handler);
  assert.equal(handler.reported[1], null);

  const later = (version: number, more: Parameters<typeof listen>[1], decisions = [goOn, goOn]) =>
    begin(choice!, listen(decisions, { version, ...more }).state(0));
  assert.equal(later(2, { clusters: ["canary", "app"] }), 0, "it is found by its name");
  assert.equal(later(3, { clusters: ["app"] }), -1, "there is none of that name");
  assert.equal(later(4, { may: (name) => name !== "canary" }), -1, "it is not allowed any more");
  assert.equal(later(5, {}, [goOn]), -1, "the plugin is not in the chain any more");
  assert.equal(later(6, {}), 1, "and it is again");
});

test("a suspended connection is decided independently of later ones, and keeps its version alive", () => {
  const waits: { x: PendingAdmission; cancelled: boolean }[] = [];
  const wait: Decide = (x) => {
    const call = { x, cancelled: false };
    waits.push(call);
    x.suspension = { cancel: () => void (call.cancelled = true) };
    return OUTCOME.suspended;
  };
  const { admission, asked, cells, state, snapshot } = listen([choose(1), wait, wait]);
  const [first, second, third] = [new TestHandler(), new TestHandler(), new TestHandler()];
  const pending = admission.evaluate(state(HOOKS), first);
  const other = admission.evaluate(state(HOOKS), second);
  assert.ok(pending !== null && other !== null && pending !== other);
  assert.notEqual(waits[0]!.x, waits[1]!.x);
  snapshot.retire();
  admission.resume(HOOK.connection, waits[0]!.x, OUTCOME.continue);
  assert.equal(waits.length, 3, "the next one is asked");
  waits[2]!.x.chosenCluster = 2;
  admission.resume(HOOK.connection, waits[2]!.x, OUTCOME.continue);
  assert.equal((first.reported[0] as ConnectionChoice).plugin, "plugin 2");
  assert.equal(begin(first.reported[0]!, state(HOOKS)), 2);
  admission.resume(HOOK.connection, waits[1]!.x, OUTCOME.reject);
  assert.deepEqual(second.reported, [`denied ${OUTCOME.reject}`]);
  assert.equal(cells[LISTENER_CELLS.denied], 1);
  assert.equal(asked.at(-1), "disposed");

  const leaves = listen([wait]);
  const left = leaves.admission.evaluate(leaves.state(HOOKS), third)!;
  left.cancel();
  leaves.snapshot.retire();
  assert.equal(waits.at(-1)!.cancelled, true);
  assert.deepEqual([third.reported, leaves.asked.at(-1), leaves.cells[LISTENER_CELLS.denied]], [[], "disposed", 0]);
});
