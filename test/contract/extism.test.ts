/** Every case runs through the npm package of Extism and through our host, and both give the same output, logs and failures. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { extismModule, openOracle, place } from "../support/extism.ts";
import { callExtism } from "./extism-call.ts";
import { load } from "./plugin-harness.ts";

const HOOK = "on_request_body";

type Case = {
  readonly name: string;
  readonly body: string;
  readonly texts?: readonly string[];
  readonly inputs?: readonly string[];
  readonly config?: Record<string, string>;
  /** What both hosts put out, where the case must not pass by two equal mistakes. */
  readonly outputs?: readonly (string | null)[];
};

const fn = (body: string, locals = "") => `(func (export "${HOOK}") (result i32) ${locals} ${body} (i32.const 0))`;

/** Copies the input to a block, byte by byte or eight at a time, through `$each`. */
const echo = (each: string) =>
  fn(
    `(local.set $n (call $input_length))
     (local.set $to (call $alloc (local.get $n)))
     (block $done (loop $next
       (br_if $done (i64.ge_u (local.get $i) (local.get $n)))
       ${each}
       (br $next)))
     (call $output_set (local.get $to) (local.get $n))`,
    "(local $n i64) (local $to i64) (local $i i64)",
  );
const AT = "(i64.add (local.get $to) (local.get $i))";
const step = (count: number) => `(local.set $i (i64.add (local.get $i) (i64.const ${count})))`;

const LONG = "abcdefghijklmnopqrstuvwxyz ".repeat(5000);

