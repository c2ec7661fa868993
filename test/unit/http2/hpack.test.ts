import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nameId } from "../../../src/http/fields.ts";
import {
  FIELD_WORDS,
  Head,
  MAX_AREA,
  NAME_END,
  NAME_ID,
  NAME_START,
  VALUE_END,
  VALUE_START,
} from "../../../src/http/head.ts";
import { DECODED, HpackDecoder, type ListLimits } from "../../../src/http2/hpack-decoder.ts";
import { BEGIN_BOUND, FIELD_BOUND, HpackEncoder } from "../../../src/http2/hpack-encoder.ts";

type Field = readonly [name: string, value: string];

const LIMITS: ListLimits = { head: 65_536, headers: 200 };

function fieldsOf(head: Head): Field[] {
  return Array.from({ length: head.count }, (_, index) => {
    const at = index * FIELD_WORDS;
    const word = (offset: number) => head.fields[at + offset]!;
    assert.equal(word(NAME_ID), nameId(head.bytes, word(NAME_START), word(NAME_END)));
    assert.equal(head.text(word(NAME_END), word(VALUE_START)), ": ");
    assert.equal(head.text(word(VALUE_END), word(VALUE_END) + 2), "\r\n");
    return [head.text(word(NAME_START), word(NAME_END)), head.text(word(VALUE_START), word(VALUE_END))];
  });
}

function decode(
  decoder: HpackDecoder,
  block: Uint8Array,
  limits = LIMITS,
): { result: number; fields: Field[]; head: Head } {
  const head = new Head();
  // Within other bytes, which must not be read.
  const padded = Buffer.concat([Buffer.from([0x82]), block, Buffer.from([0x82, 0x82])]);
  const result = decoder.decode(padded, 1, 1 + block.length, head, limits);
  return { result, fields: fieldsOf(head), head };
}

function encode(encoder: HpackEncoder, fields: readonly Field[]): Buffer {
  const texts = fields.flat();
  const target = Buffer.alloc(
    BEGIN_BOUND + fields.length * FIELD_BOUND + texts.reduce((sum, text) => sum + text.length, 0),
  );
  encoder.begin(target, 0);
  for (const [name, value] of fields) {
    const bytes = Buffer.from(name + value, "latin1");
    encoder.field(bytes, 0, name.length, name.length, bytes.length);
  }
  return target.subarray(0, encoder.end);
}

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

test("the examples of RFC 7541 appendix C: requests, with and without Huffman code", () => {
  const first = [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ];
  const third = [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
  ];
  const expected = [first, [...first, ["cache-control", "no-cache"]], [...third, ["custom-key", "custom-value"]]];
  for (const blocks of [
    [
      "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      "8286 84be 5808 6e6f 2d63 6163 6865",
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ],
    [
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
      "8286 84be 5886 a8eb 1064 9cbf",
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ],
  ]) {
    const decoder = new HpackDecoder(4096);
    assert.deepEqual(
      blocks.map((block) => decode(decoder, hex(block)).fields),
      expected,
    );
  }
});

test("the examples of RFC 7541 appendix C: responses with a table of 256 bytes", () => {
  const decoder = new HpackDecoder(256);
  const common = (date: string) => [
    ["cache-control", "private"],
    ["date", date],
    ["location", "https://www.example.com"],
  ];
  const date = "Mon, 21 Oct 2013 20:13:21 GMT";
  const blocks = [
    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    "4883 640e ffc1 c0bf",
    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
  ];
  assert.deepEqual(
    blocks.map((block) => decode(decoder, hex(block)).fields),
    [
      [[":status", "302"], ...common(date)],
      [[":status", "307"], ...common(date)],
      [
        [":status", "200"],
        ...common("Mon, 21 Oct 2013 20:13:22 GMT"),
        ["content-encoding", "gzip"],
        ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"],
      ],
    ],
  );
});

const malformed: [what: string, block: string][] = [
  ["index 0", "80"],
  ["an index beyond the tables", "be"],
  ["a name beyond the tables", "7e00 00"],
  ["an integer that does not end", "ff ffff ffff ff"],
  ["an integer over 2^28", "ff 8080 8080 01"],
  ["a block that ends in an integer", "ff80"],
  ["a block that ends before a value", "40 0161"],
  ["a string longer than the block", "4001 6103 6262"],
  ["invalid Huffman code", "4001 6181 00"],
  ["a size update behind a field", "82 20"],
  ["a size update over the setting", "3fe2 1f"],
];
for (const [what, block] of malformed)
  test(`malformed: ${what}`, () => {
    assert.equal(decode(new HpackDecoder(4096), hex(block)).result, DECODED.malformed);
  });

test("fields over a limit are dropped, but still added to the table", () => {
  const fields: Field[] = Array.from({ length: 30 }, (_, i) => ["x-name", `value-${i % 10}`]);
  for (const limits of [
    { head: 65_536, headers: 12 },
    { head: 12 * (6 + 7 + 32), headers: 200 },
  ]) {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder(4096);
    const over = decode(decoder, encode(encoder, fields), limits);
    assert.deepEqual([over.result, over.fields], [DECODED.tooLarge, fields.slice(0, 12)]);
    const next = decode(decoder, encode(encoder, fields.slice(0, 10)));
    assert.deepEqual([next.result, next.fields], [DECODED.complete, fields.slice(0, 10)]);
  }
});

