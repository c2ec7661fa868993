import assert from "node:assert/strict";
import { mock, test } from "node:test";
import fc from "fast-check";
import { LIMIT, STATUS } from "../../../src/abi/abi.ts";
import { hashKey } from "../../../src/state/hash.ts";
import { layOut, MAX_NAMESPACES } from "../../../src/state/layout.ts";
import { KeyValueStore, Namespaces } from "../../../src/state/store.ts";
import { Keys } from "./kit.ts";

const MIB = 1024 * 1024;
const open = (size = MIB) => new KeyValueStore(KeyValueStore.allocate(size), 0);

test("values are set, read, replaced and deleted; namespaces are separate", () => {
  const store = open();
  const [one, two] = [new Keys(store, 0), new Keys(store, 1)];
  assert.equal(one.get("a"), null);
  assert.equal(one.set("a", "1"), STATUS.ok);
  assert.equal(two.set("a", "two"), STATUS.ok);
  assert.equal(one.get("a"), "1");
  for (const value of ["22", "", "x".repeat(1000), "short again", "y".repeat(LIMIT.kvValue)]) {
    one.set("a", value);
    assert.equal(one.get("a"), value);
  }
  assert.equal(two.get("a"), "two");
  assert.equal(one.delete("a"), STATUS.ok);
  assert.equal(one.delete("a"), STATUS.absent);
  assert.equal(one.get("a"), null);
  assert.deepEqual([store.use(0).entries, store.use(0).bytes, store.use(1).entries], [0, 0, 1]);
});

test("a value over the limit is rejected and changes nothing", () => {
  const keys = new Keys(open());
  keys.set("a", "stays");
  const large = Buffer.alloc(LIMIT.kvValue + 1);
  assert.equal(keys.set("a", large), STATUS.tooLarge);
  assert.equal(keys.compareAndSet("a", large.toString("latin1"), keys.version), STATUS.tooLarge);
  assert.equal(keys.get("a"), "stays");
});

test("an entry expires after its time to live, which a write renews", () => {
  const store = open();
  const keys = new Keys(store);
  keys.set("a", "1", 100);
  keys.now += 99;
  assert.equal(keys.get("a"), "1");
  keys.set("a", "2", 100);
  keys.now += 99;
  assert.equal(keys.get("a"), "2");
  assert.deepEqual(keys.list(), ["a"]);
  keys.now += 1;
  assert.deepEqual(keys.list(), []);
  assert.equal(keys.get("a"), null);
  assert.equal(store.use(0).expired, 1);
  keys.set("a", "3");
  keys.now += 2 ** 40;
  assert.equal(keys.get("a"), "3");
});

test("a counter counts, keeps its first expiry, and reads as digits", () => {
  const keys = new Keys(open());
  assert.equal(keys.increment("n", 5, 100), 5);
  keys.now += 60;
  assert.equal(keys.increment("n", -7, 100), -2);
  assert.equal(keys.get("n"), "-2");
  keys.now += 40;
  assert.equal(keys.increment("n", 1, 100), 1);
  keys.set("text", "41");
  assert.equal(keys.increment("text"), 42);
  keys.set("text", "no number");
  for (const value of ["no number", "", "-", "1.5", "12345678901234567890"]) {
    keys.set("text", value);
    assert.equal(keys.increment("text"), `${STATUS.invalid}`);
    assert.equal(keys.get("text"), value);
  }
  keys.increment("most", Number.MAX_SAFE_INTEGER);
  assert.equal(keys.increment("most"), `${STATUS.invalid}`);
  assert.equal(keys.get("most"), `${Number.MAX_SAFE_INTEGER}`);
  for (const by of [0.5, Number.NaN, Number.POSITIVE_INFINITY])
    assert.equal(keys.increment("n", by), `${STATUS.invalid}`);
});

