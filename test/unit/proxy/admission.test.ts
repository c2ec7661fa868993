import assert from "node:assert/strict";
import { test } from "node:test";
import { LISTENER_CELLS } from "../../../src/observe/series.ts";
import { HOOK } from "../../../src/plugin/abi.ts";
import { type Instance, OUTCOME } from "../../../src/plugin/host.ts";
import { Admission } from "../../../src/proxy/admission.ts";
import { type Exchange, Exchanges } from "../../../src/proxy/exchange.ts";
import type { ListenerState } from "../../../src/proxy/snapshot.ts";

const cells = new Float64Array(LISTENER_CELLS.size);

/** A chain whose instances answer so, and what each was asked. */
function chainOf(...outcomes: number[]) {
  const asked: string[] = [];
  const ids = new Set<number>();
  const chain = outcomes.map((outcome, index) => ({
    index,
    call(hook: number, x: Exchange) {
      asked.push(`${index} ${hook} ${x.clientAddress} ${x.listenerName} ${x.skipped === null && x.staged === null}`);
      ids.add(x.id);
      (x.skipped ??= new Set()).add(index);
      x.staged ??= new Map();
      return outcome;
    },
  })) as unknown as Instance[];
  const plan = { name: "web", cells: 0 };
  const state = (hooks: number) => ({ plan, chain, hooks }) as unknown as ListenerState;
  return { asked, ids, state };
}

test("plugins are asked in order until one denies or fails, each connection by a number of its own", () => {
  const exchanges = new Exchanges();
  const admission = new Admission(exchanges, cells);
  const request = exchanges.take();
  for (const no of [OUTCOME.reject, OUTCOME.failed]) {
    const { asked, ids, state } = chainOf(OUTCOME.continue, no, OUTCOME.continue);
    for (let i = 0; i < 2; i++) assert.equal(admission.admits(state(1 << HOOK.connection), "192.0.2.7"), false);
    // What was skipped, or drawn in a rollout, for one connection is not for the next.
    const both = [`0 ${HOOK.connection} 192.0.2.7 web true`, `1 ${HOOK.connection} 192.0.2.7 web false`];
    assert.deepEqual(asked, [...both, ...both]);
    assert.equal(ids.size, 2);
    assert.ok(!ids.has(request.id));
  }
  assert.equal(cells[LISTENER_CELLS.denied], 4);
  assert.equal(admission.admits(chainOf(OUTCOME.continue).state(1 << HOOK.connection), "192.0.2.7"), true);
  assert.equal(cells[LISTENER_CELLS.denied], 4);
});

test("where no plugin has the hook nobody is asked", () => {
  const { asked, state } = chainOf(OUTCOME.reject);
  assert.ok(new Admission(new Exchanges(), cells).admits(state(~(1 << HOOK.connection)), "192.0.2.7"));
  assert.deepEqual(asked, []);
});
