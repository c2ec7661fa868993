import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK } from "../../../../src/abi/abi.ts";
import { Guest } from "../../../../src/plugin/host/guest.ts";
import { OUTCOME } from "../../../../src/plugin/host/host.ts";
import { buildModule, type ModulePlan } from "../../../../src/plugin/wasm/build.ts";
import { until } from "../../../e2e/program.ts";
import { compileWat, MEMORY, makeExchange, planOf, TestHost } from "../kit.ts";

/** Fewer than start a quarantine. */
const FAILURES = 15;

/** Calls `act`; returns the number of memories that were created meanwhile. */
async function countMemories(act: () => unknown): Promise<number> {
  const { Memory } = WebAssembly;
  let count = 0;
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      count++;
    }
  };
  try {
    await act();
  } finally {
    WebAssembly.Memory = Memory;
  }
  return count;
}

/** Writes to all of its memory and fails, in each call; rejects if its memory is not that of a new guest. */
const build = (pages: number, end = "unreachable") =>
  buildModule(
    compileWat(`(module (memory (export "memory") ${pages}) (data (i32.const 8) "data")
      (func (export "sluice_abi") (result i32) i32.const 1)
      (func (export "request_head") (param i32 i32) (result i32)
        (if (i32.or (i32.load (i32.const 0)) (i32.load (i32.const ${65_536 * pages - 4}))) (then (return (i32.const 2))))
        (if (i32.ne (i32.load (i32.const 8)) (i32.const 0x61746164)) (then (return (i32.const 2))))
        (if (i32.ne (memory.size) (i32.const ${pages})) (then (return (i32.const 2))))
        (memory.fill (i32.const 0) (i32.const 255) (i32.const ${65_536 * pages}))
        ${end}))`),
    { memory: MEMORY },
  );

function fail(module: ModulePlan): void {
  const host = new TestHost();
  const [instance] = host.prepare([module], [planOf()]).instances;
  for (let i = 0; i < FAILURES; i++) assert.equal(instance!.call(HOOK.request_head, makeExchange()), OUTCOME.failed);
  assert.equal(host.failures("request_head", "trap"), FAILURES);
}

test("guests that are started for failed ones share one memory, which is cleared", async () => {
  assert.equal(await countMemories(() => fail(build(1))), 1);
  assert.equal(await countMemories(() => fail(build(32))), 1);
});

test("a memory that has grown, or is large, is not reused", async () => {
  const grows = "(drop (memory.grow (i32.const 1))) unreachable";
  // The last one failed.
  assert.equal(await countMemories(() => fail(build(1, grows))), FAILURES);
  assert.equal(await countMemories(() => fail(build(33))), FAILURES);
});

test("the memory of a guest for suspendable calls is not reused: its code may still run", async () => {
  const host = new TestHost();
  const instance = host.load("waits");
  const count = await countMemories(async () => {
    for (let at = 0; at < 3; at++) {
      assert.equal(instance.call(HOOK.response_body, makeExchange()), OUTCOME.suspended);
      await until(() => host.resumed.length === at + 1, "it failed");
      assert.equal(host.resumed[at]!.outcome, OUTCOME.failed);
    }
  });
  assert.equal(count, 3);
});

test("the memory of a guest that is entered while it runs is not reused", () => {
  const module = buildModule(
    compileWat(`(module (import "sluice:core/1" "now" (func $now (result f64))) (memory (export "memory") 1)
      (func (export "sluice_abi") (result i32) i32.const 1)
      (func (export "log") (param i32 i32) (result i32) (drop (call $now)) i32.const 0))`),
    { memory: MEMORY },
  );
  const { configuration } = new TestHost().prepare([module], [planOf()]).instances[0]!;
  let inner: () => unknown = () => undefined;
  const guest = new Guest(module, () => {
    inner();
    return 0;
  });
  guest.start(configuration);
  const run = () => guest.run(HOOK.log, 1, 1000, configuration, null, null);
  run();
  assert.notEqual(guest.reclaimMemory(), null);
  inner = () => assert.throws(run, /the guest was entered while it runs/);
  run();
  assert.equal(guest.reclaimMemory(), null);
});