test("compare-and-set replaces the version that was read and no other, and versions are never reused", () => {
  const keys = new Keys(open());
  assert.equal(keys.compareAndSet("a", "1", 0), 1, "0: when there is none");
  assert.equal(keys.compareAndSet("a", "2", 0), 0);
  keys.get("a");
  const first = keys.version;
  assert.equal(keys.compareAndSet("a", "2", first), 1);
  assert.equal(keys.compareAndSet("a", "3", first), 0);
  assert.equal(keys.get("a"), "2");
  keys.delete("a");
  keys.set("a", "1");
  assert.equal(keys.compareAndSet("a", "3", first), 0, "the same value again is another version");
  keys.increment("n");
  const counted = keys.version;
  keys.increment("n");
  assert.equal(keys.compareAndSet("n", "0", counted), 0);
});

test("a list is the keys with a prefix, each once, however small its pages are", () => {
  const keys = new Keys(open());
  const expected: string[] = [];
  for (let i = 0; i < 2000; i++) {
    keys.set(`user:${i}`, "x");
    keys.set(`other:${i}`, "x");
    expected.push(`user:${i}`);
  }
  for (const cap of [65_536, 600]) assert.deepEqual(keys.list("user:", cap).sort(), expected.sort());
  assert.equal(keys.list("").length, 4000);
  assert.deepEqual(keys.list("none"), []);
  assert.throws(() => keys.list("user:", 8), /-4/);
  for (const cursor of [-1, 0.5, Number.NaN, 1e15]) {
    keys.operation.cursor = cursor;
    assert.equal(keys.store.list(keys.operation), STATUS.invalid);
  }
});

/** Lists everything under a prefix; returns the work of each page. */
function workOfPages({ store, operation }: Keys, prefix: string, cap: number): number[] {
  const work: number[] = [];
  operation.cursor = 0;
  do {
    const key = Buffer.from(prefix);
    Object.assign(operation, { key, keyStart: 0, keyEnd: key.length, out: Buffer.alloc(cap), outStart: 0, cap });
    assert.ok(store.list(operation) >= 0);
    work.push(operation.work);
  } while (operation.cursor !== 0);
  return work;
}

test("empty chains are skipped 32 at a time, for fuel, and no lock is held over many of them", () => {
  const store = open(16 * MIB);
  const keys = new Keys(store);
  keys.set("a", "x");
  const { shards, chains } = layOut(store.buffer.byteLength);
  const acquired = mock.method(Atomics, "compareExchange");
  let pages: number[];
  try {
    pages = workOfPages(keys, "", 600);
  } finally {
    acquired.mock.restore();
  }
  assert.ok(pages.every((work) => work >= 64 && work <= 80 * 1024));
  // A unit of fuel for 32 chains, and one for a shard that has no key of the namespace.
  const work = pages.reduce((sum, one) => sum + one);
  assert.ok(work >= 2 * chains + 64 * shards && work <= 3 * chains + 64 * shards + 4096, `${work}`);
  assert.ok(acquired.mock.callCount() >= chains / 2048, `${acquired.mock.callCount()} locks for ${chains} chains`);
});

test("each record that is visited costs fuel", () => {
  const keys = new Keys(open());
  for (let i = 0; i < 2000; i++) keys.set(`k${i}`, "x");
  const listed = workOfPages(keys, "none", 8).reduce((sum, one) => sum + one);
  assert.ok(listed >= 2000 * 2048, `${listed}`);
  keys.get("k1");
  assert.ok(keys.operation.work >= 2048);
});

test("the oldest entries are evicted, read ones are kept, and the size stays bounded", () => {
  const store = open();
  const keys = new Keys(store);
  const value = "x".repeat(1000);
  for (let i = 0; i < 20_000; i++) {
    keys.set(`k${i}`, value);
    if (i % 50 === 0) assert.notEqual(keys.get("k0"), null, `read all the time, and gone after ${i}`);
  }
  const { entries, bytes, evicted } = store.use(0);
  assert.ok(bytes <= MIB && bytes > MIB / 2, `${bytes}`);
  assert.equal(entries + evicted, 20_000);
  assert.equal(keys.list().length, entries);
  assert.equal(keys.get("k19999"), value);
  assert.equal(keys.get("k1"), null);
});

