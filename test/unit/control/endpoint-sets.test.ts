/** Endpoint sets that change without a new plan: versions, messages to workers, and the slots of their endpoints. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadConfig } from "../../../src/config/load.ts";
import type { Config, EndpointConfig } from "../../../src/config/schema.ts";
import { EndpointChanges } from "../../../src/control/endpoint-changes.ts";
import { EndpointSets } from "../../../src/control/endpoint-sets.ts";
import { rowsOf, Slots } from "../../../src/control/slots.ts";
import type { EndpointSource } from "../../../src/plan/endpoint-source.ts";
import type { ClusterPlan, EndpointSet, Plan } from "../../../src/plan/plan.ts";
import type { ToWorker } from "../../../src/worker/messages.ts";

type Posted = Extract<ToWorker, { type: "endpoints" }> & { readonly worker: number };

/** Endpoint sets with a source whose addresses the test sets, and a table of `size` rows. */
class TestSets {
  readonly addresses = new Map<string, readonly string[]>();
  readonly posted: Posted[] = [];
  readonly watched: string[] = [];
  readonly log: string[] = [];
  /** Rows in the order in which they were cleared for an endpoint. */
  readonly cleared: number[] = [];
  changes = 0;
  readonly operator = new EndpointChanges();
  workers: readonly number[] = [0, 1];
  readonly sets: EndpointSets;

  constructor(size = 4) {
    const rows = new Slots(rowsOf("endpoints", size, (row) => this.cleared.push(row)));
    const source: EndpointSource = {
      kind: "dns",
      has: () => true,
      prepare: async () => undefined,
      endpoints: ({ address, weight }) =>
        (this.addresses.get(address.host) ?? []).map((host) => ({ host, port: address.port, path: "", weight })),
      watch: (entries) => void this.watched.splice(0, Number.POSITIVE_INFINITY, ...entries.map(hostOf)),
      describe: () => ({ kind: "dns", resolvedAt: 1, nextAt: 2, problem: null }),
    };
    this.sets = new EndpointSets({
      sources: [source],
      log: {
        info: (fields: object, message: string) => this.log.push(`${message} ${JSON.stringify(fields)}`),
        error: (fields: object, message: string) => this.log.push(`${message} ${JSON.stringify(fields)}`),
      } as never,
      memory: {
        endpoint: (owner, cluster, address) => ({ slot: rows.acquire(owner, `${cluster} ${address}`), cells: 0 }),
        release: (owner) => rows.release(owner),
      },
      changes: this.operator,
      workersOf: () => this.workers,
      post: (worker, message) => this.posted.push({ ...(message as Posted), worker }),
      onChange: () => this.changes++,
    });
  }

  /** A built plan, not in service yet. */
  build(version: number, ...clusters: readonly string[]): Plan {
    const plans = configOf(clusters).clusters.map((config) => {
      return { name: config.name, set: this.sets.build(version, config) } as ClusterPlan;
    });
    const plan = { version, clusters: plans } as unknown as Plan;
    this.sets.follow(plan);
    return plan;
  }

  serve(version: number, ...clusters: readonly string[]): Plan {
    const plan = this.build(version, ...clusters);
    this.sets.commit(plan);
    return plan;
  }

  resolve(host: string, ...addresses: readonly string[]): void {
    this.addresses.set(host, addresses);
    this.sets.changed(host);
  }
}

const hostOf = ({ address }: EndpointConfig): string => address.host;
const slotsOf = ({ endpoints }: EndpointSet): number[] => endpoints.map(({ slot }) => slot);
const hostsOf = ({ endpoints }: EndpointSet): string[] => endpoints.map(({ host }) => host);

/** Each cluster has one endpoint, `CLUSTER.example:80`. */
function configOf(clusters: readonly string[]): Config {
  const entries = clusters.map((name) => `  ${name}: ["${name}.example:80"]`).join("\n");
  const text = `listeners: { web: { address: ":80", cluster: ${clusters[0]} } }\nclusters:\n${entries}\n`;
  const { config, problems } = loadConfig(text, { file: "/sluice.yaml", env: {} });
  assert.deepEqual(problems, []);
  return config!;
}

