/** The SDK's UTF-8, base64, hexadecimal digits and dates, against those of Node. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { loadSdkGuest } from "./sdk-guest.ts";

const guest = await loadSdkGuest("sdk-encodings.as.ts");
const bytes = fc.uint8Array({ maxLength: 70 });
const runs = { numRuns: 500 };

describe("UTF-8", () => {
  test("is encoded from any text; a lone surrogate is replaced", () => {
    const text = fc.array(fc.nat(0xffff), { maxLength: 30 }).map((units) => String.fromCharCode(...units));
    fc.assert(
      fc.property(fc.oneof(text, fc.string({ unit: "binary" })), (given) =>
        assert.deepEqual(guest.bytes("utf8", given), Buffer.from(given)),
      ),
      runs,
    );
  });

  test("is decoded as by the WHATWG decoder, invalid input included", () => {
    const near = fc.array(
      fc.constantFrom(0x20, 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0x9f, 0xf0, 0x90, 0xf4, 0x8f, 0xf5),
    );
    const oracle = new TextDecoder("utf-8", { ignoreBOM: true });
    fc.assert(
      fc.property(
        fc.oneof(
          bytes,
          near.map((codes) => Uint8Array.from(codes)),
        ),
        (given) => assert.equal(guest.text("utf8Text", given), oracle.decode(given)),
      ),
      { numRuns: 2000 },
    );
  });

  test("head bytes map one to one", () => {
    fc.assert(fc.property(bytes, (given) => assert.deepEqual(guest.bytes("oneByOne", given), Buffer.from(given))));
  });
});

for (const [name, encode, decode, encoding] of [
  ["base64", "toBase64", "fromBase64", "base64"],
  ["base64url", "toBase64Url", "fromBase64Url", "base64url"],
  ["hexadecimal", "toHex", "fromHex", "hex"],
] as const) {
  test(`${name}: decodes its own output, and returns null for text that Node would write differently`, () => {
    fc.assert(
      fc.property(bytes, (given) => {
        const text = Buffer.from(given).toString(encoding);
        assert.equal(guest.text(encode, given), text);
        assert.deepEqual(guest.bytes(decode, text), Buffer.from(given));
      }),
      runs,
    );
    const digits = fc.string({ unit: fc.constantFrom(..."AQgwZz09afF-_+/= \n\u0141"), maxLength: 9 });
    fc.assert(
      fc.property(digits, (text) => {
        const read = Buffer.from(text, encoding);
        const sound = read.toString(encoding) === (encoding === "hex" ? text.toLowerCase() : text);
        assert.deepEqual(guest.bytes(decode, text), sound ? read : null);
      }),
      { numRuns: 3000 },
    );
  });
}

describe("dates", () => {
  const time = fc.integer({ min: -62_167_219_200_000, max: 253_402_300_799_999 });

  test("are written and read as JavaScript's Date does", () => {
    fc.assert(
      fc.property(time, (given) => {
        const date = new Date(given);
        assert.equal(guest.text("toHttpDate", given), date.toUTCString());
        assert.equal(guest.text("toRfc3339", given), date.toISOString());
        assert.equal(guest.number("fromHttpDate", date.toUTCString()), Math.floor(given / 1000) * 1000);
        assert.equal(guest.number("fromRfc3339", date.toISOString()), given);
      }),
      { numRuns: 2000 },
    );
  });

  test("with offsets, fractions and a leap second", () => {
    const cases = ["1996-12-19T16:39:57-08:00", "1985-04-12t23:20:50.52z", "1937-01-01T12:00:27.8719+00:20"];
    for (const text of cases)
      assert.equal(guest.number("fromRfc3339", text), Math.floor(Date.parse(text.toUpperCase())), text);
    assert.equal(guest.number("fromRfc3339", "1990-12-31T23:59:60Z"), Date.parse("1991-01-01T00:00:00Z"));
    assert.equal(guest.number("fromHttpDate", "Sun, 06 Nov 1994 08:49:37 GMT"), 784_111_777_000);
  });

  test("that are invalid are NaN", () => {
    const texts = [
      ["fromHttpDate", "Sunday, 06-Nov-94 08:49:37 GMT"],
      ["fromHttpDate", "Sun Nov  6 08:49:37 1994"],
      ["fromHttpDate", "Sun, 06 Nov 1994 08:49:37 UTC"],
      ["fromHttpDate", "Sun, 31 Feb 1994 08:49:37 GMT"],
      ["fromHttpDate", "Sun, 06 ovD 1994 08:49:37 GMT"],
      ["fromHttpDate", "Sun, 06 Nov 1994 24:49:37 GMT"],
      ["fromHttpDate", ""],
      ["fromRfc3339", "1994-11-06"],
      ["fromRfc3339", "1994-11-06T08:49:37"],
      ["fromRfc3339", "1994-11-06T08:49:37.Z"],
      ["fromRfc3339", "1994-13-06T08:49:37Z"],
      ["fromRfc3339", "1993-02-29T08:49:37Z"],
      ["fromRfc3339", "1994-11-06T08:49:37Zx"],
      ["fromRfc3339", "1994-11-06 08:49:37Z"],
      ["fromRfc3339", "1994-11-06T08:49:37+1:00"],
    ] as const;
    for (const [name, text] of texts) assert.ok(Number.isNaN(guest.number(name, text)), text);
    assert.throws(() => guest.text("toHttpDate", Number.NaN));
    assert.throws(() => guest.text("toRfc3339", 1e15));
  });
});
