import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMIT, STATUS } from "../../../../src/abi/abi.ts";

import { Overlay } from "../../../../src/plugin/host/overlay.ts";
import { type KeyValue, Operation } from "../../../../src/state/key-value.ts";
import { KeyValueStore } from "../../../../src/state/store.ts";

const MIB = 1024 * 1024;

function ask(key: string, parts: Partial<Operation> = {}): Operation {
  const bytes = Buffer.from(key);
  const operation = new Operation();
  const value = parts.value ?? Buffer.alloc(0);
  const own = {
    key: bytes,
    keyEnd: bytes.length,
    valueEnd: value.length,
    now: 1000,
    out: Buffer.alloc(4096),
    cap: 4096,
  };
  return Object.assign(operation, own, parts);
}

function read(store: KeyValue, key: string): string | number {
  const operation = ask(key);
  const length = store.get(operation);
  return length < 0 ? length : operation.out.toString("utf8", 0, length);
}

function listKeys(store: KeyValue, prefix: string, cap = 4096): string[] {
  const keys: string[] = [];
  const operation = ask(prefix, { cap });
  do {
    const length = store.list(operation);
    assert.ok(length >= 0);
    for (let at = 0; at < length; ) {
      const end = at + 4 + operation.out.readUInt32LE(at);
      keys.push(operation.out.toString("utf8", at + 4, end));
      at = end;
    }
  } while (operation.cursor !== 0);
  return keys.sort();
}

function make() {
  const below = new KeyValueStore(KeyValueStore.allocate(MIB), 0);
  for (const key of ["a", "b", "c"]) below.set(ask(key, { value: Buffer.from(`old ${key}`) }));
  below.increment(ask("n", { number: 5 }));
  return { below, overlay: new Overlay(below, new KeyValueStore(KeyValueStore.allocate(MIB), 0)) };
}

test("writes go to the upper layer, and the lower store stays unchanged", () => {
  const { below, overlay } = make();
  assert.equal(read(overlay, "a"), "old a");
  assert.equal(overlay.set(ask("a", { value: Buffer.from("new") })), STATUS.ok);
  assert.equal(overlay.delete(ask("b")), STATUS.ok);
  assert.equal(overlay.delete(ask("b")), STATUS.absent);
  assert.equal(overlay.delete(ask("never")), STATUS.absent);
  const sum = ask("n", { number: 2 });
  assert.equal(overlay.increment(sum), STATUS.ok);
  assert.equal(sum.number, 7);
  overlay.increment(sum);
  const fresh = ask("m", { number: 1 });
  assert.equal(overlay.increment(fresh), STATUS.ok);
  assert.equal(fresh.number, 1);
  assert.deepEqual(
    ["a", "b", "c", "n", "m"].map((key) => read(overlay, key)),
    ["new", STATUS.absent, "old c", "14", "1"],
  );
  assert.deepEqual(
    ["a", "b", "c", "n", "m"].map((key) => read(below, key)),
    ["old a", "old b", "old c", "5", STATUS.absent],
  );
});

test("compare-and-set uses the lower layer's version until a key is written in the upper", () => {
  const { below, overlay } = make();
  const found = ask("a");
  overlay.get(found);
  const wrong = ask("a", { value: Buffer.from("x"), version: found.version + 1 });
  assert.equal(overlay.compareAndSet(wrong), 0);
  assert.equal(wrong.version, found.version);
  assert.equal(overlay.compareAndSet(ask("a", { value: Buffer.from("x"), version: found.version })), 1);
  assert.equal(overlay.compareAndSet(ask("a", { value: Buffer.from("y"), version: found.version + 100 })), 0);
  assert.equal(overlay.compareAndSet(ask("fresh", { value: Buffer.from("z") })), 1);
  assert.equal(overlay.compareAndSet(ask("fresh", { value: Buffer.from("z") })), 0);
  assert.deepEqual([read(overlay, "a"), read(below, "a"), read(below, "fresh")], ["x", "old a", STATUS.absent]);
});

test("a list has the keys of both, page by page", () => {
  const { overlay } = make();
  overlay.delete(ask("b"));
  overlay.set(ask("aa", { value: Buffer.from("1") }));
  overlay.set(ask("c", { value: Buffer.from("2") }));
  assert.deepEqual(listKeys(overlay, ""), ["a", "aa", "c", "n"]);
  assert.deepEqual(listKeys(overlay, "", 6), ["a", "aa", "c", "n"]);
  assert.deepEqual(listKeys(overlay, "a"), ["a", "aa"]);
});

test("invalid writes are rejected, and change nothing", () => {
  const { below, overlay } = make();
  const large = Buffer.alloc(LIMIT.kvValue + 1);
  for (const store of [below, overlay]) {
    assert.equal(store.set(ask("a", { value: large })), STATUS.tooLarge);
    const found = ask("a");
    store.get(found);
    const { version } = found;
    assert.equal(store.compareAndSet(ask("a", { value: large, version })), STATUS.tooLarge);
    assert.equal(store.increment(ask("b", { number: 1 })), STATUS.invalid);
    assert.deepEqual(
      ["a", "b"].map((key) => read(store, key)),
      ["old a", "old b"],
    );
    for (const cursor of [-1, 0.5, Number.NaN, 1e15])
      assert.equal(store.list(ask("", { cursor })), STATUS.invalid, `${cursor}`);
  }
});
