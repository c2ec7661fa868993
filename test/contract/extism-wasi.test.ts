/** WASI preview 1 for Extism plugins: standard output, a clock, random bytes; other calls return their error. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { WASI_NAMES, wasiSignature } from "../../src/plugin/abi/wasi-names.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { TYPE } from "../../src/plugin/wasm/binary.ts";
import { compileWat } from "../unit/plugin/kit.ts";
import { call, exchange, type Loaded, load } from "./plugin-harness.ts";

const NOW = Date.UTC(2026, 10, 30);

/** A module that imports all of WASI; `body` returns an i32, which is logged as the length of a line of dots. */
function withWasi(body: string, more = ""): Uint8Array {
  const types = (list: readonly number[]) => list.map((type) => (type === TYPE.i64 ? "i64" : "i32")).join(" ");
  const imports = WASI_NAMES.map((name) => {
    const { params, results } = wasiSignature(name)!;
    return `(import "wasi_snapshot_preview1" "${name}" (func $${name} (param ${types(params)}) (result ${types(results)})))`;
  });
  return compileWat(`(module ${imports.join("\n").replaceAll(" (param )", "").replaceAll(" (result )", "")}
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "log_info" (func $log_info (param i64)))
    (memory (export "memory") 1)
    (data (i32.const 64) "one\\ntwo\\n")
    ;; Ranges: "one\\n", "two\\n", one outside of the memory.
    (data (i32.const 128) "\\40\\00\\00\\00\\04\\00\\00\\00\\44\\00\\00\\00\\04\\00\\00\\00\\ff\\ff\\00\\00\\02\\00\\00\\00")
    ${more}
    (func (export "on_request") (result i32)
      (call $log_info (call $alloc (i64.extend_i32_u ${body})))
      (i32.const 0)))`);
}

function run(body: string, more?: string): { loaded: Loaded; outcome: number } {
  const loaded = load(withWasi(body, more), { configs: [{}], now: () => NOW });
  return { loaded, outcome: call(loaded, "request_head", exchange("GET / HTTP/1.1\nHost: a")) };
}

/** The number that `body` returns. */
function resultOf(body: string): number {
  const { loaded, outcome } = run(body);
  assert.equal(outcome, OUTCOME.continue, String(loaded.reports));
  return loaded.reports.find((line) => /^info: \0*$/.test(line))!.length - "info: ".length;
}

/** The error number of a call, and what it wrote at 1024. */
const after = (code: string, load_: string) => `(block (result i32) (drop ${code}) ${load_})`;

test("standard output and error are lines of the log", () => {
  const write = (descriptor: number, count: number) =>
    `(call $fd_write (i32.const ${descriptor}) (i32.const 128) (i32.const ${count}) (i32.const 1024))`;
  const { loaded } = run(after(write(1, 2), after(write(2, 1), "(i32.load (i32.const 1024))")));
  assert.deepEqual(loaded.reports.slice(0, 3), ["info: one", "info: two", "error: one"]);
  assert.equal(resultOf(after(write(1, 2), "(i32.load (i32.const 1024))")), 8);
  assert.equal(resultOf(write(3, 1)), 8);
  const outside = run(write(1, 3));
  assert.equal(outside.outcome, OUTCOME.failed);
  assert.match(String(outside.loaded.reports), /the range of 2 bytes at 65535 is outside of the memory of 65536 bytes/);
});

test("the clock, random bytes, no arguments and no environment", () => {
  const clock = "(call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 1024))";
  const days =
    "(i32.wrap_i64 (i64.rem_u (i64.div_u (i64.load (i32.const 1024)) (i64.const 86400000000000)) (i64.const 1000)))";
  assert.equal(resultOf(after(clock, days)), (NOW / 86_400_000) % 1000);
  assert.equal(resultOf("(call $clock_time_get (i32.const 2) (i64.const 1) (i32.const 1024))"), 28);
  const random = "(call $random_get (i32.const 1024) (i32.const 32))";
  const drawn = "(i64.ne (i64.load (i32.const 1024)) (i64.load (i32.const 1032)))";
  assert.equal(resultOf(after(random, drawn)), 1);
  assert.equal(resultOf("(call $random_get (i32.const 0) (i32.const 65536))"), 0);
  for (const name of ["args_sizes_get", "environ_sizes_get"]) {
    const sizes = `(call $${name} (i32.const 128) (i32.const 132))`;
    assert.equal(resultOf(after(sizes, "(i32.or (i32.load (i32.const 128)) (i32.load (i32.const 132)))")), 0, name);
  }
});

