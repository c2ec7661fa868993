import assert from "node:assert/strict";
import { test } from "node:test";
import { ClientCounts } from "../../../src/net/client-counts.ts";
import { networkOf } from "../../../src/net/client-rows.ts";

test("a client's connections are counted over all workers, for each listener", () => {
  const table = ClientCounts.allocate(2);
  const [first, second, main] = [0, 1, -1].map((worker) => new ClientCounts(table, worker));
  const kept = first!.enter(0, "192.0.2.1", 2)!;
  assert.ok(second!.enter(0, "192.0.2.1", 2));
  assert.equal(first!.enter(0, "192.0.2.1", 2), null);
  assert.ok(first!.enter(1, "192.0.2.1", 2), "another listener");
  assert.ok(first!.enter(0, "192.0.2.2", 2), "another client");
  first!.leave(kept);
  assert.ok(second!.enter(0, "192.0.2.1", 2));
  assert.equal(first!.enter(0, "192.0.2.1", 2), null, "a refused connection is not counted");
  main!.forgetWorker(1);
  assert.ok(first!.enter(0, "192.0.2.1", 2));
  assert.ok(first!.enter(0, "192.0.2.1", 2));
  assert.equal(first!.enter(0, "192.0.2.1", 2), null);
});

test("the addresses of an IPv6 network of 64 bits are one client", () => {
  const counts = new ClientCounts(ClientCounts.allocate(1), 0);
  const same = ["2001:db8::1", "2001:db8:0:0:ffff::1", "2001:db8::"];
  assert.ok(counts.enter(0, "2001:db8::9", 1));
  for (const address of same) assert.equal(counts.enter(0, address, 1), null, address);
  for (const address of [
    "2001:db8::2:0:0:0:1",
    "2001:db8:0:1::1",
    "2001:db9::1",
    "::1",
    "2001:0:db8::1",
    "1::2001:db8:0:0:1",
  ])
    assert.ok(counts.enter(0, address, 1), address);
  assert.equal(counts.enter(0, "::2", 1), null);
});

test("many clients under the limit are not refused", () => {
  const counts = new ClientCounts(ClientCounts.allocate(1), 0);
  for (let client = 0; client < 10_000; client++)
    for (let i = 0; i < 5; i++) assert.ok(counts.enter(0, `10.0.${client >> 8}.${client & 255}`, 50));
});

test("a client is an IPv4 address, or 64 bits of an IPv6 address", () => {
  for (const [address, network] of [
    ["192.0.2.1", "192.0.2.1"],
    ["2001:db8::1", "2001:db8:0:0"],
    ["2001:db8::1:2:3:4", "2001:db8:0:0"],
    ["2001:db8:0:0:ffff::", "2001:db8:0:0"],
    ["::1", "0:0:0:0"],
    ["1::2:3:4:5:6:7", "1:0:2:3"],
    ["unknown", "unknown"],
    ["", ""],
  ] as const)
    assert.equal(networkOf(address), network, address);
});
