import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Dns } from "../../../src/control/dns.ts";
import { type Lookup, Resolver } from "../../../src/control/name-resolver.ts";
import { createLog } from "../../../src/observe/log.ts";
import { until } from "./parts.ts";

function make(t: TestContext, lookup?: Lookup, timeout = 5000) {
  const changes: string[] = [];
  const dns = new Dns({ servers: [], timeout: 1000, minTtl: 1000, maxTtl: 300_000 });
  const resolver = new Resolver({
    log: createLog("silent"),
    onChange: (name) => changes.push(name),
    timeout,
    lookup: lookup ?? ((name) => dns.lookUpHost(name)),
  });
  t.after(() => resolver.close());
  return { resolver, changes };
}

test("the system's names resolve to IPv4 if possible, and text that is not a name has no address", async (t) => {
  const { resolver } = make(t);
  assert.deepEqual(await resolver.resolve("localhost"), ["127.0.0.1"]);
  assert.deepEqual(await resolver.resolve("no-such-name.invalid"), []);
  assert.match(resolver.problemOf("no-such-name.invalid") ?? "", /^E[A-Z_]+$/);
  assert.equal(resolver.problemOf("localhost"), null);
  assert.equal(resolver.counts.empty + resolver.counts.failed, 1);
});

test("a name without an address is looked up again, and its result is a change", async (t) => {
  let records: readonly string[] | null = null;
  const { resolver, changes } = make(t, async () => {
    if (records === null) throw Object.assign(new Error("no"), { code: "ENOTFOUND" });
    return { addresses: records, ttl: 60_000 };
  });
  const addresses = await resolver.resolve("later.example");
  assert.deepEqual(addresses, []);
  resolver.watch(new Map([["later.example", addresses]]));
  assert.equal(resolver.problemOf("later.example"), "ENOTFOUND");
  records = ["127.0.0.1"];
  await until(() => changes.length > 0);
  assert.deepEqual(changes, ["later.example"]);
  assert.deepEqual(await resolver.resolve("later.example"), ["127.0.0.1"]);
  assert.equal(resolver.problemOf("later.example"), null);
});

test("the last addresses stay while a name cannot be resolved", async (t) => {
  let broken = false;
  let asked = 0;
  const { resolver, changes } = make(t, async () => {
    asked++;
    if (broken) throw new Error("the server is away");
    return { addresses: ["10.0.0.1"], ttl: 1 };
  });
  const served = new Map([["a.example", await resolver.resolve("a.example")]]);
  broken = true;
  resolver.watch(served);
  await until(() => resolver.counts.failed > 0);
  assert.deepEqual(await resolver.resolve("a.example"), ["10.0.0.1"]);
  assert.deepEqual([resolver.problemOf("a.example"), changes], [null, []]);
  assert.ok(asked >= 2);
});

test("a pending lookup delays nothing, and its result is a change", async (t) => {
  const { promise, resolve } = Promise.withResolvers<{ addresses: readonly string[]; ttl: number }>();
  let asked = 0;
  const lookup: Lookup = (name) => {
    asked++;
    return name === "slow.example" ? promise : Promise.resolve({ addresses: ["10.0.0.2"], ttl: 60_000 });
  };
  const { resolver, changes } = make(t, lookup, 20);
  const names = ["slow.example", "fast.example"];
  const found = await Promise.all(names.map((name) => resolver.resolve(name)));
  assert.deepEqual(found, [[], ["10.0.0.2"]]);
  assert.equal(resolver.problemOf("slow.example"), "not resolved yet");
  assert.deepEqual(await resolver.resolve("slow.example"), []);
  assert.equal(asked, 2, "one attempt at a time");
  resolver.watch(new Map(names.map((name, i) => [name, found[i]!])));
  resolve({ addresses: ["10.0.0.1"], ttl: 60_000 });
  await until(() => changes.length > 0);
  assert.deepEqual(changes, ["slow.example"]);
});

test("a change between two versions belongs to the second", async (t) => {
  const { promise, resolve } = Promise.withResolvers<{ addresses: readonly string[]; ttl: number }>();
  const { resolver, changes } = make(t, () => promise, 1);
  const addresses = await resolver.resolve("a.example");
  resolve({ addresses: ["10.0.0.1"], ttl: 60_000 });
  await until(() => resolver.problemOf("a.example") === null);
  assert.deepEqual(changes, [], "no version serves it");
  resolver.watch(new Map([["a.example", addresses]]));
  assert.deepEqual(changes, ["a.example"]);
});
