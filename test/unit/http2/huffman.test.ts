import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeHuffman, encodeHuffman, huffmanLength, MAX_EXPANSION } from "../../../src/http2/huffman.ts";

function encode(bytes: Uint8Array): Buffer {
  const target = Buffer.alloc(huffmanLength(bytes, 0, bytes.length));
  assert.equal(encodeHuffman(bytes, 0, bytes.length, target, 0), target.length);
  return target;
}

function decode(bytes: Uint8Array): Buffer | null {
  const target = Buffer.alloc(Math.floor(bytes.length * MAX_EXPANSION));
  const end = decodeHuffman(bytes, 0, bytes.length, target, 0);
  return end < 0 ? null : target.subarray(0, end);
}

test("the examples of RFC 7541 appendix C", () => {
  for (const [text, code] of [
    ["www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"],
    ["no-cache", "a8eb10649cbf"],
    ["custom-value", "25a849e95bb8e8b4bf"],
    ["Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"],
    [
      "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
      "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ],
  ] as const) {
    assert.equal(encode(Buffer.from(text)).toString("hex"), code);
    assert.equal(decode(Buffer.from(code, "hex"))?.toString(), text);
  }
});

test("all octets are decoded as they were encoded", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.deepEqual(decode(encode(bytes)), Buffer.from(bytes));
    }),
  );
});

test("valid bytes are equal to the encoding of their decoded text", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const decoded = decode(bytes);
      if (decoded !== null) assert.deepEqual(encode(decoded), Buffer.from(bytes));
    }),
    { numRuns: 2000 },
  );
});

test("padding of a whole octet or of zeros, and EOS, are invalid", () => {
  for (const code of ["ff", "1fff", "18", "fffffffc", "ffffffff", "fffffffffe"])
    assert.equal(decode(Buffer.from(code, "hex")), null, code);
});
