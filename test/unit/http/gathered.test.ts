import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Gathered } from "../../../src/http/gathered.ts";

test("chunks of any size are joined in order", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 20 }), (pieces) => {
      const gathered = new Gathered();
      for (const piece of pieces) gathered.append(Buffer.from(piece));
      const whole = Buffer.concat(pieces);
      assert.equal(gathered.length, whole.length);
      assert.ok(gathered.bytes.equals(whole));
    }),
  );
});
