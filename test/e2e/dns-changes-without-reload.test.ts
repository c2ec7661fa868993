/**
 * dns-changes-without-reload: DNS records change the endpoints of a running cluster; no request
 * fails for it, no version is created, no guest is started, and failed lookups change nothing.
 */
import assert from "node:assert/strict";
import { createServer, get, type IncomingMessage, type ServerResponse } from "node:http";
import { DnsServer } from "../support/dns-server.ts";
import { startClients } from "./load.ts";
import { atEnd, type LiveTest, type Program, startSluice, testInUsualMode, until } from "./program.ts";

const NAME = "app.test";

/** Endpoints at several loopback addresses with one port, which respond with `ok`. */
async function startEndpoints(t: LiveTest, hosts: readonly string[]) {
  const seen = new Map<string, number>();
  const held: ServerResponse[] = [];
  let port = 0;
  const servers = new Map<string, ReturnType<typeof createServer>>();
  for (const host of hosts) {
    const server = createServer((request, response) => {
      seen.set(host, (seen.get(host) ?? 0) + 1);
      if (request.url === "/held") held.push(response);
      else response.end("ok");
    });
    await new Promise<void>((resolve) => server.listen(port, host, resolve));
    port = (server.address() as { port: number }).port;
    servers.set(host, server);
  }
  const close = (host: string) => {
    servers.get(host)!.closeAllConnections();
    servers.get(host)!.close();
  };
  atEnd(t, () => hosts.map(close));
  return { port, seen, held, close };
}

async function start(t: LiveTest, port: number, addresses: readonly string[]) {
  const dns = await new DnsServer().start();
  atEnd(t, () => dns.close());
  dns.zone.addresses.set(NAME, addresses);
  const sluice = await startSluice(
    t,
    ({ web }) => `resolver: { servers: ["${dns.address}"], timeout: 200ms, minTtl: 100ms }
listeners:
  web:
    address: 127.0.0.1:${web}
    routes:
      - { match: { prefix: /service }, cluster: service }
      - { cluster: app }
clusters:
  app:
    endpoints: ["${NAME}:${port}"]
    health: { active: { tcp: true, interval: 200ms, timeout: 100ms } }
  service: { strategy: round-robin, endpoints: ["srv:_http._tcp.test"] }
`,
  );
  return { dns, sluice };
}

async function clusterOf(sluice: Program, name = "app") {
  const clusters = JSON.parse((await sluice.ask("/api/v1/clusters")).text);
  return clusters.find((cluster: { name: string }) => cluster.name === name);
}

async function hostsOf(sluice: Program, name = "app"): Promise<string[]> {
  const { endpoints } = await clusterOf(sluice, name);
  return endpoints.map(({ address }: { address: string }) => address.replace(/:\d+$/, ""));
}

async function waitForHosts(sluice: Program, hosts: readonly string[], name = "app"): Promise<void> {
  await until(async () => (await hostsOf(sluice, name)).join() === hosts.join(), `${name} has ${hosts}`);
}

function ask(url: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => get(url, { agent: false }, resolve).on("error", reject));
}

const [A, B, C] = ["127.0.1.1", "127.0.1.2", "127.0.1.3"];

