/** For any input the codec throws nothing, stays within its bounds, and returns valid results. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FIELD_WORDS, FRAMING, Head, PART, PARTS } from "../../../src/http/head.ts";
import { setTarget } from "../../../src/http/target.ts";
import { scanRequest, scanResponse } from "../../../src/http1/scan.ts";
import { DROP_HOP_BY_HOP, fieldsBound, writeFields, writeRequestLine } from "../../../src/http1/write.ts";
import { byte, streams as bytes, requests } from "./arbitrary.ts";
import { LIMITS, readStream } from "./reader.ts";

const STATUSES = new Set([400, 405, 414, 417, 431, 501, 502, 505]);
const direction = fc.constantFrom("request" as const, "response" as const);

test("for any input the codec throws nothing, stays in bounds, and does not depend on the split", () => {
  fc.assert(
    fc.property(bytes, direction, fc.array(fc.nat(400), { maxLength: 6 }), (raw, way, cuts) => {
      const whole = readStream(way, raw);
      if (whole.refused !== 0) {
        assert.ok(STATUSES.has(whole.refused), String(whole.refused));
        assert.notEqual(whole.problem, "");
        if (way === "response") assert.equal(whole.refused, 502);
      }
      assert.deepEqual(readStream(way, raw, cuts), whole);
    }),
    { numRuns: 3000 },
  );
});

test("offsets of an accepted head are in bounds, and the written head parses to the same fields", () => {
  const head = new Head(16, 1);
  // Every well-formed one is accepted, so that the test is not vacuous.
  const either = fc.oneof(
    { weight: 2, arbitrary: fc.tuple(bytes, fc.constant(false)) },
    { weight: 1, arbitrary: fc.tuple(requests, fc.constant(true)) },
  );
  fc.assert(
    fc.property(either, ([raw, wellFormed]) => {
      const past = scanRequest(raw, 0, raw.length, head, LIMITS);
      assert.ok(past > 0 || !wellFormed, head.problem);
      if (past <= 0) return;
      for (let i = 0; i < PARTS; i += 2) {
        assert.ok(head.parts[i]! <= head.parts[i + 1]!);
        assert.ok(head.parts[i + 1]! <= head.end);
      }
      for (let at = 0; at < head.count * FIELD_WORDS; at += FIELD_WORDS) {
        const [nameStart, nameEnd, valueStart, valueEnd] = head.fields.subarray(at, at + 4);
        assert.ok(nameStart! < nameEnd! && valueStart! <= valueEnd!);
        assert.ok(nameEnd! <= head.end && valueEnd! <= head.end);
      }
      // The next hop must receive what was parsed here.
      const out = Buffer.alloc(fieldsBound(head) + 64);
      let at = writeFields(out, writeRequestLine(out, 0, head), head, DROP_HOP_BY_HOP);
      if (head.parts[PART.authority + 1] === 0) at += out.write("Host: a\r\n", at);
      at += out.write("\r\n", at);
      const again = new Head();
      assert.equal(
        scanRequest(out, 0, at, again, { head: 1 << 20, target: 1 << 20, headers: 1000 }),
        at,
        again.problem,
      );
      for (const part of [PART.method, PART.path, PART.query]) assert.equal(again.partText(part), head.partText(part));
      assert.equal(again.framing, FRAMING.none);
    }),
    { numRuns: 3000 },
  );
});

test("a response scan returns a valid result for any input", () => {
  const head = new Head(16, 1);
  fc.assert(
    fc.property(bytes, fc.boolean(), (raw, toHead) => {
      const past = scanResponse(raw, 0, raw.length, head, toHead);
      assert.ok(past === -502 || (past >= 0 && past <= raw.length));
      if (past > 0) assert.ok(head.status >= 100 && head.status <= 599);
    }),
    { numRuns: 1000 },
  );
});

test("a plugin cannot set a target that a scan rejects or interprets differently", () => {
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 20 }), (list) => {
      const head = new Head(16, 1);
      const raw = Buffer.from([0x2f, ...list]);
      head.setPart(PART.method, Buffer.from("GET"), 0, 3);
      if (!setTarget(head, raw, 0, raw.length)) return;
      const out = Buffer.alloc(256);
      const at = writeRequestLine(out, 0, head);
      const end = at + out.write("Host: a\r\n\r\n", at);
      const again = new Head();
      assert.equal(scanRequest(out, 0, end, again, LIMITS), end, again.problem);
      for (const part of [PART.path, PART.query]) assert.equal(again.partText(part), head.partText(part));
    }),
    { numRuns: 1000 },
  );
});
