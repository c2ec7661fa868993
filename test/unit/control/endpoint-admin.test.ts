/** Changes of endpoints by the admin interface; with the program: test/e2e/status-shows-where-requests-go.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EndpointAdmin } from "../../../src/control/endpoint-admin.ts";
import { EndpointChanges } from "../../../src/control/endpoint-changes.ts";
import type { ClusterPlan, EndpointPlan, Plan } from "../../../src/plan/plan.ts";

function start({ hasRoom = true } = {}) {
  const changes = new EndpointChanges();
  const cluster = { name: "app", set: { version: 1, endpoints: [] } } as unknown as ClusterPlan;
  const lines: object[] = [];
  const admin = new EndpointAdmin({
    plan: () => ({ clusters: [cluster] }) as unknown as Plan,
    changes,
    update: (name) => {
      if (hasRoom) cluster.set = { version: 2, endpoints: changes.apply(name, []) as EndpointPlan[] };
    },
    log: { info: (fields: object) => void lines.push(fields) } as never,
  });
  const add = (address: unknown) => admin.call({ method: "POST", cluster: "app", address: "", body: { address } });
  return { admin, add, cluster, changes, lines };
}

test("addresses are numeric, with a port, and have one spelling", () => {
  const { add, cluster, lines } = start();
  assert.deepEqual(add("127.0.0.1:9001"), { status: 201, address: "127.0.0.1:9001" });
  assert.deepEqual(add("[::1]:9001"), { status: 201, address: "[::1]:9001" });
  assert.deepEqual(
    cluster.set.endpoints.map(({ host, port }) => [host, port]),
    [
      ["127.0.0.1", 9001],
      ["::1", 9001],
    ],
  );
  assert.equal(lines.length, 2);
  for (const address of [
    "a:1",
    "127.0.0.1",
    "127.0.0.1:0",
    ":80",
    "unix:/a",
    "srv:_http._tcp.a",
    "1.2.3:80",
    "",
    5,
    null,
  ])
    assert.equal(add(address).status, 400, JSON.stringify(address));
});

test("an addition without room is undone", () => {
  const { add, changes, lines } = start({ hasRoom: false });
  const result = add("127.0.0.1:9001");
  assert.deepEqual(result, {
    status: 409,
    problem: "the cluster app cannot have another endpoint, the log has the reason",
  });
  assert.deepEqual([changes.apply("app", []), lines], [[], []]);
});

test("an added endpoint that the configuration has got meanwhile can be removed", () => {
  const changes = new EndpointChanges();
  const endpoint = { address: "127.0.0.1:9001", host: "127.0.0.1", port: 9001, path: "", weight: 1, zone: "" };
  changes.add("app", endpoint);
  assert.deepEqual(changes.apply("app", [endpoint]), [endpoint]);
  changes.remove("app", endpoint.address);
  assert.deepEqual(changes.apply("app", [endpoint]), []);
  changes.add("app", endpoint);
  assert.deepEqual(changes.apply("app", []), [endpoint]);
});
