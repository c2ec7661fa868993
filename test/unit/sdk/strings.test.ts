/** The SDK's own string functions, called by name through the AssemblyScript loader. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadSdkGuest } from "./sdk-guest.ts";

const guest = await loadSdkGuest("sdk-strings.as.ts");
const latin1 = fc
  .array(fc.integer({ min: 0, max: 255 }), { maxLength: 70 })
  .map((codes) => String.fromCharCode(...codes));

test("header bytes and strings map one to one, at every length around a vector's", () => {
  const throughBytes = (text: string) => guest.text("throughBytes", text);
  fc.assert(fc.property(latin1, (text) => assert.equal(throughBytes(text), text)));
  assert.throws(() => throughBytes("naïve ☃"), /abort|U\+00FF/);
  assert.throws(() => throughBytes("12345678☃"), /abort|U\+00FF/);
});

test("texts go through UTF-8 unchanged", () => {
  const throughUtf8 = (text: string) => guest.text("throughUtf8", text);
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => assert.equal(throughUtf8(text), text)));
});

test("bytes compare with strings as strings do", () => {
  const bytesEqual = (bytes: string, text: string) => guest.number("bytesEqual", bytes, text) !== 0;
  const bytesStartWith = (bytes: string, text: string) => guest.number("bytesStartWith", bytes, text) !== 0;
  fc.assert(
    fc.property(latin1, latin1, fc.nat(70), (a, b, cut) => {
      assert.equal(bytesEqual(a, b), a === b);
      assert.equal(bytesEqual(a, a), true);
      assert.equal(bytesStartWith(a, a.slice(0, cut)), true);
      assert.equal(bytesStartWith(a, b), a.startsWith(b));
    }),
  );
});
