/** Extism plugins use the shared key-value store, with permission. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { extismModule, place } from "../support/extism.ts";
import { call, exchange, load } from "./plugin-harness.ts";

const TEXTS = ["hits", "key", "value", "other"];
const text = (index: number) => `(call $text ${place(index, TEXTS[index]!)})`;
const ENTRY = `${text(0)} ${text(1)}`;

/** The lines that the body logs, and the failures. */
function run(body: string, namespaces = ["hits"]): string[] {
  const module = extismModule(`(func (export "on_request") (result i32) (local $n i64) ${body} (i32.const 0))`, TEXTS);
  const loaded = load(module, { configs: [{}], namespaces });
  const outcome = call(loaded, "request_head", exchange("GET / HTTP/1.1\nHost: a"));
  const failed = loaded.reports.some((line) => line.startsWith("error: plugin test failed"));
  assert.equal(outcome, failed ? OUTCOME.failed : OUTCOME.continue);
  loaded.dispose();
  return loaded.reports.map((line) => line.replace(/^error: plugin test failed in request_head: /, ""));
}

test("an entry is set, read, deleted", () => {
  const read = `(call $log_info (call $kv_get ${ENTRY}))`;
  const set = `(call $kv_set ${ENTRY} ${text(2)} (i64.const 0))`;
  assert.deepEqual(run(`${read} ${set} ${read} (call $kv_delete ${ENTRY}) (call $kv_delete ${ENTRY}) ${read}`), [
    "info: ",
    "info: value",
    "info: ",
  ]);
});

test("a counter is incremented, and expires after its time to live", () => {
  const add = (by: number) => `(local.set $n (call $kv_increment ${ENTRY} (i64.const ${by}) (i64.const 60000)))`;
  const isFive = `(if (i64.eq (local.get $n) (i64.const 5)) (then (call $log_info ${text(3)})))`;
  assert.deepEqual(run(`${add(7)} ${add(-2)} ${isFive}`), ["info: other"]);
});

test("a rejected call fails the hook with its cause", () => {
  const get = `(drop (call $kv_get ${ENTRY}))`;
  assert.deepEqual(run(get, ["others"]), ["get: the namespace is not allowed (allow.kv)"]);
  assert.deepEqual(run(`(drop (call $kv_get (i64.const 3) ${text(1)}))`), ["get: 3 is not a block of memory"]);
  const large = "(call $alloc (i64.const 65537))";
  assert.deepEqual(run(`(call $kv_set ${ENTRY} ${large} (i64.const 0))`), [
    "set: a key has at most 256 bytes, a value 65536",
  ]);
  const negative = `(call $kv_set ${ENTRY} ${text(2)} (i64.const -1))`;
  assert.match(run(negative)[0]!, /^set: an empty key, a number beyond 2\^53/);
  const text_ = `(call $kv_set ${ENTRY} ${text(2)} (i64.const 0)) (drop (call $kv_increment ${ENTRY} (i64.const 1) (i64.const 0)))`;
  assert.match(run(text_)[0]!, /^increment: .* an entry that is not a number$/);
});
