import assert from "node:assert/strict";
import { test } from "node:test";
import { Cluster } from "../../../src/cluster/cluster.ts";
import { EndpointColumns, HEALTH } from "../../../src/cluster/columns.ts";
import { Endpoint } from "../../../src/cluster/endpoint.ts";
import type { EndpointView } from "../../../src/cluster/endpoint-view.ts";
import type { ClusterPlan, EndpointPlan } from "../../../src/plan/plan.ts";
import type { Instance } from "../../../src/plugin/host/instance.ts";
import { Exchange } from "../../../src/proxy/exchange.ts";

function endpointPlan(slot: number): EndpointPlan {
  return {
    address: `127.0.0.1:${9000 + slot}`,
    host: "127.0.0.1",
    port: 9000 + slot,
    path: "",
    weight: 1,
    zone: "",
    slot,
    cells: 0,
  };
}

function makeCluster(pick: (view: EndpointView) => number, connections = 0, endpoints = 3) {
  const columns = EndpointColumns.allocate(1);
  const plan: ClusterPlan = {
    name: "app",
    key: "app",
    tls: null,
    proxyProtocol: null,
    strategies: [{ name: "test", instance: 0 }],
    set: { version: 1, endpoints: Array.from({ length: endpoints }, (_, slot) => endpointPlan(slot)) },
    protocol: "http1",
    timeouts: { connect: 1, response: 1, idle: 1, ping: 5000, tunnel: 1 },
    limits: { head: 65536, headers: 256 },
    pool: { idle: 1, idleFor: 1, connections, requests: 0, age: 0 },
    retryCell: 0,
    check: null,
    passive: null,
  };
  let updates = 0;
  const strategy: Instance = {
    index: 0,
    plugin: "test",
    hooks: 0,
    bodyLimit: 0,
    refusesTooLarge: true,
    mayChoose: () => true,
    call: () => 0,
    update: () => {
      updates++;
      return true;
    },
    pick: (_exchange, view) => pick(view as EndpointView),
  };
  const members = plan.set.endpoints.map((endpoint) => ({ endpoint: new Endpoint(endpoint), connector: null }));
  const cluster = new Cluster(0, plan, { strategies: [strategy], members, columns });
  return { cluster, columns, updates: () => updates };
}

test("the strategy's pick is used", () => {
  const { cluster } = makeCluster(() => 2);
  assert.equal(cluster.pick(new Exchange(), 0)?.slot, 2);
});

test("a pick outside the given endpoints is ignored, and the host picks", () => {
  for (const picked of [-1, -2, 3, 1_000_000, -2147483648]) {
    const { cluster } = makeCluster(() => picked);
    const slot = cluster.pick(new Exchange(), 0)?.slot;
    assert.ok(slot !== undefined && slot >= 0 && slot <= 2, `pick ${picked} gave slot ${slot}`);
  }
});

test("a strategy never sees an endpoint that is unhealthy, tried, or full", () => {
  const seen: number[][] = [];
  const note = (view: EndpointView) => {
    seen.push(view.list.slice(0, view.count).map((endpoint) => endpoint.slot));
    return 0;
  };
  const { cluster, columns } = makeCluster(note, 1);
  columns.health[0] = HEALTH.unhealthy;
  columns.bumpEpoch();
  cluster.pick(new Exchange(), 0);
  const retried = new Exchange();
  retried.tried.push(1);
  cluster.pick(retried, 0);
  columns.addInFlight(0, 2, 1);
  cluster.pick(new Exchange(), 0);
  assert.deepEqual(seen, [[1, 2], [2], [1]]);
  assert.equal(cluster.pick(retried, 0), null, "no endpoint is left");
});

test("the eligible set is recomputed when the epoch changes, not for each request", () => {
  const { cluster, columns, updates } = makeCluster(() => 0);
  for (let i = 0; i < 5; i++) cluster.pick(new Exchange(), 0);
  assert.equal(updates(), 1);
  columns.bumpEpoch();
  cluster.pick(new Exchange(), 0);
  assert.equal(updates(), 2);
});

test("the cost of excluding tried endpoints does not depend on the number of endpoints", () => {
  const looks = (endpoints: number, tried: number): number => {
    const { cluster } = makeCluster(() => 0, 0, endpoints);
    const exchange = new Exchange();
    let count = 0;
    const list = Array.from({ length: tried }, (_, slot) => slot);
    const get = (target: number[], key: string | symbol) => {
      count++;
      return Reflect.get(target, key);
    };
    const watched = new Proxy(list, { get });
    Object.defineProperty(exchange, "tried", { value: watched });
    assert.equal(cluster.pick(exchange, 0)!.slot, tried);
    assert.equal(cluster.pick(new Exchange(), 0)!.slot, 0, "another exchange has tried nothing");
    return count;
  };
  assert.equal(looks(1000, 500), looks(501, 500));
  assert.ok(looks(1000, 500) <= 5 * 500);
});

test("another endpoint is available while one is neither the current one, nor tried, nor unhealthy", () => {
  const { cluster, columns } = makeCluster(() => 0);
  const exchange = new Exchange();
  exchange.endpoint = cluster.pick(exchange, 0);
  assert.equal(cluster.hasOther(exchange), true);
  exchange.tried.push(1);
  columns.health[2] = HEALTH.unhealthy;
  columns.bumpEpoch();
  exchange.endpoint = cluster.pick(exchange, 0);
  assert.equal(exchange.endpoint?.slot, 0);
  assert.equal(cluster.hasOther(exchange), false);
});