test("a change of a name gives its cluster a new set, which is posted to each worker of the plan", () => {
  const site = new TestSets();
  site.addresses.set("a.example", ["10.0.0.1"]).set("b.example", ["10.0.0.9"]);
  const { clusters } = site.serve(1, "a", "b");
  const [a, b] = clusters as [ClusterPlan, ClusterPlan];
  assert.deepEqual([a.set.version, hostsOf(a.set), site.posted], [1, ["10.0.0.1"], []]);
  assert.deepEqual(site.watched, ["a.example", "b.example"]);

  site.resolve("a.example", "10.0.0.1", "10.0.0.2");
  assert.deepEqual([a.set.version, hostsOf(a.set), b.set.version], [2, ["10.0.0.1", "10.0.0.2"], 1]);
  assert.deepEqual(
    site.posted.map(({ worker, version, cluster, set }) => [worker, version, cluster, set === a.set]),
    [
      [0, 1, 0, true],
      [1, 1, 0, true],
    ],
  );
  assert.equal(site.changes, 1);
  assert.match(site.log[0]!, /^endpoint set changed .*"cluster":"a","set":2,"endpoints":2,"added":1,"removed":0/);

  site.resolve("a.example", "10.0.0.1", "10.0.0.2");
  assert.deepEqual([a.set.version, site.posted.length, site.changes], [2, 2, 1], "the same addresses are no change");
  const status = site.sets.describe("a")!;
  assert.deepEqual([status.sources[0]?.address, status.sources[0]?.endpoints], ["a.example:80", 2]);
  assert.equal(site.sets.describe("none"), null);
});

test("a removed endpoint's slot is reused only after the last worker has released the old set", () => {
  const site = new TestSets(2);
  site.addresses.set("a.example", ["10.0.0.1", "10.0.0.2"]);
  const [a] = site.serve(1, "a").clusters as [ClusterPlan];
  assert.deepEqual(slotsOf(a.set), [0, 1]);
  site.resolve("a.example", "10.0.0.1");
  assert.deepEqual(slotsOf(a.set), [0], "an endpoint keeps its slot");
  const { replaced } = site.posted[0]!;

  site.resolve("a.example", "10.0.0.1", "10.0.0.3");
  assert.match(site.log.at(-1)!, /^endpoint set rejected, keeping the current one .*more than 2 endpoints/);
  assert.deepEqual([hostsOf(a.set), a.set.version], [["10.0.0.1"], 2]);
  site.sets.receive(0, replaced);
  site.sets.receive(0, replaced);
  site.sets.changed("a.example");
  assert.deepEqual(hostsOf(a.set), ["10.0.0.1"], "worker 1 may still use slot 1");
  site.sets.receive(1, replaced);
  site.sets.changed("a.example");
  assert.deepEqual(
    [hostsOf(a.set), slotsOf(a.set)],
    [
      ["10.0.0.1", "10.0.0.3"],
      [0, 1],
    ],
  );
  assert.deepEqual(site.cleared, [0, 1, 1], "a reused row is cleared");
});

test("the end of a worker releases what it used", () => {
  const site = new TestSets(1);
  site.addresses.set("a.example", ["10.0.0.1"]);
  const [a] = site.serve(1, "a").clusters as [ClusterPlan];
  site.resolve("a.example");
  site.sets.receive(0, site.posted[0]!.replaced);
  site.resolve("a.example", "10.0.0.2");
  assert.deepEqual(hostsOf(a.set), []);
  site.sets.forget(1);
  site.sets.changed("a.example");
  assert.deepEqual([hostsOf(a.set), slotsOf(a.set)], [["10.0.0.2"], [0]]);
  site.workers = [];
  site.resolve("a.example");
  site.resolve("a.example", "10.0.0.3");
  assert.deepEqual(slotsOf(a.set), [0], "without a worker it is free at once");
});

test("a change while a plan is prepared reaches the plan in service and the prepared one", () => {
  const site = new TestSets(8);
  site.addresses.set("a.example", ["10.0.0.1"]);
  const [old] = site.serve(1, "a").clusters as [ClusterPlan];
  const prepared = site.build(2, "a");
  const [next] = prepared.clusters as [ClusterPlan];
  assert.deepEqual([next.set.version, slotsOf(next.set)], [1, [0]], "equal sets have one version and one slot");

  site.resolve("a.example", "10.0.0.2");
  assert.deepEqual([hostsOf(old.set), hostsOf(next.set)], [["10.0.0.2"], ["10.0.0.2"]]);
  assert.deepEqual([old.set.version, next.set.version], [2, 2]);
  assert.deepEqual(
    site.posted.map(({ worker, version }) => [version, worker]),
    [
      [1, 0],
      [1, 1],
      [2, 0],
      [2, 1],
    ],
  );
  assert.equal(site.changes, 1, "only the plan in service is reported");

  site.sets.commit(prepared);
  site.posted.length = 0;
  site.resolve("a.example", "10.0.0.3");
  assert.deepEqual(hostsOf(old.set), ["10.0.0.2"], "requests on the replaced plan finish with its set");
  assert.deepEqual(
    site.posted.map(({ version }) => version),
    [2, 2],
  );
});