test("a namespace that floods the store does not evict entries of one within its share", () => {
  const store = open();
  const [small, flood] = [new Keys(store, 0), new Keys(store, 1)];
  for (let i = 0; i < 500; i++) small.set(`session${i}`, "x".repeat(200));
  for (let i = 0; i < 50_000; i++) flood.set(`junk${i}`, "x".repeat(300 + (i % 700)));
  assert.equal(store.use(0).entries, 500);
  assert.equal(store.use(0).evicted, 0);
  assert.ok(store.use(1).evicted > 40_000);
});

/** Keys that `list` does not return, or that it invents, with one record in the last chain of a shard. */
function findUnlisted(low: number): string[] {
  const buffer = KeyValueStore.allocate(MIB);
  new Int32Array(buffer)[0] = low;
  new Int32Array(buffer)[1] = 0;
  const { chains } = layOut(MIB);
  const chainOf = (key: string) => hashKey({ low, high: 0 }, 0, Buffer.from(key), 0, key.length) & (chains - 1);
  const candidates = Array.from({ length: 40_000 }, (_, i) => `k${i}`);
  const last = candidates.find((key) => chainOf(key) === chains - 1) ?? "";
  const keys = new Keys(new KeyValueStore(buffer, 0));
  // Behind the bits of the chains is the first record. That of unused space would be read as bits of further chains,
  // which would begin in the words that have the bits of the real ones.
  const first = candidates.slice(0, 100).filter((key) => key !== last);
  for (const key of [...first, last]) keys.set(key, "value");
  for (const key of first) keys.delete(key);
  const listed = new Set([last]);
  // With each, the last record has another place in a section under the lock.
  for (const key of candidates.filter((one) => chainOf(one) < 192 && one !== last).slice(0, 60)) {
    keys.set(key, "value");
    listed.add(key);
    const different = [...new Set(keys.list()).symmetricDifference(listed)];
    if (different.length > 0) return different;
  }
  return [];
}

test("a record in the last chain of a shard is listed, and nothing behind it is read as a chain", () => {
  for (let low = 0; low < 4; low++) assert.deepEqual(findUnlisted(low), [], `seed ${low}`);
});

test("numbers of namespaces are assigned once, up to a limit", () => {
  const namespaces = new Namespaces();
  const numbers = Array.from({ length: MAX_NAMESPACES }, (_, i) => namespaces.numberOf(`n${i}`));
  assert.equal(new Set(numbers).size, MAX_NAMESPACES);
  assert.equal(namespaces.numberOf("n7"), numbers[7]);
  assert.throws(() => namespaces.numberOf("more"), /more than 128/);
});

// ── Against a map ────────────────────────────────────────────────────────────────────────────────────────────────

type Entry = { value: string; expires: number };
type Model = { keys: Keys; map: Map<string, Entry>; now: number };
const nameOf = fc.oneof(
  fc.constantFrom("a", "b", "ab", "abc"),
  fc.string({ minLength: 1, maxLength: 40, unit: "binary" }),
);
const textOf = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.integer().map(String),
  fc.integer({ min: 0, max: 3000 }).map((length) => "v".repeat(length)),
);
const ttlOf = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 50 }));
const command = fc.oneof(
  fc.record({ do: fc.constant("set" as const), key: nameOf, value: textOf, ttl: ttlOf }),
  fc.record({ do: fc.constant("cas" as const), key: nameOf, value: textOf, ttl: ttlOf, right: fc.boolean() }),
  fc.record({ do: fc.constant("add" as const), key: nameOf, by: fc.integer(), ttl: ttlOf }),
  fc.record({ do: fc.constant("delete" as const), key: nameOf }),
  fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 30 }) }),
  fc.record({ do: fc.constant("list" as const), prefix: fc.constantFrom("", "a", "ab", "z") }),
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

