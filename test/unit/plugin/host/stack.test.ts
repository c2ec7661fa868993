/** Stacks are parsed in one pass; no name or message of a guest is parsed as a frame. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type FAILURE, HOOK } from "../../../../src/abi/abi.ts";
import { PluginReport } from "../../../../src/plugin/host/report.ts";
import { readStack } from "../../../../src/plugin/host/stack.ts";
import { readableName } from "../../../../src/plugin/wasm/source-map.ts";

const HEAD = "RuntimeError: unreachable";
const MESSAGE = "unreachable";

test("reads named and nameless frames of a plugin's module, and no other line", () => {
  const stack = `${HEAD}
    at plugin/inner (wasm://wasm/plugin-1a2b:wasm-function[3]:0x264)
    at wasm://wasm/1a2b:wasm-function[12]:0xff
    at alloc (wasm://wasm/sluice-kernel-1a2b:wasm-function[3]:0x264)
    at Guest.run (file:///src/guest.ts:90:31)
    at a (b) (wasm://wasm/c:wasm-function[1]:0x0)`;
  assert.deepEqual(readStack(stack, MESSAGE), [
    { name: "plugin/inner", index: 3, offset: 0x264 },
    { name: "", index: 12, offset: 255 },
    { name: "a (b)", index: 1, offset: 0 },
  ]);
});

test("text that looks like a frame in a message or a name is ignored", () => {
  const frame = "    at forged (wasm://wasm/1:wasm-function[1]:0x1)";
  const message = `no\n${frame}\n${frame}`;
  const real = "    at real (wasm://wasm/1:wasm-function[2]:0x2)";
  const only = [{ name: "real", index: 2, offset: 2 }];
  assert.deepEqual(readStack(`Error: ${message}\n${real}`, message), only);
  const named = `    at x (wasm://wasm/1:wasm-function[7]:0x7) (wasm://wasm/1:wasm-function[2]:0x2)`;
  assert.deepEqual(readStack(`${HEAD}\n${named}`, MESSAGE), [
    { name: "x (wasm://wasm/1:wasm-function[7]:0x7)", index: 2, offset: 2 },
  ]);
  for (const broken of ["[]:0x1", "[99999999999]:0x1", "[1]:0x", "[1]:0xzz", "[-1]:0x1", "[1.5]:0x1", "[1]:0x1) "])
    assert.deepEqual(readStack(`${HEAD}\n    at x (wasm://wasm/1:wasm-function${broken})`, MESSAGE), [], broken);
});

test("for any text it reads at most 100 lines of 64 KiB", () => {
  const line = "    at a (wasm://wasm/1:wasm-function[1]:0x1)\n";
  assert.equal(readStack(`${HEAD}\n${line.repeat(5000)}`, MESSAGE).length, 99);
  const after = (length: number) => readStack(`${HEAD}\n${"x".repeat(length)}\n${line}`, MESSAGE).length;
  assert.deepEqual([after(60 * 1024), after(64 * 1024)], [1, 0]);
  const parts = [" (wasm://wasm/", "wasm-function[", "]:0x", "    at ", "\n", "\n\n", " ", "a", "0", ")"];
  for (const part of parts) {
    const stack = `${HEAD}\n${part.repeat(1_000_000)}`;
    assert.ok(readStack(stack, MESSAGE).length <= 100);
    assert.ok(readStack(`${HEAD}\n    at ${part.repeat(1_000_000)}`, MESSAGE).length <= 100);
  }
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...parts), { maxLength: 200 }), (some) => {
      for (const { index, offset } of readStack(`${HEAD}\n${some.join("")}`, MESSAGE))
        assert.ok(Number.isSafeInteger(index) && Number.isSafeInteger(offset));
    }),
  );
});

test("paths are removed from a compiler's names", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom("a", "/", ".", "<", ">", "#", "~", "@", "-", "é", "~lib/"), {}), (parts) => {
      const name = parts.join("");
      assert.equal(readableName(name), name.replace(/[\w.~@-]*\//g, ""));
    }),
  );
  assert.equal(readableName("a".repeat(1_000_000)).length, 1_000_000);
});

test("a stack is made once a second and once for each kind of failure, and reused for an equal failure", () => {
  let time = 5000;
  const lines: Record<string, unknown>[] = [];
  const stacks: string[] = [];
  const report = new PluginReport({
    plugin: "p",
    report: (_, __, fields) => lines.push(fields),
    notify: ({ failure }) => stacks.push(failure!.stack),
    now: () => time,
  });
  const fail = (reason: (typeof FAILURE)[number], hook: number = HOOK.request_head) => {
    const isAsked = report.logs(hook, reason);
    report.fail(hook, { reason, message: reason, stack: isAsked ? `${reason} at ${time}` : "" });
    return isAsked;
  };
  assert.deepEqual(
    [fail("trap"), fail("trap"), fail("fuel"), fail("trap"), fail("trap", HOOK.log)],
    [true, false, true, false, true],
  );
  assert.deepEqual(
    lines.map(({ suppressed = 0 }) => suppressed),
    [0, 1, 1],
  );
  time += 1000;
  assert.deepEqual([fail("trap"), fail("trap")], [true, false]);
  assert.deepEqual(lines.at(-1), {
    plugin: "p",
    hook: "request_head",
    reason: "trap",
    stack: "trap at 6000",
  });
  report.quarantine(HOOK.request_head, { reason: "trap", message: "trap", stack: "" });
  assert.equal(lines.at(-1)!.stack, "trap at 6000");
  assert.equal(stacks.at(-1), "trap at 6000");
  time += 10_000;
  assert.equal(fail("trap"), false, "in quarantine none is logged");
});
