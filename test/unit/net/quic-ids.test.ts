import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasLongHeader, readLongHeader, readShortHeader } from "../../../src/net/quic-ids.ts";

const packet = (text: string): Buffer => Buffer.from(text, "latin1");

test("the IDs of a long header are read", () => {
  const initial = packet("\xc3\0\0\0\x01\x08destinat\x03srcrest");
  assert.deepEqual(readLongHeader(initial), { destination: "destinat", source: "src" });
  assert.deepEqual(readLongHeader(packet("\x80\0\0\0\0\0\0")), { destination: "", source: "" });
});

test("a short header has the ID after its first byte", () => {
  assert.equal(hasLongHeader(packet("\x40abcdef")), false);
  assert.equal(readShortHeader(packet("\x40abcdef"), 4), "abcd");
  assert.equal(readShortHeader(packet("\x40abc"), 4), null);
});

test("an incomplete header, or an ID over 20 bytes, is none", () => {
  const whole = packet("\xc0\0\0\0\x01\x04abcd\x04efgh");
  for (let end = 0; end < whole.length; end++) assert.equal(readLongHeader(whole.subarray(0, end)), null);
  assert.equal(readLongHeader(packet(`\xc0\0\0\0\x01\x15${"x".repeat(21)}\0`)), null);
  assert.equal(readLongHeader(packet("\x40\0\0\0\x01\0\0")), null);
});

test("any bytes are read without an exception, and never beyond their end", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(20), (bytes, length) => {
      const found = readLongHeader(Buffer.from(bytes));
      if (found !== null) assert.ok(7 + found.destination.length + found.source.length <= bytes.length);
      readShortHeader(Buffer.from(bytes), length);
    }),
  );
});