test("a sleep ends at once, and the clock has moved on", () => {
  // A subscription of 48 bytes: what it is for, a clock, a timeout of 3 days (or until 1970), relative (or absolute).
  const subscribe = (at: number, tag: number, id: number, days: number, flags = 0) => `
    (i64.store (i32.const ${at}) (i64.const ${at}))
    (i32.store8 (i32.const ${at + 8}) (i32.const ${tag}))
    (i32.store (i32.const ${at + 16}) (i32.const ${id}))
    (i64.store (i32.const ${at + 24}) (i64.const ${BigInt(days) * 86_400_000_000_000n}))
    (i32.store16 (i32.const ${at + 40}) (i32.const ${flags}))`;
  const poll = (count: number) =>
    `(call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const ${count}) (i32.const 1024))`;
  const days = `(block (result i32)
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 1032)))
    (i32.wrap_i64 (i64.rem_u (i64.div_u (i64.load (i32.const 1032)) (i64.const 86400000000000)) (i64.const 1000))))`;
  const after_ = (subscriptions: string, count: number, load_: string) =>
    resultOf(`(block (result i32) ${subscriptions} (if ${poll(count)} (then unreachable)) ${load_})`);
  const now = (NOW / 86_400_000) % 1000;
  const two = subscribe(2048, 0, 0, 5) + subscribe(2096, 0, 1, 3);
  // The earlier one is the event.
  assert.equal(after_(two, 2, days), now + 3);
  assert.equal(after_(two, 2, "(i32.load (i32.const 1024))"), 1);
  assert.equal(after_(two, 2, "(i32.wrap_i64 (i64.load (i32.const 4096)))"), 2096);
  // A time of the past; a descriptor is ready before any sleep ends; one that does not exist.
  assert.equal(after_(subscribe(2048, 0, 1, 1, 1), 1, days), now);
  const written = subscribe(2048, 0, 0, 5) + subscribe(2096, 2, 1, 0);
  assert.equal(after_(written, 2, days), now);
  assert.equal(after_(written, 2, "(i32.load8_u (i32.const 4106))"), 2);
  assert.equal(after_(subscribe(2048, 1, 9, 0), 1, "(i32.load16_u (i32.const 4104))"), 8);
  assert.equal(after_(subscribe(2048, 0, 7, 0), 1, "(i32.load16_u (i32.const 4104))"), 28);
  // The longest sleeps do not overflow the clock.
  const longest = subscribe(2048, 0, 0, 213_503);
  assert.equal(after_(longest, 1, `(block (result i32) (drop ${poll(1)}) ${days})`), 213_503 % 1000);
  const outside = run(`(call $poll_oneoff (i32.const 65500) (i32.const 4096) (i32.const 1) (i32.const 1024))`);
  assert.equal(outside.outcome, OUTCOME.failed);
});

test("files, sockets and empty polls return the errors of a host without them", () => {
  const cases: [code: string, error: number][] = [
    ["(call $fd_prestat_get (i32.const 3) (i32.const 1024))", 8],
    ["(call $fd_fdstat_get (i32.const 1) (i32.const 1024))", 0],
    ["(call $fd_fdstat_get (i32.const 3) (i32.const 1024))", 8],
    ["(call $fd_read (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 1024))", 0],
    ["(call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 1024))", 70],
    ["(call $fd_close (i32.const 1))", 0],
    ["(call $path_unlink_file (i32.const 3) (i32.const 64) (i32.const 3))", 44],
    ["(call $poll_oneoff (i32.const 0) (i32.const 512) (i32.const 0) (i32.const 1024))", 28],
    ["(call $sock_shutdown (i32.const 3) (i32.const 0))", 58],
    ["(call $sched_yield)", 0],
  ];
  for (const [code, error] of cases) assert.equal(resultOf(code), error, code);
});

test("a program that exits with 0 in its start-up code continues as a plugin, and fails elsewhere", () => {
  const start = '(func (export "_start") (call $proc_exit (i32.const 0)) unreachable)';
  assert.equal(run("(i32.const 1)", start).outcome, OUTCOME.continue);
  const failed = '(func (export "_start") (call $proc_exit (i32.const 3)))';
  assert.throws(() => run("(i32.const 1)", failed), { message: /^plugin test: start: proc_exit\(3\)/ });
  const { outcome, loaded } = run("(block (result i32) (call $proc_exit (i32.const 0)) (i32.const 1))");
  assert.equal(outcome, OUTCOME.failed);
  assert.match(String(loaded.reports), /failed in request_head: proc_exit\(0\)/);
});

test("the runtime of a Haskell module is started after its start-up code", () => {
  const started = `(global $state (mut i32) (i32.const 0))
    (func (export "_initialize") (global.set $state (i32.const 1)))
    (func (export "hs_init") (param i32 i32)
      (if (i32.eq (global.get $state) (i32.const 1)) (then (global.set $state (i32.const 2)))))`;
  const isStarted = "(i32.ne (global.get $state) (i32.const 2))";
  assert.equal(run(isStarted, started).outcome, OUTCOME.continue);
  const failing = '(func (export "hs_init") (param i32 i32) (call $proc_exit (i32.const 3)))';
  assert.throws(() => run("(i32.const 0)", failing), { message: /^plugin test: start: proc_exit\(3\)/ });
});

test("a module that imports WASI must export its memory", () => {
  const wat = `(module (import "extism:host/env" "free" (func (param i64)))
    (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
    (memory 1) (func (export "on_request")))`;
  assert.throws(() => load(compileWat(wat)), { message: /^imports WASI, but exports no memory/ });
});
