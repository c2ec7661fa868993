/** The JSON that hooks of Extism plugins read, for any bytes of a message, and the parts of a message that a guest cannot read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { extismModule } from "../support/extism.ts";
import { call, exchange, type Loaded, load } from "./plugin-harness.ts";

/** Logs its input; then allocates a block of 4 KiB, which must be zeroed. */
const READS = extismModule(
  `(func $read (result i32)
     (local $at i64) (local $i i64)
     (local.set $at (call $alloc (call $input_length)))
     (loop $next
       (call $store_u8 (i64.add (local.get $at) (local.get $i)) (call $input_load_u8 (local.get $i)))
       (local.set $i (i64.add (local.get $i) (i64.const 1)))
       (br_if $next (i64.lt_u (local.get $i) (call $input_length))))
     (call $log_info (local.get $at))
     (i32.const 0))
   (func $zeroed
     (local $at i64) (local $i i64)
     (local.set $at (call $alloc (i64.const 4096)))
     (loop $next
       (if (i64.ne (call $load_u64 (i64.add (local.get $at) (local.get $i))) (i64.const 0)) (then unreachable))
       (local.set $i (i64.add (local.get $i) (i64.const 8)))
       (br_if $next (i64.lt_u (local.get $i) (i64.const 4096)))))
   (func (export "on_request") (result i32) (call $zeroed) (call $read))
   (func (export "on_response") (result i32) (call $zeroed) (call $read))`,
);

type Input = { path: string; query?: string; headers: [string, string][]; request: Input };

function inputOf({ reports }: Loaded): Input {
  return JSON.parse(reports.find((line) => line.startsWith("info: "))!.slice(6));
}

const TOKEN = [..."!#$%&'*+.^_`|~-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"];
/** Inputs fit into a log line. */
const name = fc.string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 40 }).map((text) => `X-${text}`);
/** The bytes of a field value: HTAB, SP, visible ASCII, obs-text. */
const byte = fc.oneof(
  { weight: 1, arbitrary: fc.constantFrom(9, 32, 34, 92, 127, 128, 255) },
  { weight: 3, arbitrary: fc.integer({ min: 33, max: 255 }).filter((code) => code !== 127) },
);
const value = fc.array(byte, { maxLength: 50 }).map((codes) => {
  const text = String.fromCharCode(...codes.filter((code) => code !== 127));
  return text.replaceAll(/^[\t ]+|[\t ]+$/g, "");
});
const fields = fc.array(fc.tuple(name, value), { maxLength: 4 });
const linesOf = (list: [string, string][]) => list.map(([key, text]) => `${key}: ${text}\n`).join("");
const lowered = (list: [string, string][]) => list.map(([key, text]) => [key.toLowerCase(), text]);

test("the input has every byte of a head, in every position", () => {
  fc.assert(
    fc.property(fields, fields, fc.boolean(), (sent, received, hides) => {
      const loaded = load(READS);
      const hop = hides ? `TE: ${"secret".repeat(9)}` : "";
      const request = `GET /a HTTP/1.1\n${linesOf(sent)}Host: a\n${hop}`;
      const x = exchange(request, `HTTP/1.1 200 OK\n${linesOf(received)}Server: s\n${hop}`);
      assert.equal(call(loaded, "response_head", x), OUTCOME.continue, loaded.reports.join());
      const input = inputOf(loaded);
      assert.deepEqual(input.headers, [...lowered(received), ["server", "s"]]);
      assert.deepEqual(input.request.headers, [...lowered(sent), ["host", "a"]]);
      loaded.reports.length = 0;
      assert.equal(call(loaded, "request_head", x), OUTCOME.continue, loaded.reports.join());
      assert.deepEqual(inputOf(loaded).headers, [...lowered(sent), ["host", "a"]]);
      loaded.dispose();
    }),
  );
});

test("blocks do not contain headers that are hidden from the plugin", () => {
  const loaded = load(READS);
  for (const length of [1, 15, 16, 17, 200, 3000]) {
    loaded.reports.length = 0;
    const x = exchange(`GET / HTTP/1.1\nHost: a\nA: b\nTE: ${"s".repeat(length)}`);
    assert.equal(call(loaded, "request_head", x), OUTCOME.continue, loaded.reports.join());
    const headers = [
      ["host", "a"],
      ["a", "b"],
    ];
    assert.deepEqual(inputOf(loaded).headers, headers);
  }
  loaded.dispose();
});
