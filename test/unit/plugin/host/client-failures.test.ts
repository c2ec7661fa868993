import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIENT, ClientFailures, clientOf } from "../../../../src/plugin/host/client-failures.ts";
import type { HookContext } from "../../../../src/plugin/host/hook-context.ts";

const contextOf = (clientAddress: string, isSubrequest = false) => ({ clientAddress, isSubrequest }) as HookContext;

test("failures are counted by client: an IPv4 address, a /64 of IPv6, or all subrequests", () => {
  const of = (address: string, isSubrequest = false) => clientOf(contextOf(address, isSubrequest));
  assert.equal(of("2001:db8::1"), of("2001:db8::ffff:2"));
  assert.notEqual(of("2001:db8::1"), of("2001:db8:0:1::1"));
  assert.notEqual(of("192.0.2.1"), of("192.0.2.2"));
  assert.equal(of("192.0.2.1", true), of("192.0.2.2", true));
  assert.equal(clientOf(null), "");
});

test("a client over its budget is blocked until the budget is filled again, and no other client is", () => {
  let now = 0;
  const failures = new ClientFailures(() => now);
  for (let i = 0; i <= CLIENT.burst; i++) failures.charge("a", 1);
  assert.deepEqual([failures.isBlocked("a"), failures.isBlocked("b"), failures.any], [true, false, true]);
  now += 1 / CLIENT.share;
  assert.equal(failures.isBlocked("a"), false);
  // Without a burst once nothing but failures is seen of it, and with a smaller share.
  for (let i = 0; i < CLIENT.failures; i++) failures.fail("b");
  failures.charge("b", 2);
  now += 1 / CLIENT.share;
  assert.equal(failures.isBlocked("b"), true);
  now += 2 / CLIENT.fruitlessShare;
  assert.equal(failures.isBlocked("b"), false);
  now += 1e9;
  assert.equal(failures.any, false, "none is tracked with a full budget");
});

test("after a costly failure a client is blocked as long as it cost, though its budget pays for it", () => {
  let now = 0;
  const failures = new ClientFailures(() => now);
  failures.charge("a", CLIENT.costly - 1);
  failures.charge("b", CLIENT.costly);
  assert.deepEqual([failures.isBlocked("a"), failures.isBlocked("b")], [false, true]);
  now += CLIENT.costly - 1;
  assert.equal(failures.isBlocked("b"), true);
  now += 1;
  assert.equal(failures.isBlocked("b"), false);
  // The restart is charged after the failure, and does not end its pause.
  failures.charge("c", 4 * CLIENT.costly);
  failures.charge("c", CLIENT.costly);
  now += 4 * CLIENT.costly - 1;
  assert.equal(failures.isBlocked("c"), true);
});

test("any number of failing clients takes bounded memory: the oldest are forgotten", () => {
  const failures = new ClientFailures(() => 0);
  for (let i = 0; i < 2 * CLIENT.most; i++) failures.charge(`client ${i}`, 2 * CLIENT.burst);
  const blocked = Array.from({ length: 2 * CLIENT.most }, (_, i) => failures.isBlocked(`client ${i}`));
  assert.equal(blocked.filter(Boolean).length, CLIENT.most);
  assert.ok(blocked.at(-1) && !blocked[0]);
});
