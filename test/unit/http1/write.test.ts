import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { setAuthority } from "../../../src/http/fields.ts";
import { FIELD_WORDS, FRAMING, Head, NAME, PART, VALUE_END, VALUE_START } from "../../../src/http/head.ts";
import { reasonOf } from "../../../src/http/status.ts";
import { setTarget } from "../../../src/http/target.ts";
import { BodyReader } from "../../../src/http1/framing.ts";
import { scanRequest, scanResponse } from "../../../src/http1/scan.ts";
import {
  CHUNK_HEAD_BOUND,
  DECIMAL_BOUND,
  DROP_HOP_BY_HOP,
  fieldsBound,
  STATUS_LINE_BOUND,
  writeChunkHead,
  writeDecimal,
  writeFields,
  writeLastChunk,
  writeLineEnd,
  writeRequestLine,
  writeStatusLine,
} from "../../../src/http1/write.ts";
import { LIMITS, listFields } from "./reader.ts";

const KEEP_ALL = new Uint8Array(256);
const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

function scan(raw: string): Head {
  const head = new Head(16, 1);
  const bytes = latin1(raw);
  assert.equal(scanRequest(bytes, 0, bytes.length, head, LIMITS), bytes.length, head.problem);
  return head;
}

/** The bytes that `write` writes at offset 3 of a buffer with exactly `room`; nothing may be written elsewhere. */
function written(room: number, write: (out: Buffer, at: number) => number): string {
  const out = Buffer.alloc(3 + room + 3, 0x7e);
  const end = write(out, 3);
  assert.ok(end <= 3 + room, `${end - 3} bytes in a room of ${room}`);
  assert.equal(out.toString("latin1", 0, 3), "~~~");
  assert.equal(out.toString("latin1", end).replaceAll("~", ""), "");
  return out.toString("latin1", 3, end);
}

const headText = (head: Head, drop: Uint8Array): string =>
  written(fieldsBound(head) + 2, (out, at) =>
    writeLineEnd(out, writeFields(out, writeRequestLine(out, at, head), head, drop)),
  );
const fieldsText = (head: Head, drop: Uint8Array = KEEP_ALL): string =>
  written(fieldsBound(head), (out, at) => writeFields(out, at, head, drop));

test("an unchanged head is written byte for byte as received", () => {
  for (const target of ["/", "/a?", "/a?b=c?d", "/%2F//x?%zz", "*"]) {
    const method = target === "*" ? "OPTIONS" : "X-METHOD";
    const raw = `${method} ${target} HTTP/1.1\r\nHost: a\r\nuser-AGENT: some long value, to be copied\r\nX: \r\n\r\n`;
    assert.equal(headText(scan(raw), DROP_HOP_BY_HOP), raw);
  }
});

test("hop-by-hop and framing headers, aliases and nominated headers are not written", () => {
  const head = scan(
    "GET / HTTP/1.1\r\nConnection: keep-alive, x-hop\r\nHost: a\r\nTE: trailers\r\nX-Hop: 1\r\nX: y\r\nX_Forwarded_For: b\r\n" +
      "Keep-Alive: 5\r\nProxy-Connection: c\r\nTrailer: d\r\nUpgrade: e\r\nProxy-Authorization: f\r\nHTTP2-Settings: g\r\n" +
      "Content-Length: 0\r\nX-Hop: 2\r\nLast: z\r\n\r\n",
  );
  assert.equal(fieldsText(head, DROP_HOP_BY_HOP), "Host: a\r\nX: y\r\nLast: z\r\n");
  assert.match(fieldsText(head), /^Connection: keep-alive, x-hop\r\nHost: a\r\nTE: trailers\r\nX: y\r\nKeep-Alive/);
});

test("blanks around values are written canonically", () => {
  const head = scan("GET / HTTP/1.1\r\nHost:a\r\nb:  c\r\nd: \te\r\nf: g \t\r\nh:\r\ni:\t\r\n\r\n");
  assert.equal(fieldsText(head), "Host: a\r\nb: c\r\nd: e\r\nf: g\r\nh: \r\ni: \r\n");
});

test("edits are written in the order of the table, and removed bytes are not copied", () => {
  const head = scan("GET /p?q HTTP/1.1\r\nHost: a\r\nsecret: x\r\nb: c\r\n\r\n");
  head.add(latin1("added"), latin1("one"), NAME.other);
  head.add(latin1("added"), latin1("two"), NAME.other);
  head.removeAt(1);
  const at = 2 * FIELD_WORDS;
  const value = head.append(latin1("changed"), 0, 7);
  head.fields[at + VALUE_START] = value;
  head.fields[at + VALUE_END] = value + 7;
  assert.ok(setAuthority(head, latin1("host.example"), 0, 12));
  assert.ok(setTarget(head, latin1("/new/./path?x"), 0, 13));
  assert.equal(
    headText(head, DROP_HOP_BY_HOP),
    "GET /new/path?x HTTP/1.1\r\nHost: host.example\r\nb: changed\r\nadded: one\r\nadded: two\r\n\r\n",
  );
  head.setPart(PART.query, latin1(""), 0, 0);
  head.setPart(PART.method, latin1("POST"), 0, 4);
  assert.match(headText(head, KEEP_ALL), /^POST \/new\/path HTTP\/1\.1\r\n/);
});

