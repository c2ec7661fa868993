import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RateTable } from "../../../src/net/rate-table.ts";

const SECOND = 1_000_000_000n;

test("a bucket has `burst` units, fills at `rate`, and is shared by all workers", () => {
  const rates = RateTable.allocate();
  let now = 5n * SECOND;
  const workers = [0, 1].map(() => new RateTable(rates, () => now));
  const rate = { rate: 2, burst: 3 };
  const take = (name: string) => {
    const [table] = workers.reverse();
    return table!.take(table!.rowsOf(name), rate);
  };
  assert.deepEqual([take("a"), take("a"), take("a"), take("a"), take("b")], [true, true, true, false, true]);
  now += SECOND / 2n;
  assert.deepEqual([take("a"), take("a")], [true, false]);
  now += 3600n * SECOND;
  assert.deepEqual([take("a"), take("a"), take("a"), take("a")], [true, true, true, false], "it does not overflow");
});

test("a debit is allowed beyond the bucket, and says when it is paid", () => {
  let now = SECOND;
  const table = new RateTable(RateTable.allocate(), () => now);
  const rows = table.rowsOf("a");
  const rate = { rate: 1000, burst: 500 };
  assert.equal(table.debit(rows, 500, rate), 0);
  assert.equal(table.debit(rows, 250, rate), 250);
  now += SECOND / 4n;
  assert.equal(table.debit(rows, 0, rate), 0);
  assert.equal(table.debit(rows, 1, rate), 1);
});

test("property: however many take, never more than the burst and what was added is given", () => {
  const steps = fc.array(fc.record({ client: fc.nat(2), wait: fc.nat(400) }), { maxLength: 200 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 10 }), (all, perSecond, burst) => {
      let now = SECOND;
      const table = new RateTable(RateTable.allocate(), () => now);
      const given = [0, 0, 0];
      for (const { client, wait } of all) {
        now += BigInt(wait) * 1_000_000n;
        if (table.take(table.rowsOf(String(client)), { rate: perSecond, burst })) given[client]!++;
      }
      const most = burst + (Number(now - SECOND) / 1e9) * perSecond + 1e-6;
      for (const count of given) assert.ok(count <= most, `${count} of ${most}`);
    }),
  );
});

test("two workers that take the last unit at once get it once", (t) => {
  const rates = RateTable.allocate();
  const now = SECOND;
  const workers = [0, 1].map(() => new RateTable(rates, () => now));
  const rate = { rate: 1, burst: 5 };
  for (const step of [1, 2]) {
    const client = `client ${step}`;
    const take = (worker: number) => workers[worker]!.take(workers[worker]!.rowsOf(client), rate);
    const given = [0, 1, 0, 1].map(take);
    // The other worker takes between two steps of this one.
    const { compareExchange } = Atomics;
    let calls = 0;
    const mock = t.mock.method(Atomics, "compareExchange", (...args: Parameters<typeof compareExchange>) => {
      if (++calls === step) {
        mock.mock.restore();
        const result = step === 1 ? compareExchange(...args) : 0;
        given.push(take(1));
        return step === 1 ? result : compareExchange(...args);
      }
      return compareExchange(...args);
    });
    given.push(take(0));
    assert.equal(given.filter(Boolean).length, 5, `after step ${step}`);
  }
});
