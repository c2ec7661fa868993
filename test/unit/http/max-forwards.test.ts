import assert from "node:assert/strict";
import { test } from "node:test";
import { Head } from "../../../src/http/head.ts";
import { countHop, HOP } from "../../../src/http/max-forwards.ts";
import { scanRequest } from "../../../src/http1/scan.ts";
import { LIMITS } from "../http1/reader.ts";

function count(...values: string[]): [hop: number, value: string | undefined] {
  const fields = values.map((value) => `max-Forwards:${value}\r\n`).join("");
  const bytes = Buffer.from(`OPTIONS /a HTTP/1.1\r\nHost: a\r\n${fields}X: 1\r\n\r\n`, "latin1");
  const head = new Head();
  assert.equal(scanRequest(bytes, 0, bytes.length, head, LIMITS), bytes.length);
  const hop = countHop(head);
  assert.equal(head.get("x"), "1");
  return [hop, head.get("max-forwards")];
}

test("Max-Forwards is decremented down to 0, and must be one number", () => {
  assert.deepEqual(count(), [HOP.forward, undefined]);
  assert.deepEqual(count(" 5"), [HOP.forward, "4"]);
  assert.deepEqual(count("1 "), [HOP.forward, "0"]);
  assert.deepEqual(count("010"), [HOP.forward, "9"]);
  assert.deepEqual(count(` ${"9".repeat(40)}`), [HOP.forward, String(2 ** 31 - 2)]);
  assert.deepEqual(count(" 0"), [HOP.respond, "0"]);
  assert.deepEqual(count(" 000"), [HOP.respond, "000"]);
  for (const bad of ["", " -1", " +1", " 1, 0", " x", " 1.5", " 0x1"]) assert.equal(count(bad)[0], HOP.malformed, bad);
  assert.equal(count(" 1", " 1")[0], HOP.malformed);
});