function runCommand(model: Model, one: Command): void {
  const { keys, map } = model;
  keys.now = model.now;
  const expiry = (ttl: number) => (ttl === 0 ? Number.POSITIVE_INFINITY : model.now + ttl);
  const live = (key: string) => {
    const entry = map.get(key);
    return entry !== undefined && entry.expires > model.now ? entry : undefined;
  };
  if (one.do === "wait") model.now += one.ms;
  else if (one.do === "list") {
    const expected = [...map.keys()].filter((key) => live(key) && Buffer.from(key).indexOf(one.prefix) === 0);
    assert.deepEqual(keys.list(one.prefix).sort(), expected.sort());
  } else if (one.do === "set") {
    keys.set(one.key, one.value, one.ttl);
    map.set(one.key, { value: one.value, expires: expiry(one.ttl) });
  } else if (one.do === "delete") {
    assert.equal(keys.delete(one.key), live(one.key) ? STATUS.ok : STATUS.absent);
    map.delete(one.key);
  } else if (one.do === "cas") {
    const version = keys.get(one.key) === null ? 0 : keys.version;
    assert.equal(keys.compareAndSet(one.key, one.value, one.right ? version : version + 1, one.ttl), one.right ? 1 : 0);
    if (one.right) map.set(one.key, { value: one.value, expires: expiry(one.ttl) });
  } else {
    const before = live(one.key);
    const number = before === undefined ? 0 : /^-?\d{1,15}$/.test(before.value) ? Number(before.value) : Number.NaN;
    const sum = keys.increment(one.key, one.by, one.ttl);
    if (Number.isNaN(number)) assert.equal(sum, `${STATUS.invalid}`);
    else {
      assert.equal(sum, number + one.by);
      map.set(one.key, { value: String(number + one.by), expires: before?.expires ?? expiry(one.ttl) });
    }
  }
  if ("key" in one) assert.equal(keys.get(one.key), live(one.key)?.value ?? null);
}

test("after any operations the store is a map with expiry", () => {
  const buffer = KeyValueStore.allocate(8 * MIB);
  fc.assert(
    fc.property(fc.integer(), fc.array(command, { maxLength: 60 }), (low, commands) => {
      new Uint8Array(buffer).fill(0);
      new Int32Array(buffer)[0] = low;
      const store = new KeyValueStore(buffer, 0);
      const model = { keys: new Keys(store), map: new Map(), now: 1_000_000 };
      for (const one of commands) runCommand(model, one);
      for (const [key, { value, expires }] of model.map) {
        model.keys.now = model.now;
        assert.equal(model.keys.get(key), expires > model.now ? value : null);
      }
    }),
    { numRuns: 60 },
  );
});

test("under any flood counts match the entries, no value belongs to another key, and a repaired store has the same entries", () => {
  const write = fc.tuple(fc.nat(400), fc.integer({ min: 0, max: 20_000 }), fc.nat(2), fc.integer({ min: 0, max: 40 }));
  const buffer = KeyValueStore.allocate(MIB);
  fc.assert(
    fc.property(fc.integer(), fc.array(write, { minLength: 100, maxLength: 400 }), (low, writes) => {
      new Uint8Array(buffer).fill(0);
      new Int32Array(buffer)[0] = low;
      const store = new KeyValueStore(buffer, 3);
      const spaces = [0, 1, 2].map((number) => new Keys(store, number));
      for (const [key, length, space, ttl] of writes) {
        const keys = spaces[space]!;
        keys.now += 1;
        keys.set(`k${key}`, Buffer.alloc(length, `${key},${space};`), ttl);
        if (length % 3 === 0) keys.get(`k${(key * 7) % 400}`);
      }
      const check = () =>
        spaces.map((keys, space) => {
          keys.now = 1_000_000;
          const all = keys.list().sort();
          const use = store.use(space);
          assert.equal(use.entries, all.length);
          assert.ok(use.bytes < MIB);
          for (const key of all) {
            const value = keys.bytes(key)!;
            assert.ok(value.equals(Buffer.alloc(value.length, `${key.slice(1)},${space};`)), key);
          }
          return { all, use };
        });
      const before = check();
      // As if this thread had ended inside each shard in turn.
      const words = new Int32Array(buffer);
      for (let index = 0; index < 4; index++) words[(64 + (index * (MIB - 64)) / 4) >> 2] = 5;
      store.forgetWorker(3);
      assert.deepEqual(check(), before);
    }),
    { numRuns: 30 },
  );
});