test("a name that is resolved between the build and the commit of a plan is updated by the commit", () => {
  const site = new TestSets();
  const plan = site.build(1, "a");
  const [a] = plan.clusters as [ClusterPlan];
  site.addresses.set("a.example", ["10.0.0.1"]);
  site.sets.commit(plan);
  assert.deepEqual([hostsOf(a.set), a.set.version, site.posted.length], [["10.0.0.1"], 2, 2]);
});

test("a plan that was rejected or replaced gives its slots back, those of its replaced sets included", () => {
  const site = new TestSets(2);
  site.addresses.set("a.example", ["10.0.0.1"]).set("b.example", ["10.0.0.8"]).set("c.example", ["10.0.0.9"]);
  site.serve(1, "a");
  site.build(2, "a", "b");
  assert.throws(() => site.build(3, "c"), /more than 2 endpoints/);
  site.sets.release(3);
  site.sets.release(2);
  const [, c] = site.serve(4, "a", "c").clusters as [ClusterPlan, ClusterPlan];
  assert.deepEqual(slotsOf(c.set), [1]);

  site.resolve("c.example");
  site.sets.release(1);
  site.sets.release(4);
  const last = site.serve(5, "b", "c");
  assert.deepEqual(
    last.clusters.map(({ set }) => slotsOf(set).length),
    [1, 0],
  );
  assert.equal(last.clusters[1]!.set.version, 2, "the version counts on while the cluster exists");
  const old = site.posted[0]!.replaced;
  site.sets.receive(0, old);
  site.sets.receive(1, old);
  assert.equal(site.sets.describe("a"), null);
});

test("changes of the admin interface are new sets, and outlive new addresses and plans", () => {
  const test = new TestSets(8);
  const { operator, sets } = test;
  test.addresses.set("a.example", ["10.0.0.1", "10.0.0.2"]);
  test.serve(1, "a");
  const listed = (set: EndpointSet) => set.endpoints.map(({ address, weight }) => `${address} ${weight}`);
  const update = () => {
    sets.update(({ name }) => name === "a");
    return listed(test.posted.at(-1)!.set);
  };
  const [first, second, added] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.9:80"] as const;
  operator.change("a", first, { weight: 5 });
  assert.deepEqual(update(), [`${first} 5`, `${second} 1`]);
  operator.add("a", { address: added, host: "10.0.0.9", port: 80, path: "", weight: 2, zone: "" });
  operator.remove("a", second);
  assert.deepEqual(update(), [`${first} 5`, `${added} 2`]);
  operator.change("a", added, { state: "draining" });
  assert.deepEqual([operator.statesOf("a")?.get(added)?.state, operator.statesOf("b")], ["draining", null]);

  test.resolve("a.example", "10.0.0.2", "10.0.0.3", "10.0.0.1");
  assert.deepEqual(listed(test.posted.at(-1)!.set), ["10.0.0.3:80 1", `${first} 5`, `${added} 2`]);
  assert.deepEqual(listed(test.serve(2, "a").clusters[0]!.set), ["10.0.0.3:80 1", `${first} 5`, `${added} 2`]);

  operator.remove("a", added);
  operator.add("a", { address: second, host: "10.0.0.2", port: 80, path: "", weight: 7, zone: "" });
  assert.deepEqual(update(), [`${second} 7`, "10.0.0.3:80 1", `${first} 5`]);
  assert.equal(operator.statesOf("a")?.get(added), undefined);
  test.serve(3, "b");
  assert.equal(operator.statesOf("a"), null, "a cluster that is gone");
});

test("the changes of a cluster are bounded", () => {
  const operator = new EndpointChanges();
  for (let i = 0; i < 1000; i++) operator.change("a", String(i), { weight: 1 });
  operator.change("a", "0", { weight: 2 });
  assert.throws(() => operator.change("a", "1000", { weight: 1 }), /the cluster a has 1000 changed endpoints already/);
  operator.change("b", "1000", { weight: 1 });
});
