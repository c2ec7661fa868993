import assert from "node:assert/strict";
import { test } from "node:test";
import type { CertificateStatus } from "../../../src/admin/api.ts";
import { TlsUpkeep } from "../../../src/control/tls-upkeep.ts";
import { TicketKeys } from "../../../src/net/ticket-keys.ts";
import type { Log } from "../../../src/observe/log.ts";

const DAY = 86_400_000;

test("a warning at each limit, once for each certificate", (t) => {
  const lines: string[] = [];
  const log = { warn: ({ days }: { days: number }, text: string) => lines.push(`${days} ${text}`) } as unknown as Log;
  let now = 0;
  const upkeep = new TlsUpkeep(new TicketKeys(TicketKeys.allocate()), log, () => now);
  t.after(() => upkeep.close());
  const ocsp = { mustStaple: false, source: null, problem: "" };
  const certificate = { listener: "web", file: "a.pem", names: ["a"], expires: 40 * DAY, ocsp, renewedAt: 0 };
  const status = () => ({ state: "none", mustStaple: false, until: null, problem: "" }) as const;
  upkeep.take([certificate], []);
  for (now = DAY; now <= 41 * DAY; now += DAY / 2) upkeep.check();
  const soon = "certificate expires soon";
  assert.deepEqual(lines.splice(0), [
    `30 ${soon}`,
    `14 ${soon}`,
    `7 ${soon}`,
    `1 ${soon}`,
    "0 certificate has expired",
  ]);
  const [{ days, warning, expires, names }] = upkeep.describe(status) as [CertificateStatus];
  assert.deepEqual([days, warning, expires, names], [-1, "expired", new Date(40 * DAY).toISOString(), ["a"]]);
  upkeep.take([certificate], []);
  assert.deepEqual(lines, []);
  upkeep.take([{ ...certificate, expires: now + 10 * DAY }], []);
  assert.deepEqual(lines.splice(0), [`10 ${soon}`]);
  assert.deepEqual([upkeep.describe(status)[0]!.days, upkeep.describe(status)[0]!.warning], [10, "14 days"]);
  upkeep.take([{ ...certificate, expires: now - 1.01 * DAY }], []);
  assert.deepEqual(lines, ["-1 certificate has expired"]);
  // One that the proxy renews 30 days before expiry is late 24 days before.
  lines.splice(0);
  upkeep.take([{ ...certificate, expires: now + 29 * DAY, renewedAt: 30 }], []);
  assert.deepEqual([lines.splice(0), upkeep.describe(status)[0]!.warning], [[], null]);
  upkeep.take([{ ...certificate, expires: now + 23 * DAY, renewedAt: 30 }], []);
  assert.deepEqual(lines, [`23 ${soon}`]);
});

test("a revocation list is logged once when it has expired, and described until a newer one is used", (t) => {
  const lines: string[] = [];
  const log = { warn: ({ file }: { file: string }, text: string) => lines.push(`${file}: ${text}`) } as unknown as Log;
  let now = 0;
  const upkeep = new TlsUpkeep(new TicketKeys(TicketKeys.allocate()), log, () => now);
  t.after(() => upkeep.close());
  const list = { usedBy: "cluster app", file: "ca.crl", expires: 2 * DAY };
  upkeep.take([], [list, { ...list, file: "lasting.crl", expires: Number.POSITIVE_INFINITY }]);
  for (now = DAY; now <= 4 * DAY; now += DAY) upkeep.check();
  upkeep.take([], [list]);
  const message = "certificate revocation list has expired: all certificates of its authority are rejected";
  assert.deepEqual(lines.splice(0), [`ca.crl: ${message}`]);
  assert.deepEqual(upkeep.expiredLists(), [{ ...list, expires: new Date(2 * DAY).toISOString() }]);
  upkeep.take([], [{ ...list, expires: 9 * DAY }]);
  assert.deepEqual([lines, upkeep.expiredLists()], [[], []]);
  now = 10 * DAY;
  upkeep.check();
  assert.deepEqual(lines, [`ca.crl: ${message}`]);
});