test("only exact separators and line ends are accepted", () => {
  for (const gap of [": ", ":X", "X ", "XY"])
    for (const end of ["\r\n", "\rX", "X\n", "XY"]) {
      const head = new Head();
      const name = head.append(latin1(`name${gap}value${end}`), 0, 13);
      head.push(name, name + 4, name + 6, name + 11, NAME.other);
      assert.equal(fieldsText(head), "name: value\r\n");
    }
});

test("a target in absolute-form is sent in origin-form with its authority as Host", () => {
  const head = scan("GET HTTP://b.example:81?x HTTP/1.1\r\nA: b\r\nHost: a\r\n\r\n");
  assert.equal(headText(head, KEEP_ALL), "GET /?x HTTP/1.1\r\nA: b\r\nHost: b.example:81\r\n\r\n");
  assert.equal(headText(scan("OPTIONS http://b HTTP/1.0\r\n\r\n"), KEEP_ALL), "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n");
});

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}$/);
const value = fc.stringMatching(/^([\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff\t]{0,60}[\x21-\x7e\x80-\xff])?)?$/);
const freeName = token.filter(isFree);
function isFree(name: string): boolean {
  return !Object.hasOwn(NAME, name.toLowerCase()) && !/^x[-_]forwarded/i.test(name);
}

test("a written head scans to the same fields", () => {
  const edit = fc.record({ at: fc.nat(), kind: fc.constantFrom("remove", "add", "set"), name: freeName, value });
  fc.assert(
    fc.property(fc.array(fc.tuple(freeName, value)), fc.array(edit), (fields, edits) => {
      const lines = fields.map(([name, text]) => `${name}:${text.length % 3 === 0 ? " " : ""}${text}\r\n`).join("");
      const head = scan(`GET /a/../b?c HTTP/1.1\r\nHost: a\r\n${lines}\r\n`);
      let expected: [string, string][] = [["Host", "a"], ...fields];
      for (const { at, kind, name, value: text } of edits) {
        const index = at % head.count;
        if (kind === "add") {
          head.add(latin1(name), latin1(text), NAME.other);
          expected = [...expected, [name, text]];
        } else if (kind === "remove" && index > 0) {
          head.removeAt(index);
          expected = expected.map((field, i) => (i === index ? ["", ""] : field));
        } else if (index > 0 && expected[index]![0] !== "") {
          const start = head.append(latin1(text), 0, text.length);
          head.fields[index * FIELD_WORDS + VALUE_START] = start;
          head.fields[index * FIELD_WORDS + VALUE_END] = start + text.length;
          expected = expected.map((field, i) => (i === index ? [field[0], text] : field));
        }
      }
      const again = scan(headText(head, KEEP_ALL));
      assert.deepEqual(
        listFields(again),
        expected.filter(([name]) => name !== ""),
      );
      assert.equal(again.partText(PART.path), "/b");
    }),
  );
});

test("status lines have the registered reason", () => {
  assert.equal(
    written(STATUS_LINE_BOUND, (out, at) => writeStatusLine(out, at, 404)),
    "HTTP/1.1 404 Not Found\r\n",
  );
  assert.equal(
    written(STATUS_LINE_BOUND, (out, at) => writeStatusLine(out, at, 299)),
    "HTTP/1.1 299 \r\n",
  );
  for (let status = 100; status < 1000; status++) {
    const line = latin1(`${written(STATUS_LINE_BOUND, (out, at) => writeStatusLine(out, at, status))}\r\n`);
    const head = new Head();
    assert.equal(scanResponse(line, 0, line.length, head, false), line.length);
    assert.equal(head.status, status);
    assert.equal(line.toString("latin1"), `HTTP/1.1 ${status} ${reasonOf(status)}\r\n\r\n`);
  }
  for (const status of [99, 1000]) assert.throws(() => writeStatusLine(Buffer.alloc(64), 0, status), RangeError);
});

test("numbers are written in full", () => {
  const numbers = fc.oneof(fc.maxSafeNat(), fc.nat(1000), fc.constantFrom(0, 9, 10, 15, 16, 2 ** 53 - 1));
  fc.assert(
    fc.property(numbers, (n) => {
      assert.equal(
        written(DECIMAL_BOUND, (out, at) => writeDecimal(out, at, n)),
        String(n),
      );
      assert.equal(
        written(CHUNK_HEAD_BOUND, (out, at) => writeChunkHead(out, at, n)),
        `${n.toString(16)}\r\n`,
      );
    }),
  );
});

test("the last chunk has only trailers that may be forwarded", () => {
  assert.equal(
    written(5, (out, at) => writeLastChunk(out, at, null)),
    "0\r\n\r\n",
  );
  const reader = new BodyReader();
  reader.begin(FRAMING.chunked, 0, false);
  const raw = latin1("0\r\ngrpc-status: 0\r\nHost: b\r\nAuthorization: c\r\nX:d\r\nX_Forwarded_For: e\r\n\r\n");
  assert.equal(reader.read(raw, 0, raw.length), raw.length);
  const trailers = reader.trailers!;
  trailers.add(latin1("added"), latin1("f"), NAME.other);
  assert.equal(
    written(5 + fieldsBound(trailers), (out, at) => writeLastChunk(out, at, trailers)),
    "0\r\ngrpc-status: 0\r\nX: d\r\nadded: f\r\n\r\n",
  );
});
