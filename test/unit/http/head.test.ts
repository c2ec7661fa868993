import assert from "node:assert/strict";
import { test } from "node:test";
import { Head, MAX_AREA, NAME, PART, PARTS } from "../../../src/http/head.ts";
import { listFields } from "../http1/reader.ts";

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const find = (head: Head, name: string, nth = 0): number => {
  const bytes = latin1(`-${name}-`);
  return head.find(bytes, 1, 1 + name.length, nth);
};

test("area and table grow, and offsets stay valid", () => {
  const head = new Head(4, 1);
  const fields: [string, string][] = [];
  for (let i = 0; i < 50; i++) {
    fields.push([`name-${i}`, "v".repeat(i * 3)]);
    head.add(latin1(`name-${i}`), latin1("v".repeat(i * 3)), NAME.other);
  }
  assert.deepEqual(listFields(head), fields);
});

test("an area never exceeds its limit, and is unchanged after a rejection", () => {
  const head = new Head(16, 1);
  head.append(latin1("abc"), 0, 3);
  assert.throws(() => head.reserve(MAX_AREA), RangeError);
  assert.equal(head.text(0, head.end), "abc");
  head.reserve(MAX_AREA - 3);
  assert.equal(head.text(0, head.end), "abc");
});

test("bytes of the area itself can be appended while it grows", () => {
  const head = new Head(8, 1);
  head.append(latin1("abcdef"), 0, 6);
  const at = head.append(head.bytes, 1, 5);
  assert.equal(head.text(at, head.end), "bcde");
});

test("fields are found by name in any case and by number, and not after removal", () => {
  const head = new Head();
  for (const [name, value] of [
    ["A", "1"],
    ["b", "2"],
    ["a", "3"],
  ] as const)
    head.add(latin1(name), latin1(value), NAME.other);
  head.add(latin1("Via"), latin1("4"), NAME.via);
  assert.deepEqual([find(head, "a"), find(head, "A", 1), find(head, "a", 2), find(head, "ab")], [0, 2, -1, -1]);
  assert.deepEqual([head.findKnown(NAME.via), head.findKnown(NAME.via, 4), head.findKnown(NAME.date)], [3, -1, -1]);
  head.removeAt(0);
  head.removeAt(3);
  assert.deepEqual([find(head, "a"), find(head, "a", 1), head.findKnown(NAME.via)], [2, -1, -1]);
  assert.equal(head.get("A"), "3");
  assert.equal(head.get("via"), undefined);
});

test("the changes of a hook can be undone as a whole", () => {
  const head = new Head(32, 2);
  head.setPart(PART.path, latin1("/a"), 0, 2);
  head.add(latin1("a"), latin1("1"), NAME.other);
  head.status = 200;
  head.save();
  head.removeAt(0);
  head.setPart(PART.path, latin1("/b"), 0, 2);
  head.status = 404;
  for (let i = 0; i < 10; i++) head.add(latin1("via"), latin1("2"), NAME.via);
  head.restore();
  assert.deepEqual(listFields(head), [["a", "1"]]);
  assert.deepEqual([head.partText(PART.path), head.status, head.get("a")], ["/a", 200, "1"]);
  assert.equal(head.findKnown(NAME.via), -1);
});

test("an empty part is an absent one", () => {
  const head = new Head();
  head.setPart(PART.query, latin1("a=b"), 0, 3);
  head.setPart(PART.query, latin1("x"), 1, 1);
  assert.deepEqual([...head.parts], new Array(PARTS).fill(0));
});