test("a block with many references to a large entry makes a head of limited size", () => {
  const decoder = new HpackDecoder(4096);
  const value = Buffer.alloc(4000, "b");
  const add = Buffer.concat([hex("4001 617f"), Buffer.from([((4000 - 127) & 0x7f) | 0x80, (4000 - 127) >> 7]), value]);
  assert.equal(decode(decoder, add).result, DECODED.complete);
  const { result, head } = decode(decoder, Buffer.alloc(60_000, 0xbe), { head: 32_768, headers: 1_000_000 });
  assert.equal(result, DECODED.tooLarge);
  assert.ok(head.end <= 32_768 && head.bytes.length <= 2 * 65_536);
});

test("repeated fields take one byte from the third time on, and secrets are never indexed", () => {
  const encoder = new HpackEncoder();
  const fields: Field[] = [
    ["server", "app"],
    ["x-own", "some value"],
  ];
  const lengths = [0, 1, 2, 3].map(() => encode(encoder, fields).length);
  assert.ok(lengths[0]! > 2 && lengths[1]! > 2);
  assert.deepEqual(lengths.slice(2), [2, 2]);
  const secret: Field[] = [
    ["authorization", "Bearer x"],
    ["cookie", "a=b"],
    ["set-cookie", "a=b"],
  ];
  const all = [0, 1, 2, 3].map(() => encode(encoder, secret));
  for (const block of all) assert.deepEqual(block, all[0]);
  assert.equal(all[0]![0], 0x1f, "never indexed");
});

const name = fc.oneof(
  fc.constantFrom(":path", ":status", "content-type", "x-own", "x-forwarded-for", "cookie", "date", "via", "x"),
  fc.stringMatching(/^[a-z0-9-]{1,20}$/),
);
const value = fc.oneof(
  fc.constantFrom("", "a", "text/html", "a long value that is repeated, a long value"),
  fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 60 }),
  fc.integer({ min: 1, max: 5000 }).map((length) => "v".repeat(length)),
);
const block = fc.array(fc.tuple(name, value), { maxLength: 12 });
const step = fc.oneof(block, fc.integer({ min: 0, max: 6000 }));

test("the decoder reads what the encoder writes, over many blocks and changes of the table size", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const encoder = new HpackEncoder();
      const decoder = new HpackDecoder(6000);
      encoder.resize(6000);
      for (const each of steps) {
        if (typeof each === "number") encoder.resize(each);
        else {
          const { result, fields } = decode(decoder, encode(encoder, each), { head: MAX_AREA / 2, headers: 100 });
          assert.deepEqual([result, fields], [DECODED.complete, each]);
        }
      }
    }),
  );
});

/** The fields that limits.headers counts: cookies as one, no pseudo-header field, and none without a name. */
function countOf(fields: readonly Field[]): number {
  const cookies = fields.filter(([name]) => name === "cookie").length;
  return fields.filter(([name]) => name !== "" && !name.startsWith(":")).length - Math.max(0, cookies - 1);
}

test("a divided cookie is one field of the limit, and pseudo-header fields are none", () => {
  const pseudo: Field[] = [":method", ":scheme", ":path", ":authority"].map((name) => [name, "/"]);
  const crumbs = Array.from({ length: 50 }, (_, i): Field => ["cookie", `c${i}=1`]);
  const others = Array.from({ length: 11 }, (_, i): Field => [`x-${i}`, "1"]);
  const limits = { head: 65_536, headers: 12 };
  const fields = [...pseudo, ...others.slice(0, 5), ...crumbs, ...others.slice(5)];
  const { result, fields: got } = decode(new HpackDecoder(4096), encode(new HpackEncoder(), fields), limits);
  assert.deepEqual([result, got], [DECODED.complete, fields]);
  const over = decode(new HpackDecoder(4096), encode(new HpackEncoder(), [...fields, ["x", "1"]]), limits);
  assert.deepEqual([over.result, over.fields], [DECODED.tooLarge, fields]);
  const large = decode(new HpackDecoder(4096), encode(new HpackEncoder(), fields), { head: 600, headers: 12 });
  assert.equal(large.result, DECODED.tooLarge);
});

test("any bytes are decoded or rejected as malformed, and a head does not exceed its limit", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 8 }), (blocks) => {
      const decoder = new HpackDecoder(300);
      for (const bytes of blocks) {
        const { result, fields } = decode(decoder, bytes, { head: 500, headers: 5 });
        assert.ok(countOf(fields) <= 5 && fields.reduce((sum, [n, v]) => sum + n.length + v.length + 32, 0) <= 500);
        if (result === DECODED.malformed) return;
      }
    }),
    { numRuns: 3000 },
  );
});
