import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FRAMING } from "../../../src/http/head.ts";
import { BodyReader } from "../../../src/http1/framing.ts";
import { listFields } from "./reader.ts";

type Result = { body: string; done: boolean; problem: string; consumed: number; trailers: [string, string][] };

/** Reads `raw` in chunks of the given sizes (the last one repeats), each at its own offset in a buffer. */
function readBody(reader: BodyReader, raw: string, sizes: number[]): Result {
  let body = "";
  let consumed = 0;
  for (let turn = 0; consumed < raw.length && !reader.done && reader.problem === ""; turn++) {
    const size = Math.max(1, sizes[Math.min(turn, sizes.length - 1)]!);
    const part = raw.slice(consumed, consumed + size);
    const buf = Buffer.from(`<<<${part}\r\n0\r\n\r\n`, "latin1");
    const past = reader.read(buf, 3, 3 + part.length);
    assert.ok(past >= reader.dataEnd && past <= 3 + part.length && reader.dataStart >= 3);
    // Nothing outside the area is touched.
    assert.equal(buf.toString("latin1", 0, 3), "<<<");
    assert.equal(buf.toString("latin1", 3 + part.length), "\r\n0\r\n\r\n");
    body += buf.toString("latin1", reader.dataStart, reader.dataEnd);
    consumed += past - 3;
    if (!reader.done && reader.problem === "") assert.equal(past, 3 + part.length);
  }
  assert.equal(reader.received, body.length);
  const trailers = reader.trailers === null ? [] : listFields(reader.trailers);
  return { body, done: reader.done, problem: reader.problem, consumed, trailers };
}

function begin(framing: number, length = 0, isResponse = false): BodyReader {
  const reader = new BodyReader();
  reader.begin(framing, length, isResponse);
  return reader;
}

test("a message without a body is complete at once", () => {
  for (const reader of [begin(FRAMING.none), begin(FRAMING.length, 0), new BodyReader()]) {
    assert.ok(reader.done);
    const buf = Buffer.from("GET / HTTP/1.1");
    assert.equal(reader.read(buf, 4, buf.length), 4);
    assert.equal(reader.dataEnd - reader.dataStart, 0);
    assert.ok(reader.finish());
  }
});

test("a body of known length ends exactly there", () => {
  const reader = begin(FRAMING.length, 5);
  assert.deepEqual(readBody(reader, "helloGET", [2, 100]), {
    body: "hello",
    done: true,
    problem: "",
    consumed: 5,
    trailers: [],
  });
  const short = begin(FRAMING.length, 5);
  readBody(short, "hell", [100]);
  assert.equal(short.finish(), false);
});

test("a body that ends with the connection is complete when that ends", () => {
  const reader = begin(FRAMING.close);
  assert.equal(readBody(reader, "hello", [2]).body, "hello");
  assert.equal(reader.done, false);
  assert.ok(reader.finish());
  assert.ok(reader.done);
});

test("a chunked body is not complete before its last line", () => {
  const raw = "5\r\nhello\r\n0\r\nx: y\r\n\r\n";
  for (let length = 1; length < raw.length; length++) {
    const reader = begin(FRAMING.chunked);
    const { done, problem } = readBody(reader, raw.slice(0, length), [raw.length]);
    assert.deepEqual([done, problem, reader.finish()], [false, "", false], raw.slice(0, length));
  }
});

test("chunks of one read are joined into one range", () => {
  const reader = begin(FRAMING.chunked);
  const buf = Buffer.from("__3\r\nabc\r\n1;x=y\r\nd\r\n2\r\nef\r\n0\r\n\r\nGET /", "latin1");
  const past = reader.read(buf, 2, buf.length);
  assert.equal(buf.toString("latin1", reader.dataStart, reader.dataEnd), "abcdef");
  assert.equal(buf.toString("latin1", past), "GET /");
});

test("a failed reader stays failed until it is reset", () => {
  const reader = begin(FRAMING.chunked);
  assert.notEqual(readBody(reader, "x", [1]).problem, "");
  const buf = Buffer.from("5\r\nhello\r\n");
  assert.equal(reader.read(buf, 0, buf.length), 0);
  assert.equal(reader.dataEnd, 0);
  assert.equal(reader.finish(), false);
  reader.begin(FRAMING.chunked, 0, false);
  assert.deepEqual(readBody(reader, "1\r\na\r\n0\r\n\r\n", [100]).body, "a");
});

