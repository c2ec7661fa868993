/** DNS queries for hosts and services, to a server on loopback. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Address } from "../../../src/config/schema.ts";
import { Dns, type DnsSettings } from "../../../src/control/dns.ts";
import { DnsServer } from "../../support/dns-server.ts";

async function start(t: TestContext, settings: Partial<DnsSettings> = {}): Promise<{ dns: Dns; server: DnsServer }> {
  const server = await new DnsServer().start();
  const dns = new Dns(settingsFor(server, settings));
  t.after(() => {
    dns.close();
    server.close();
  });
  return { dns, server };
}

function settingsFor(server: DnsServer, more: Partial<DnsSettings> = {}): DnsSettings {
  const servers = [{ text: server.address } as Address];
  return { servers, timeout: 100, minTtl: 1000, maxTtl: 60_000, ...more };
}

test("a host has its IPv4 addresses, sorted and once each, else its IPv6 addresses", async (t) => {
  const { dns, server } = await start(t);
  const { zone } = server;
  zone.ttl = 7;
  zone.addresses.set("both.example", ["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2"]).set("six.example", ["fd00::6"]);
  assert.deepEqual(await dns.lookUpHost("both.example"), { addresses: ["10.0.0.1", "10.0.0.2"], ttl: 7000 });
  assert.deepEqual(await dns.lookUpHost("six.example"), { addresses: ["fd00::6"], ttl: 7000 });
  await assert.rejects(dns.lookUpHost("none.invalid"), { code: "ENOTFOUND" });
});

test("the time to live is limited to minTtl and maxTtl", async (t) => {
  const { dns, server } = await start(t, { minTtl: 5000, maxTtl: 10_000 });
  server.zone.addresses.set("a.example", ["10.0.0.1"]);
  for (const [seconds, expected] of [
    [0, 5000],
    [5, 5000],
    [8, 8000],
    [3600, 10_000],
  ] as const) {
    server.zone.ttl = seconds;
    assert.equal((await dns.lookUpHost("a.example")).ttl, expected, `${seconds} s`);
  }
});

test("a failing server is an error: neither IPv6 nor the system's resolver is tried", async (t) => {
  const { dns, server } = await start(t);
  server.zone.addresses.set("localhost", ["10.0.0.1"]);
  server.zone.failure = "servfail";
  await assert.rejects(dns.lookUpHost("localhost"), { code: "ESERVFAIL" });
  server.zone.failure = "silent";
  await assert.rejects(dns.lookUpHost("localhost"), { code: "ETIMEOUT" });
});

test("a name that the servers do not know is looked up in the system", async (t) => {
  const { dns } = await start(t);
  assert.deepEqual((await dns.lookUpHost("localhost")).addresses, ["127.0.0.1"]);
});

test("changed settings apply to the next query; equal ones change nothing", async (t) => {
  const { dns, server } = await start(t);
  const other = await new DnsServer().start();
  t.after(() => other.close());
  server.zone.addresses.set("a.example", ["10.0.0.1"]);
  other.zone.addresses.set("a.example", ["10.0.0.2"]);
  assert.equal(dns.configure(settingsFor(server)), false);
  assert.deepEqual((await dns.lookUpHost("a.example")).addresses, ["10.0.0.1"]);
  assert.equal(dns.configure(settingsFor(other)), true);
  assert.deepEqual((await dns.lookUpHost("a.example")).addresses, ["10.0.0.2"]);
});

test("a service has the addresses of its targets, with port and weight, by the lowest priority that has any", async (t) => {
  const { dns, server } = await start(t);
  const { zone } = server;
  zone.ttl = 9;
  zone.services.set("_http._tcp.example", [
    { priority: 1, weight: 1, port: 1, name: "absent.invalid" },
    { priority: 10, weight: 0, port: 8080, name: "one.example" },
    { priority: 10, weight: 4000, port: 81, name: "two.example" },
    { priority: 20, weight: 5, port: 80, name: "spare.example" },
  ]);
  zone.addresses.set("one.example", ["10.0.0.2", "10.0.0.1"]).set("two.example", ["10.0.0.1"]);
  zone.addresses.set("spare.example", ["10.0.0.9"]);
  assert.deepEqual(await dns.lookUpService("_http._tcp.example"), {
    addresses: [
      { host: "10.0.0.1", port: 81, weight: 1000 },
      { host: "10.0.0.1", port: 8080, weight: 1 },
      { host: "10.0.0.2", port: 8080, weight: 1 },
    ],
    ttl: 9000,
  });
  zone.addresses.delete("one.example");
  zone.addresses.delete("two.example");
  const { addresses } = await dns.lookUpService("_http._tcp.example");
  assert.deepEqual(addresses, [{ host: "10.0.0.9", port: 80, weight: 5 }]);
  zone.addresses.delete("spare.example");
  await assert.rejects(dns.lookUpService("_http._tcp.example"), { code: "ENOTFOUND" });
});

test("a service whose target cannot be queried is an error, instead of a move to a lower priority", async (t) => {
  const { dns, server } = await start(t);
  const { zone } = server;
  zone.services.set("_x._tcp.example", [
    { priority: 1, weight: 1, port: 80, name: "first.example" },
    { priority: 2, weight: 1, port: 80, name: "second.example" },
  ]);
  zone.addresses.set("second.example", ["10.0.0.2"]).set("first.example", ["10.0.0.1"]);
  zone.failing = new Set(["first.example"]);
  await assert.rejects(dns.lookUpService("_x._tcp.example"), { code: "ESERVFAIL" });
  zone.failing.clear();
  assert.deepEqual((await dns.lookUpService("_x._tcp.example")).addresses, [{ host: "10.0.0.1", port: 80, weight: 1 }]);
});