testInUsualMode("addresses are added and removed under load, and DNS failures change nothing", async (t) => {
  const { port, seen, held } = await startEndpoints(t, [A, B, C]);
  const { dns, sluice } = await start(t, port, [A]);
  const configures = () => sluice.metric("sluice_plugin_calls_total", { hook: "configure" });
  const [begun, guests] = [await configures(), await sluice.metric("sluice_plugin_guests")];
  const load = startClients(t, sluice.url);

  // A request in flight at a removed endpoint completes.
  const slow = ask(`${sluice.url}/held`);
  await until(() => held.length === 1, "the request is held");
  await waitForHosts(sluice, [A]);
  dns.zone.addresses.set(NAME, [B, C]);
  await waitForHosts(sluice, [B, C]);
  await until(() => (seen.get(B) ?? 0) > 0 && (seen.get(C) ?? 0) > 0, "both new ones get requests");
  const before = seen.get(A);
  held[0]!.end("held");
  const response = await slow;
  assert.deepEqual([response.statusCode, Buffer.concat(await response.toArray()).toString()], [200, "held"]);
  assert.equal(seen.get(A), before, "the removed endpoint gets no new request");
  await until(async () => {
    const { text } = await sluice.ask("/metrics");
    return !text.includes(`endpoint="${A}:${port}"`) && text.includes(`endpoint="${B}:${port}"`);
  }, "the series of the removed endpoint are gone");
  const { endpoints } = await clusterOf(sluice);
  assert.deepEqual(endpoints.length, 2);
  await until(
    async () => (await clusterOf(sluice)).endpoints.every(({ state }: { state: string }) => state === "healthy"),
    "the new ones are checked",
  );

  // Many times under load, in all combinations.
  for (const hosts of [[A], [A, B], [C], [A, B, C], [B]]) {
    dns.zone.addresses.set(NAME, hosts);
    await waitForHosts(sluice, hosts);
  }

  // Neither a response without addresses, nor an error, nor a timeout removes endpoints.
  const attempts = (result: string) => sluice.metric("sluice_resolutions_total", { result });
  for (const fail of [
    () => dns.zone.addresses.delete(NAME),
    () => dns.zone.addresses.set(NAME, []),
    () => Object.assign(dns.zone, { failure: "servfail" }),
    () => Object.assign(dns.zone, { failure: "silent" }),
  ]) {
    const failed = (await attempts("empty")) + (await attempts("failed"));
    fail();
    await until(async () => (await attempts("empty")) + (await attempts("failed")) > failed, "an attempt has failed");
    assert.deepEqual(await hostsOf(sluice), [B]);
    if (dns.zone.failure === "silent") break;
    const resolved = await attempts("resolved");
    Object.assign(dns.zone, { failure: null }).addresses.set(NAME, [B]);
    await until(async () => (await attempts("resolved")) > resolved, "the name is resolved again");
  }
  const [source] = (await clusterOf(sluice)).sources;
  assert.match(source.problem, /^E[A-Z]+$/);
  assert.deepEqual([source.kind, source.endpoints, source.address], ["dns", 1, `${NAME}:${port}`]);
  await sluice.logged(({ msg, name }) => msg === "name cannot be resolved" && name === NAME, "the failure");
  Object.assign(dns.zone, { failure: null, ttl: 3 }).addresses.set(NAME, [A, C]);
  await waitForHosts(sluice, [A, C]);
  const { problem, resolvedAt, nextAt } = (await clusterOf(sluice)).sources[0];
  const wait = Date.parse(nextAt) - Date.parse(resolvedAt);
  assert.equal(problem, null);
  // A few ms by which two clocks may differ.
  assert.ok(wait >= 2990 && wait <= 3310, `it is resolved again after its time to live and a tenth: ${wait} ms`);

  assert.ok((await load.stop()) > 0);
  assert.equal(await configures(), begun, "no guest was configured");
  await sluice.metricIs(guests, "sluice_plugin_guests");
  assert.equal((await sluice.status()).version, 1);
  await sluice.metricIs(1, "sluice_config_reloads_total");
});

testInUsualMode(
  "SRV records have ports, weights and priorities, and 500 addresses become an endpoint each",
  async (t) => {
    const [one, two] = [await startEndpoints(t, [A]), await startEndpoints(t, [B])];
    const { dns, sluice } = await start(t, one.port, [A]);
    assert.equal((await ask(`${sluice.url}/service`)).statusCode, 503, "a service that is not known yet");
    dns.zone.addresses.set("one.test", [A]);
    dns.zone.addresses.set("two.test", [B]);
    const target = { priority: 10, weight: 30_000, port: one.port, name: "one.test" };
    const other = { priority: 10, weight: 10_000, port: two.port, name: "two.test" };
    dns.zone.services.set("_http._tcp.test", [target, other, { ...other, priority: 20, port: 1 }]);
    await waitForHosts(sluice, [A, B], "service");
    const { endpoints } = await clusterOf(sluice, "service");
    const shown = endpoints.map(({ address, weight }: { address: string; weight: number }) => [address, weight]);
    assert.deepEqual(shown, [
      [`${A}:${one.port}`, 1000],
      [`${B}:${two.port}`, 333],
    ]);
    for (let i = 0; i < 40; i++) assert.equal((await ask(`${sluice.url}/service`)).statusCode, 200);
    assert.ok(Math.abs((one.seen.get(A) ?? 0) - 30) <= 1, `by weight: ${one.seen.get(A)} of 40`);

    // The targets of a higher number serve when those of the lowest have no address.
    dns.zone.services.set("_http._tcp.test", [
      { ...target, name: "gone.test" },
      { ...other, priority: 20 },
    ]);
    await waitForHosts(sluice, [B], "service");

    const many = Array.from({ length: 500 }, (_, i) => `127.0.${2 + Math.floor(i / 250)}.${1 + (i % 250)}`).sort();
    dns.zone.addresses.set(NAME, many);
    await until(async () => (await hostsOf(sluice)).length === 500, "500 endpoints");
    assert.deepEqual(await hostsOf(sluice), many);
    dns.zone.addresses.set(NAME, [A]);
    await waitForHosts(sluice, [A]);
    await until(async () => (await ask(sluice.url)).statusCode === 200, "the one is healthy");
    assert.equal((await sluice.status()).version, 1);
    const { set } = await clusterOf(sluice);
    assert.ok(set.version >= 3);
  },
);
