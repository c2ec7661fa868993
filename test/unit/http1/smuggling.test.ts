/** Every known form of request smuggling is rejected with the status in the table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { smuggling } from "../../fixtures/smuggling.ts";
import { readStream } from "./reader.ts";

test("the table names each case once", () => {
  const names = smuggling.map((shape) => `${shape.direction}: ${shape.name}`);
  assert.equal(new Set(names).size, names.length);
  assert.ok(names.length >= 80);
});

for (const { name, direction, raw, expect, part } of smuggling)
  test(`${direction}: ${name} → ${expect}`, () => {
    const bytes = Buffer.from(raw, "latin1");
    const whole = readStream(direction, bytes);
    assert.equal(whole.refused, expect === 200 ? 0 : expect, whole.problem);
    assert.equal(whole.problem === "", expect === 200);
    if (expect === 200) {
      assert.equal(whole.messages.length, 1);
      assert.ok(whole.messages[0]!.complete);
    } else assert.equal(whole.messages.length, part === "body" ? 1 : 0);
    const singly = Array.from({ length: Math.min(bytes.length, 2048) }, (_, at) => at);
    assert.deepEqual(readStream(direction, bytes, singly), whole);
  });
