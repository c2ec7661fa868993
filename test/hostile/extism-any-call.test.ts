/**
 * For any numbers that an Extism plugin passes to the host, its call succeeds or is a failure of the plugin, and the
 * next call is served.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { requestBody } from "../../src/proxy/filtered-body.ts";
import { call, exchange, load } from "../contract/plugin-harness.ts";
import { extismModule } from "../support/extism.ts";

const A = "(local.get $a)";
const B = "(local.get $b)";
/** By number: each with two numbers of the input. */
const CALLS = [
  `(local.set $last (call $alloc ${A}))`,
  `(call $free ${A})`,
  `(drop (call $length ${A}))`,
  `(drop (call $length_unsafe ${A}))`,
  `(drop (call $load_u8 ${A}))`,
  `(drop (call $load_u64 ${A}))`,
  `(call $store_u8 ${A} (i32.wrap_i64 ${B}))`,
  `(call $store_u64 ${A} ${B})`,
  `(drop (call $input_load_u8 ${A}))`,
  `(drop (call $input_load_u64 ${A}))`,
  "(local.set $last (call $input_offset))",
  `(call $output_set ${A} ${B})`,
  `(call $error_set ${A})`,
  `(local.set $last (call $config_get ${A}))`,
  `(local.set $last (call $var_get ${A}))`,
  `(call $var_set ${A} ${B})`,
  `(call $log_info ${A})`,
  "(drop (call $http_status_code))",
  `(local.set $last (call $kv_get ${A} ${B}))`,
  `(call $kv_set ${A} ${B} ${A} ${B})`,
  `(call $kv_delete ${A} ${B})`,
  `(local.set $last (call $kv_increment ${A} ${B} ${B} ${A}))`,
];

/** Of each 17 bytes of the input: which call, and its two numbers; 0 means the last block that a call returned. */
const RUNS = extismModule(`
  (func $number (param $at i64) (result i64) (call $input_load_u64 (local.get $at)))
  (func (export "on_request_body") (result i32)
    (local $at i64) (local $what i32) (local $a i64) (local $b i64) (local $last i64) (local $end i64)
    (local.set $end (call $input_length))
    (block $done (loop $next
      (br_if $done (i64.ge_u (local.get $at) (local.get $end)))
      (local.set $what (call $input_load_u8 (local.get $at)))
      (local.set $a (call $number (i64.add (local.get $at) (i64.const 1))))
      (local.set $b (call $number (i64.add (local.get $at) (i64.const 9))))
      (if (i64.eqz (local.get $last)) (then (local.set $last (call $alloc (i64.const 8)))))
      (if (i64.eqz ${A}) (then (local.set $a (local.get $last))))
      (if (i64.eqz ${B}) (then (local.set $b (local.get $last))))
      ${CALLS.map((code, i) => `(if (i32.eq (local.get $what) (i32.const ${i})) (then ${code}))`).join("\n")}
      (local.set $at (i64.add (local.get $at) (i64.const 17)))
      (br $next)))
    (i32.const 0))`);

const numbers = fc.oneof(
  { weight: 8, arbitrary: fc.constant(0n) },
  fc.constantFrom(
    0n,
    1n,
    8n,
    63n,
    64n,
    71n,
    72n,
    80n,
    65_535n,
    65_536n,
    1n << 31n,
    1n << 32n,
    (1n << 63n) - 1n,
    1n << 63n,
  ),
  fc.bigInt({ min: 0n, max: 512n }),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
);
const steps = fc.array(fc.tuple(fc.nat(CALLS.length - 1), numbers, numbers), { minLength: 1, maxLength: 40 });

test("any sequence of calls ends at most the guest, with a failure of the guest", () => {
  // Each failure is logged: a second has passed since the last one.
  let clock = 0;
  const now = () => (clock += 10_000);
  const start = () => load(RUNS, { configs: [{ a: "b" }], memory: 1 << 20, namespaces: ["", "a"], now });
  let loaded = start();
  fc.assert(
    fc.property(steps, (calls) => {
      const input = Buffer.alloc(17 * calls.length);
      for (const [i, [what, a, b]] of calls.entries()) {
        input[17 * i] = what;
        input.writeBigUInt64LE(a, 17 * i + 1);
        input.writeBigUInt64LE(b, 17 * i + 9);
      }
      loaded.reports.length = 0;
      const x = exchange("POST / HTTP/1.1\nHost: a");
      requestBody(x).chunk.set(input, 0, input.length, true);
      const outcome = call(loaded, "request_body", x);
      assert.ok(outcome === OUTCOME.continue || outcome === OUTCOME.failed);
      const failures = loaded.reports.filter((line) => line.startsWith("error: plugin test failed in request_body: "));
      assert.equal(failures.length, outcome === OUTCOME.failed ? 1 : 0, String(loaded.reports));
      assert.doesNotMatch(String(failures), /a host call failed|undefined/);
      // Many failures in a row: it is not called any more.
      if (loaded.reports.some((line) => line.includes("is quarantined"))) {
        loaded.dispose();
        loaded = start();
      }
    }),
    { numRuns: 400 },
  );
  loaded.dispose();
});
