/** `sluice/test` runs Extism plugins as any other, by the names of hooks that a configuration gives. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { plugin } from "../../src/testing/index.ts";
import { extismModule, place } from "../support/extism.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-extism-"));
after(() => rmSync(directory, { recursive: true }));

const OUT = '{"headers":{"set":{"x-secret":"mine"},"remove":["x-old"]}}';

/** Fails where its input has the text `x-secret`, else puts OUT out. */
const LOOKS = extismModule(
  `(func (export "look") (result i32)
     (local $at i64)
     (loop $next
       (if (i64.eq (call $input_load_u64 (local.get $at)) (i64.const 0x7465726365732d78)) (then unreachable))
       (local.set $at (i64.add (local.get $at) (i64.const 1)))
       (br_if $next (i64.lt_u (i64.add (local.get $at) (i64.const 8)) (call $input_length))))
     (call $put ${place(0, OUT)})
     (i32.const 0))`,
  [OUT],
);

test("an Extism plugin in a test: its edits, and headers that are hidden from it", async () => {
  const file = join(directory, "looks.wasm");
  writeFileSync(file, LOOKS);
  const hooks = { on_request: "look" };
  const request = { path: "/a", headers: { host: "a", "x-old": "1" } };
  const open = await plugin(file, { hooks });
  const { headers } = await open.request(request);
  assert.deepEqual(headers, { host: "a", "x-secret": "mine" });
  // What is hidden is neither seen nor set.
  const hidden = await plugin(file, { hooks, allow: { headers: { hide: ["x-secret"] } } });
  const seen = { ...request, headers: { ...request.headers, "x-secret": "a" } };
  await assert.rejects(async () => hidden.request(seen), {
    message: /headers\.set: "x-secret" is hidden from the plugin \(allow\.headers\.hide\)/,
  });
  await assert.rejects(async () => open.request(seen), /unreachable/);
});
