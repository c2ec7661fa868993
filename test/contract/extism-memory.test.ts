/**
 * Blocks of memory behave alike in the package of Extism and in our kernel, for any sequence of calls: a guest that
 * is a small machine allocates, writes, reads, measures and frees blocks as its input directs, and outputs all that it read.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { requestBody } from "../../src/proxy/filtered-body.ts";
import { extismModule, openOracle } from "../support/extism.ts";
import { call, exchange, load } from "./plugin-harness.ts";

/** Four bytes each: what to do, with which of sixteen blocks, where in it, and a value. */
const OPERATIONS = ["take", "write", "read", "write8", "read8", "measure", "free"] as const;
type Operation = { readonly what: (typeof OPERATIONS)[number]; block: number; at: number; value: number };

const RUN = `
  (func $handle (param $block i32) (result i64) (i64.load (i32.shl (local.get $block) (i32.const 3))))
  (func $byte (param $at i64) (result i32) (call $input_load_u8 (local.get $at)))
  (func $say (param $value i64)
    (i64.store (global.get $written) (local.get $value))
    (global.set $written (i32.add (global.get $written) (i32.const 8))))
  (global $written (mut i32) (i32.const 1024))
  (func (export "on_request_body") (result i32)
    (local $at i64) (local $what i32) (local $block i32) (local $offset i64) (local $value i64)
    (global.set $written (i32.const 1024))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 128))
    (block $done (loop $next
      (br_if $done (i64.ge_u (local.get $at) (call $input_length)))
      (local.set $what (call $byte (local.get $at)))
      (local.set $block (call $byte (i64.add (local.get $at) (i64.const 1))))
      (local.set $offset
        (i64.add (call $handle (local.get $block))
          (i64.extend_i32_u (call $byte (i64.add (local.get $at) (i64.const 2))))))
      (local.set $value (i64.extend_i32_u (call $byte (i64.add (local.get $at) (i64.const 3)))))
      (if (i32.eq (local.get $what) (i32.const 0))
        (then (i64.store (i32.shl (local.get $block) (i32.const 3)) (call $alloc (local.get $value)))))
      (if (i32.eq (local.get $what) (i32.const 1))
        (then (call $store_u8 (local.get $offset) (i32.wrap_i64 (local.get $value)))))
      (if (i32.eq (local.get $what) (i32.const 2))
        (then (call $say (i64.extend_i32_u (call $load_u8 (local.get $offset))))))
      (if (i32.eq (local.get $what) (i32.const 3))
        (then (call $store_u64 (local.get $offset) (i64.mul (local.get $value) (i64.const 0x0102030405060708)))))
      (if (i32.eq (local.get $what) (i32.const 4)) (then (call $say (call $load_u64 (local.get $offset)))))
      (if (i32.eq (local.get $what) (i32.const 5)) (then (call $say (call $length (call $handle (local.get $block))))))
      (if (i32.eq (local.get $what) (i32.const 6)) (then (call $free (call $handle (local.get $block)))))
      (local.set $at (i64.add (local.get $at) (i64.const 4)))
      (br $next)))
    (call $put (i32.const 1024) (i32.sub (global.get $written) (i32.const 1024)))
    (i32.const 0))`;

const anyOperation = fc.record({
  what: fc.constantFrom(...OPERATIONS),
  block: fc.nat(15),
  at: fc.nat(255),
  value: fc.integer({ min: 1, max: 255 }),
});

/** Those that a guest may do: blocks are taken before they are used, and nothing is used when it was freed. */
function allowed(operations: readonly Operation[]): Operation[] {
  const sizes = new Map<number, number>();
  return operations.filter(({ what, block, at, value }) => {
    const size = sizes.get(block) ?? 0;
    if (what === "take") sizes.set(block, value);
    else if (what === "free") return sizes.delete(block);
    else if (what === "measure") return size > 0;
    else return at + (what.endsWith("8") ? 8 : 1) <= size;
    return true;
  });
}

test("any use of memory that is allowed reads the same in both hosts", async () => {
  const module = extismModule(RUN);
  const loaded = load(module, { configs: [{}] });
  const oracle = await openOracle(module, {});
  await fc.assert(
    fc.asyncProperty(fc.array(anyOperation, { minLength: 1, maxLength: 200 }), async (operations) => {
      const bytes = allowed(operations).flatMap(({ what, block, at, value }) => [
        OPERATIONS.indexOf(what),
        block,
        at,
        value,
      ]);
      const input = Uint8Array.from(bytes);
      const x = exchange("POST / HTTP/1.1\nHost: a");
      const { chunk } = requestBody(x);
      chunk.set(Buffer.from(input), 0, input.length, true);
      assert.equal(call(loaded, "request_body", x), OUTCOME.continue, String(loaded.reports));
      const { output } = await oracle.call("on_request_body", input);
      assert.equal(chunk.made.toString("latin1"), output);
    }),
    { numRuns: 150 },
  );
  await oracle.close();
  loaded.dispose();
});
