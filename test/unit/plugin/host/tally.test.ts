import assert from "node:assert/strict";
import { test } from "node:test";
import { IMPORTS } from "../../../../src/abi/abi.ts";
import { CallContext } from "../../../../src/plugin/abi/call-context.ts";
import { makeImports } from "../../../../src/plugin/abi/native/imports.ts";

test("a traced call counts every host call by its name", () => {
  const groups = makeImports(new CallContext(Date.now)) as Record<string, Record<string, unknown>>;
  const names = Object.entries(IMPORTS).flatMap(([group, calls]) => Object.keys(calls).map((name) => [group, name]));
  assert.ok(names.length > 40);
  for (const [group, name] of names) {
    assert.equal(typeof groups[group!]![name!], "function");
    const context = new CallContext(Date.now);
    context.memory.attach(new WebAssembly.Memory({ initial: 1 }));
    context.charge = () => 1_000_000;
    const counted: string[] = [];
    context.recorder = { instant: true, count: (call) => counted.push(call), log: () => {} };
    context.allow(1000);
    const call = (makeImports(context) as unknown as Record<string, Record<string, (...values: number[]) => unknown>>)[
      group!
    ]![name!]!;
    try {
      // Its result, or that it rejects, does not matter here.
      Promise.resolve(call(...new Array<number>(10).fill(0))).catch(() => undefined);
    } catch (error) {
      assert.ok(error instanceof Error);
    }
    assert.deepEqual(counted, [name], `${group}.${name}`);
  }
});