test("blanks around chunk extensions are accepted, padding only in responses", () => {
  const chunked = (line: string) => `${line}\r\nhello\r\n0\r\n\r\n`;
  const read = (line: string, isResponse: boolean) => {
    const raw = chunked(line);
    return [1, 3, 1000].map((size) => {
      const { body, done, problem } = readBody(
        begin(FRAMING.chunked, 0, isResponse),
        raw,
        Array(raw.length).fill(size),
      );
      assert.ok(!done || body === "hello", line);
      assert.equal(done, problem === "", line);
      return done;
    });
  };
  const both = ["5 ;a", "5\t ;a", "5;\t a", "5; a = b", '5 ; a= "b c" ;d', "5;a ;b=c\t;d", '5;a="b" ; c'];
  const inResponses = ["5 ", "5 \t ", "0005  ", "5;a ", "5;a=b\t", '5;a="b" '];
  const never = [
    " 5",
    "5 5",
    "5 a",
    "5;a b",
    "5;a=b c",
    '5;a="b" c',
    "5; ",
    "5 ;",
    "5;a=",
    "5;a= ",
    "5;;a",
    "5\x0b",
    "5;a =",
    ";a",
  ];
  for (const line of both)
    assert.deepEqual(
      [read(line, false), read(line, true)],
      [
        [true, true, true],
        [true, true, true],
      ],
      line,
    );
  for (const line of inResponses)
    assert.deepEqual(
      [read(line, false), read(line, true)],
      [
        [false, false, false],
        [true, true, true],
      ],
      line,
    );
  for (const line of never)
    assert.deepEqual(
      [read(line, false), read(line, true)],
      [
        [false, false, false],
        [false, false, false],
      ],
      line,
    );
  const padded = `5${" ".repeat(17_000)}`;
  assert.match(readBody(begin(FRAMING.chunked, 0, true), chunked(padded), [100_000]).problem, /over 16384 bytes/);
});

test("white space before the colon of a trailer is removed only from responses", () => {
  const raw = "0\r\nx-sum : 1\r\n\r\n";
  assert.deepEqual(readBody(begin(FRAMING.chunked, 0, true), raw, [1000]).trailers, [["x-sum", "1"]]);
  assert.match(readBody(begin(FRAMING.chunked), raw, [1000]).problem, /white space before the colon/);
  const framing = "0\r\nContent-Length : 1\r\n\r\n";
  assert.match(readBody(begin(FRAMING.chunked, 0, true), framing, [1000]).problem, /white space before the colon/);
});

test("a framing trailer makes a request invalid, and is ignored in a response", () => {
  for (const line of ["Content-Length: 9", "content-length: x", "Transfer-Encoding: gzip"]) {
    const raw = `5\r\nhello\r\n0\r\nX-Sum: 1\r\n${line}\r\n\r\n`;
    assert.match(readBody(begin(FRAMING.chunked), raw, [1000]).problem, /frames the message/, line);
    for (const size of [1, 1000]) {
      const { body, done } = readBody(begin(FRAMING.chunked, 0, true), raw, Array(raw.length).fill(size));
      assert.deepEqual([body, done], ["hello", true], line);
    }
  }
});

test("trailers are bounded in number and size", () => {
  const read = (raw: string): string => readBody(begin(FRAMING.chunked), raw, [1000]).problem;
  assert.equal(read(`0\r\n${"a: b\r\n".repeat(100)}\r\n`), "");
  assert.match(read(`0\r\n${"a: b\r\n".repeat(101)}\r\n`), /more than 100 fields/);
  assert.equal(read(`0\r\na: ${"b".repeat(16 * 1024 - 7)}\r\n\r\n`), "");
  assert.match(read(`0\r\na: ${"b".repeat(16 * 1024 - 6)}\r\n\r\n`), /over 16384 bytes/);
});

test("chunk extensions must match their grammar", () => {
  const read = (extension: string): string =>
    readBody(begin(FRAMING.chunked), `1${extension}\r\na\r\n0\r\n\r\n`, [99]).problem;
  for (const good of [";a", ";a=b", ";a;b=c;d", ';a=""', ';a="b;=\\"\t\xe9";c']) assert.equal(read(good), "", good);
  for (const bad of [";", ";;", ";=", ";a=", ";a=;b", ";a b", ";a ", ';"a"', ';a="b"c', ';a="b', ';a="\\', ";a=b=c"])
    assert.notEqual(read(bad), "", bad);
});

test("the total size of chunk extensions is limited", () => {
  const chunk = `1;${"e".repeat(1000)}\r\na\r\n`;
  const read = (raw: string): string => readBody(begin(FRAMING.chunked), raw, [5000]).problem;
  assert.equal(read(`${chunk.repeat(16)}0\r\n\r\n`), "");
  assert.match(read(`${chunk.repeat(17)}0\r\n\r\n`), /extensions over/);
});

const chunk = fc.record({
  data: fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 40 }),
  extension: fc.constantFrom("", ";a", ";a=b", ';a="b \\"c"', ";a;b"),
  zeros: fc.nat(3),
});
const trailer = fc.constantFrom("", "grpc-status: 0\r\n", "a: b\r\nc:\r\n");

test("a chunked body is parsed the same for all splits, and never beyond its end", () => {
  fc.assert(
    fc.property(
      fc.array(chunk, { maxLength: 8 }),
      trailer,
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }),
      (chunks, trailers, sizes) => {
        let raw = "";
        for (const { data, extension, zeros } of chunks)
          raw += `${"0".repeat(zeros)}${data.length.toString(16)}${extension}\r\n${data}\r\n`;
        raw += `0\r\n${trailers}\r\n`;
        const result = readBody(begin(FRAMING.chunked), `${raw}GET / HTTP/1.1`, sizes);
        assert.equal(result.body, chunks.map(({ data }) => data).join(""));
        assert.deepEqual([result.done, result.problem, result.consumed], [true, "", raw.length]);
        assert.equal(result.trailers.length, trailers === "" ? 0 : trailers.split("\r\n").length - 1);
      },
    ),
  );
});
