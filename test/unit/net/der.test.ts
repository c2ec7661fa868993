import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DerReader, der, oid, TAG } from "../../../src/net/der.ts";
import { readCertificate } from "../../../src/net/ocsp/certificate.ts";

const bytes = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex");
const read = (hex: string) => new DerReader(bytes(hex)).next().content.toString("hex");

test("what is written is read", () => {
  for (const size of [0, 1, 127, 128, 255, 256, 65_535, 65_536]) {
    const content = Buffer.alloc(size, "x");
    const reader = new DerReader(der(TAG.octetString, content));
    assert.deepEqual(reader.read(TAG.octetString), content);
    reader.end();
  }
});

test("lengths that are not DER, and elements beyond the end, are rejected", () => {
  assert.equal(read("04 01 aa"), "aa");
  for (const hex of [
    "",
    "04",
    "04 02 aa",
    "04 80 aa 00 00",
    "04 81 01 aa",
    "04 82 00 80",
    "04 85 00 00 00 00 01",
    "1f 01 00",
  ])
    assert.throws(() => read(hex), /malformed DER/, hex);
});

test("object identifiers and times are read", () => {
  assert.equal(oid("1.2.840.113549.1.1.11"), "2a864886f70d01010b");
  const time = (text: string) => new DerReader(der(TAG.generalizedTime, Buffer.from(text))).readTime();
  assert.equal(time("20261130115500Z"), Date.UTC(2026, 10, 30, 11, 55));
  for (const text of ["20261130115500", "20261130115500.5Z", "20261330115500Z", "2611301155Z", ""])
    assert.throws(() => time(text), /malformed DER/, text);
});

test("any bytes are read, or rejected as malformed", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
      try {
        readCertificate(der(TAG.sequence, der(TAG.sequence, Buffer.from(input))));
      } catch (error) {
        assert.equal((error as Error).message, "malformed DER");
      }
    }),
  );
});
