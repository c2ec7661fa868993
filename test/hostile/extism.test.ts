/** Hostile Extism plugins: each ends as a counted failure that names plugin, hook and cause. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK } from "../../src/abi/abi.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import { call, exchange, load } from "../contract/plugin-harness.ts";
import { extismModule, place } from "../support/extism.ts";
import { fieldsOf } from "../unit/plugin/kit.ts";

const REQUEST = "GET / HTTP/1.1\nHost: a\nX-One: 1";
const MEMORY = 4 * 1024 * 1024;

const fn = (body: string, locals = "") => `(func (export "on_request") (result i32) ${locals} ${body} (i32.const 0))`;
const forever = (body: string) => `(loop $again ${body} (br $again))`;

const FUEL_OR_MEMORY =
  /^(the fuel for one call is used up|a block of memory could not be allocated|\w+: \d+ bytes do not fit)/;

const cases: [name: string, body: string, message: RegExp, texts?: string[]][] = [
  ["reads at 0", fn("(drop (call $load_u8 (i64.const 0)))"), /^the offset 0 is outside of the allocated memory$/],
  [
    "reads the kernel's own words",
    fn("(drop (call $load_u64 (i64.const 56)))"),
    /^the offset 56 is outside of the allocated memory$/,
  ],
  ["writes at the end", fn("(call $store_u8 (i64.const 0xffff) (i32.const 1))"), /^the offset 65535 is outside/],
  ["writes beyond 2^32", fn("(call $store_u64 (i64.const -1) (i64.const 1))"), /^the offset 18446744073709551615 is/],
  [
    "writes half outside",
    fn("(call $store_u64 (i64.add (call $alloc (i64.const 8)) (i64.const 1)) (i64.const 1))"),
    /^the offset \d+ is outside of the allocated memory$/,
  ],
  [
    "reads past the input",
    fn("(drop (call $input_load_u8 (i64.const 100000)))"),
    /^the offset 100000 is outside of the input$/,
  ],
  [
    "reads the input at -1",
    fn("(drop (call $input_load_u64 (i64.const -1)))"),
    /^the offset \d+ is outside of the input$/,
  ],
  [
    "puts out more than there is",
    fn("(call $output_set (call $alloc (i64.const 8)) (i64.const 100000))"),
    /^output_set: the output at \d+ is outside of the allocated memory$/,
  ],
  [
    "puts out 2^64 bytes",
    fn("(call $output_set (call $alloc (i64.const 8)) (i64.const -1))"),
    /^output_set: the output at \d+ is outside of the allocated memory$/,
  ],
  [
    "puts out the kernel's words",
    fn("(call $output_set (i64.const 0) (i64.const 8))"),
    /^output_set: the output at 0 is/,
  ],
  ["an error that is no block", fn("(call $error_set (i64.const 77))"), /^error_set: 77 is not a block of memory$/],
  [
    "a key that is no block",
    fn("(drop (call $config_get (i64.const 99)))"),
    /^config_get: 99 is not a block of memory$/,
  ],
  [
    "a key that was freed",
    fn(
      "(local.set $a (call $alloc (i64.const 8))) (call $free (local.get $a)) (drop (call $var_get (local.get $a)))",
      "(local $a i64)",
    ),
    /^var_get: \d+ is not a block of memory$/,
  ],
  [
    "a line that is no block",
    fn("(call $log_info (i64.const -1))"),
    /^log_info: 18446744073709551615 is not a block of memory$/,
  ],
  [
    "a block whose size was written over",
    fn(
      "(local.set $a (call $alloc (i64.const 8))) (call $store_u64 (i64.sub (local.get $a) (i64.const 8)) (i64.const -1)) (call $log_info (local.get $a))",
      "(local $a i64)",
    ),
    /^log_info: \d+ is not a block of memory$/,
  ],
  [
    "takes a block of 2^63 bytes and uses it",
    fn("(call $store_u8 (call $alloc (i64.const 0x4000000000000000)) (i32.const 1))"),
    /^the offset 0 is outside of the allocated memory$/,
  ],
  [
    "takes more blocks than its memory",
    fn(`${forever("(br_if 1 (i64.eqz (call $alloc (i64.const 65536))))")} unreachable`)
      .replace("(loop", "(block (loop")
      .replace("unreachable", ") unreachable"),
    /^a block of memory could not be allocated \(limits\.memory\)$/,
  ],
  ["puts out no JSON", fn(`(call $put ${place(0, "{no")})`), /^the output is not JSON: /, ["{no"]],
  [
    "returns a code",
    '(func (export "on_request") (result i32) (i32.const 7))(func (call $free (i64.const 0)))',
    /^returned 7, expected 0$/,
  ],
  ["an error message", fn(`(call $error_set (call $text ${place(0, "no tenant")}))`), /^no tenant$/, ["no tenant"]],
  ["runs forever", fn(forever("")), /^the fuel for one call is used up/],
  [
    "takes and frees blocks forever",
    fn(forever("(call $free (call $alloc (i64.const 4096)))")),
    /^the fuel for one call is used up/,
  ],
  ["reads forever", fn(forever("(drop (call $input_load_u8 (i64.const 0)))")), /^the fuel for one call is used up/],
  [
    "logs forever",
    fn(forever(`(call $log_debug (call $text ${place(0, "x")}))`)),
    /^(the fuel for one call is used up|a block of memory)/,
    ["x"],
  ],
  [
    "calls itself",
    '(func $f (export "on_request") (call $free (i64.const 0)) (call $f))',
    /^(stack overflow|the fuel for one call)/,
  ],
  [
    "keeps variables without end",
    fn(
      forever(
        "(call $store_u64 (local.get $key) (local.get $i)) (local.set $i (i64.add (local.get $i) (i64.const 1))) (call $var_set (local.get $key) (local.get $value))",
      ),
      "(local $key i64) (local $value i64) (local $i i64)",
    ).replace(
      "(loop",
      "(local.set $key (call $alloc (i64.const 8))) (local.set $value (call $alloc (i64.const 16384))) (loop",
    ),
    /^var_set: the variables are over 1048576 bytes or 1000 names$/,
  ],
  ["reads headers forever", fn(forever("(drop (call $http_headers (i64.const 0)))")), FUEL_OR_MEMORY],
  ["reads attributes forever", fn(forever("(drop (call $http_attribute (i64.const 3)))")), FUEL_OR_MEMORY],
  [
    "looks for a header forever",
    fn(forever(`(drop (call $http_header_get (i64.const 0) (call $text ${place(0, "x")}) (i64.const 0)))`)),
    FUEL_OR_MEMORY,
    ["x"],
  ],
  [
    "adds headers forever",
    fn(forever(`(call $http_header_add (i64.const 0) (call $text ${place(0, "x")}) (i64.const 0))`)),
    /^(the fuel for one call is used up|a block of memory|header_add: "x" is over a limit)/,
    ["x"],
  ],
  [
    "responds forever",
    fn(forever("(call $http_respond (i64.const 200) (call $alloc (i64.const 4096)))")),
    /^(the fuel for one call is used up|.*limits\.memory)/,
  ],
  [
    "names a header by no block",
    fn("(drop (call $http_header_remove (i64.const 0) (i64.const 9)))"),
    /^header_remove: 9 is not a block of memory$/,
  ],
  [
    "looks for the 2^63rd header",
    fn(`(drop (call $http_header_get (i64.const 0) (call $text ${place(0, "x")}) (i64.const 0x7fffffffffffffff)))
      unreachable`),
    /^unreachable$/,
    ["x"],
  ],
  [
    "asks for attribute -2^63",
    fn("(drop (call $http_attribute (i64.const 0x8000000000000000)))"),
    /^attribute: -9223372036854775808 is unknown$/,
  ],
  ["counts in metric -1", fn("(call $metrics_add (i64.const -1) (f64.const 1))"), /^add: there is no such metric/],
];

for (const [name, body, message, texts] of cases)
  test(name, () => {
    const loaded = load(extismModule(body, texts), { configs: [{}], memory: MEMORY });
    for (let round = 0; round < 2; round++) {
      const x = exchange(REQUEST);
      assert.equal(call(loaded, "request_head", x), OUTCOME.failed);
      assert.deepEqual([fieldsOf(x.request), x.localStatus], [["Host: a", "X-One: 1"], 0]);
    }
    const prefix = "error: plugin test failed in request_head: ";
    const report = loaded.reports.find((line) => line.startsWith(prefix));
    assert.match(report?.slice(prefix.length) ?? String(loaded.reports), message);
  });

test("a trap in start-up code rejects the plugin with the cause", () => {
  const start = '(func (export "_initialize") (drop (call $load_u8 (i64.const 4))))';
  assert.throws(() => load(extismModule(`${start}${fn("")}`), { configs: [{}] }), {
    // The frames are the guest's alone.
    message: /^plugin test: start: the offset 4 is outside of the allocated memory\n {2}at [^\n]+$/,
  });
});

test("http_request without a permission fails at once, and nothing is suspended for it", () => {
  const body = "(drop (call $http_request (i64.const 0) (i64.const 0)))";
  const loaded = load(extismModule(fn(`(if (i64.gt_u (call $input_length) (i64.const 150)) (then ${body}))`)), {
    configs: [{}],
  });
  assert.equal(call(loaded, "request_head", exchange("GET / HTTP/1.1\nHost: a")), OUTCOME.continue);
  const long = `GET /${"a".repeat(200)} HTTP/1.1\nHost: a`;
  assert.equal(call(loaded, "request_head", exchange(long)), OUTCOME.failed);
  assert.match(loaded.reports.join(), /failed in request_head: http_request: not allowed \(allow\.fetch\)/);
});

test("an import that suspends ends the guest where it cannot be suspended", () => {
  const body = `(func (export "route") (result i32) (drop (call $http_request (i64.const 0) (i64.const 0))) (i32.const 0))`;
  const module = extismModule(body);
  assert.equal(buildModule(module, { memory: MEMORY }).info.hooks, 1 << HOOK.route);
  const loaded = load(module, { configs: [{}] });
  assert.equal(call(loaded, "route", exchange(REQUEST)), OUTCOME.failed);
  assert.match(loaded.reports.join(), /failed in route: http_request: not possible in this hook/);
});

test("an output whose values take longest to parse is charged before it is parsed", () => {
  // Half a megabyte of `[{},{},{`.
  const body = `(func (export "on_request") (result i32)
    (local $to i64) (local $i i64)
    (local.set $to (call $alloc (i64.const 524288)))
    (loop $next
      (call $store_u64 (i64.add (local.get $to) (local.get $i)) (i64.const 0x7b2c7d7b2c7d7b5b))
      (local.set $i (i64.add (local.get $i) (i64.const 8)))
      (br_if $next (i64.lt_u (local.get $i) (i64.const 524288))))
    (call $put_block (local.get $to)) (i32.const 0))`;
  const loaded = load(extismModule(body), { configs: [{}] });
  assert.equal(call(loaded, "request_head", exchange(REQUEST)), OUTCOME.failed);
  assert.match(loaded.reports[0]!, /the fuel for one call is used up/);
});
