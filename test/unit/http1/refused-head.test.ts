import assert from "node:assert/strict";
import { test } from "node:test";
import { Head, PART } from "../../../src/http/head.ts";
import { scanRequest } from "../../../src/http1/scan.ts";

const LIMITS = { head: 1024, target: 256, headers: 10 };

test("fields read from a rejected head are its own, never earlier bytes of the buffer", () => {
  const refused = [
    "GET /mine HTTP/1.1\r\nhost : b\r\n\r\n",
    "GET /mine HTTP/1.1\r\n\r\n",
    "TRACE /mine HTTP/1.1\r\nhost: b\r\n\r\n",
    "POST /mine HTTP/1.1\r\nhost: b\r\ntransfer-encoding: gzip\r\n\r\n",
    `GET /mine HTTP/1.1\r\nhost: b\r\nx: ${"y".repeat(2000)}`,
  ];
  const secret = Buffer.from(`GET /secret-of-another HTTP/1.1\r\nhost: a\r\ncookie: ${"s".repeat(300)}\r\n\r\n`);
  for (const text of refused) {
    const head = new Head();
    assert.ok(scanRequest(secret, 0, secret.length, head, LIMITS) > 0);
    const bytes = Buffer.from(text);
    assert.ok(scanRequest(bytes, 0, bytes.length, head, LIMITS) < 0, text);
    for (const part of [PART.method, PART.authority, PART.path, PART.query]) {
      const shown = head.partText(part);
      assert.ok(text.includes(shown), `${JSON.stringify(shown)} of ${text.slice(0, 40)}`);
    }
    for (const [start, end] of [...Array(head.count).keys()].map((i) => head.fields.slice(i * 5, i * 5 + 2)))
      assert.ok(text.includes(head.text(start!, end!)));
  }
});