const cases: Case[] = [
  {
    name: "the input is read byte by byte and put out",
    body: echo(`(call $store_u8 ${AT} (call $input_load_u8 (local.get $i))) ${step(1)}`),
    inputs: ["a", "héllo\0\xff", LONG],
    outputs: ["a", "héllo\0\xff", LONG],
  },
  {
    name: "the input is read eight bytes at a time",
    body: echo(`(call $store_u64 ${AT} (call $input_load_u64 (local.get $i))) ${step(8)}`),
    inputs: ["12345678", "1234567890abcdef"],
    outputs: ["12345678", "1234567890abcdef"],
  },
  {
    name: "a plugin that sets no output changes nothing",
    body: fn(""),
    outputs: [null],
  },
  {
    name: "a function without a result is a hook too",
    body: `(func (export "${HOOK}") (call $put ${place(0, "made")}))`,
    texts: ["made"],
    outputs: ["made"],
  },
  {
    name: "the last output counts",
    body: fn(`(call $put ${place(0, "first")}) (call $put ${place(1, "second")})`),
    texts: ["first", "second"],
    outputs: ["second"],
  },
  {
    name: "a block is zeroed, and can be written after it was put out",
    body: fn(
      `(local.set $a (call $alloc (i64.const 4)))
       (call $output_set (local.get $a) (i64.const 4))
       (call $store_u8 (i64.add (local.get $a) (i64.const 2)) (i32.const 65))`,
      "(local $a i64)",
    ),
    inputs: ["x", "y"],
    outputs: ["\0\0A\0", "\0\0A\0"],
  },
  {
    name: "memory of the call before is not seen",
    body: fn(
      `(local.set $a (call $alloc (i64.const 64)))
       (call $output_set (local.get $a) (i64.const 64))
       (local.set $b (call $alloc (i64.const 4096)))
       (call $store_u64 (local.get $b) (i64.const -1))
       (call $store_u64 (i64.add (local.get $b) (i64.const 4088)) (i64.const -1))`,
      "(local $a i64) (local $b i64)",
    ),
    inputs: ["x", "longer than before".repeat(20), "y"],
    outputs: ["\0".repeat(64), "\0".repeat(64), "\0".repeat(64)],
  },
  {
    name: "lengths: of a block, of a freed one, of nothing",
    body: fn(
      `(local.set $a (call $alloc (i64.const 7)))
       (local.set $b (call $alloc (i64.const 300)))
       (local.set $out (call $alloc (i64.const 40)))
       (call $store_u64 (local.get $out) (call $length (local.get $a)))
       (call $store_u64 (i64.add (local.get $out) (i64.const 8)) (call $length_unsafe (local.get $b)))
       (call $free (local.get $a))
       (call $free (local.get $a))
       (call $store_u64 (i64.add (local.get $out) (i64.const 16)) (call $length (local.get $a)))
       (call $store_u64 (i64.add (local.get $out) (i64.const 24)) (call $length (local.get $b)))
       (call $store_u64 (i64.add (local.get $out) (i64.const 32)) (call $length (i64.const 0x7fff000000000000)))
       (call $put_block (local.get $out))`,
      "(local $a i64) (local $b i64) (local $out i64)",
    ),
    outputs: [Buffer.from(BigUint64Array.of(7n, 300n, 0n, 300n, 0n).buffer).toString("latin1")],
  },
  {
    name: "a value of the configuration",
    body: fn(`(call $put_block (call $config_get (call $text ${place(0, "name")})))`),
    texts: ["name"],
    config: { name: "wörld" },
    outputs: [Buffer.from("wörld").toString("latin1")],
  },
  {
    name: "a value that is not in the configuration",
    body: fn(
      `(if (i64.eqz (call $config_get (call $text ${place(0, "other")}))) (then (call $put ${place(1, "none")})))`,
    ),
    texts: ["other", "none"],
    config: { name: "x" },
    outputs: ["none"],
  },
  {
    name: "a variable is kept from call to call",
    body: fn(
      `(local.set $old (call $var_get (call $text ${place(0, "seen")})))
       (if (i64.eqz (local.get $old))
         (then (call $put ${place(1, "first")}))
         (else (call $put_block (local.get $old))))
       (call $var_set (call $text ${place(0, "seen")}) (call $text ${place(2, "again")}))`,
      "(local $old i64)",
    ),
    texts: ["seen", "first", "again"],
    inputs: ["1", "2", "3"],
    outputs: ["first", "again", "again"],
  },
  {
    name: "a variable that was deleted",
    body: fn(
      `(call $var_set (call $text ${place(0, "v")}) (call $text ${place(1, "value")}))
       (call $var_set (call $text ${place(0, "v")}) (i64.const 0))
       (if (i64.eqz (call $var_get (call $text ${place(0, "v")}))) (then (call $put ${place(2, "gone")})))`,
    ),
    texts: ["v", "value", "gone"],
    outputs: ["gone"],
  },
  {
    name: "lines of the log, in their order and level",
    body: fn(
      `(call $log_info (call $text ${place(0, "one")}))
       (call $log_error (call $text ${place(1, "twö")}))
       (call $log_warn (call $text ${place(2, "three")}))
       (call $log_debug (call $text ${place(0, "one")}))`,
    ),
    texts: ["one", "twö", "three"],
  },
  {
    name: "an empty line of the log, and an empty output",
    body: fn(`(call $log_info (call $text ${place(0, "")})) (call $put ${place(0, "")})`),
    texts: [""],
    outputs: [""],
  },
  {
    name: "an error that is set fails the call, also with an output",
    body: fn(`(call $put ${place(0, "out")}) (call $error_set (call $text ${place(1, "no such thing")}))`),
    texts: ["out", "no such thing"],
  },
  { name: "a trap fails the call", body: fn("unreachable") },
  {
    name: "reading past the input fails the call",
    body: fn("(drop (call $input_load_u8 (i64.const 3)))"),
    inputs: ["abc"],
  },
  {
    name: "reading eight bytes beyond the end of the input fails the call",
    body: fn("(drop (call $input_load_u64 (i64.const 0)))"),
    inputs: ["abc"],
  },
  {
    name: "an output longer than its block fails the call",
    body: fn("(call $output_set (call $alloc (i64.const 4)) (i64.const 4000000))"),
  },
  {
    name: "an output of a block that does not exist fails the call",
    body: fn("(call $output_set (i64.const 0x7fff000000000000) (i64.const 4))"),
  },
  {
    name: "an error that is no block fails the call",
    body: fn("(call $error_set (i64.const 0x7fff000000000000))"),
  },
  { name: "a call that never ends by itself: recursion", body: '(func $f (export "on_request_body") (call $f))' },
];

for (const { name, body, texts = [], inputs = ["in"], config = {}, outputs } of cases)
  test(name, async () => {
    const module = extismModule(body, texts);
    const oracle = await openOracle(module, config);
    const loaded = load(module, { configs: [config] });
    const seen: (string | null)[] = [];
    for (const text of inputs) {
      // Of its own memory: the package takes all of the buffer for the input.
      const input = new Uint8Array(Buffer.from(text, "latin1"));
      const ours = callExtism(loaded, input);
      assert.deepEqual(ours, await oracle.call(HOOK, input), JSON.stringify(text.slice(0, 40)));
      seen.push(ours.output);
    }
    if (outputs !== undefined) assert.deepEqual(seen, outputs);
    loaded.dispose();
    await oracle.close();
  });
