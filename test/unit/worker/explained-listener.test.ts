import assert from "node:assert/strict";
import { test } from "node:test";
import type { ListenerPlan } from "../../../src/plan/plan.ts";
import { findListener } from "../../../src/worker/explained-listener.ts";
import type { ExplainRequest } from "../../../src/worker/messages.ts";

const of = (name: string, address: string, protocol: ListenerPlan["protocol"] = "http", isTls = false) => ({
  plan: { name, address, protocol, tls: isTls ? ({} as NonNullable<ListenerPlan["tls"]>) : null },
});
const ALL = [
  of("dns", "udp:127.0.0.1:8080", "udp"),
  of("db", ":5432", "tcp"),
  of("secure", ":8443", "http", true),
  of("plain", "127.0.0.1:8080"),
  of("other", "127.0.0.2:8080"),
  of("any", ":9000", "auto"),
];
const find = (url: string, listener = "", all = ALL) =>
  findListener(all, { url, listener } as ExplainRequest).plan.name;

for (const [url, name] of [
  ["http://127.0.0.1:8080/", "plain"],
  ["http://127.0.0.2:8080/", "other"],
  ["http://a.example:8080/", "plain"],
  ["http://a.example:5432/", "db"],
  ["https://a.example/", "secure"],
  ["http://a.example/", "plain"],
  ["http://a.example:9000/", "any"],
  ["http://a.example:1/", "plain"],
  ["/x", "secure"],
] as const)
  test(`explain of ${url} is at ${name}`, () => assert.equal(find(url), name));

test("a name decides; there are no requests at a listener of UDP", () => {
  assert.equal(find("http://127.0.0.1:8080/", "db"), "db");
  assert.throws(() => find("/", "none"), /no listener none, expected one of dns, db, secure, plain, other, any/);
  assert.throws(() => find("/", "dns"), /the listener dns relays datagrams/);
  assert.throws(() => find("/", "", ALL.slice(0, 1)), /the listener dns relays datagrams/);
  assert.equal(find("/", "", ALL.slice(0, 2)), "db");
  assert.throws(() => find("/", "", []), /no listener/);
});
