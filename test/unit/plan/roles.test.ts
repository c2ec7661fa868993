/** Each use of a plugin is checked at its own place, for its own role. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK, type Hook } from "../../../src/abi/abi.ts";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";
import { checkRoles } from "../../../src/plan/roles.ts";

const module = (...hooks: Hook[]) => ({ info: { hooks: hooks.reduce((all, hook) => all | (1 << HOOK[hook]), 0) } });
const plugin = (...hooks: Hook[]) => ({ declared: {}, canary: null, module: module(...hooks) });

type Plugins = Parameters<typeof checkRoles>[1];
type Plugin = NonNullable<ReturnType<Plugins["get"]>>;

function check(listeners: string, plugins: Plugins): string[] {
  const text = `plugins: { both: { wasm: a }, head: { wasm: a } }
listeners:
${listeners}
clusters: { app: ["127.0.0.1:1"] }
`;
  const { readable } = loadConfig(text, { file: "s", env: {} });
  return checkRoles(readable!, plugins).problems.map(formatProblem);
}

const PLUGINS: Plugins = new Map<string, Plugin>([
  ["both", plugin("connection", "request_head")],
  ["head", plugin("request_head")],
  ["request-id", { ...plugin("request_head", "response_head"), declared: null }],
  ["random", { ...plugin("pick"), declared: null }],
]);

test("a filter of requests in listeners of TCP and UDP is reported at each, though others use it rightly", () => {
  const instead =
    "without a plugin: `allow`, `deny` and `limits` of the listener (`connectionsPerClient`, `connectionRatePerClient`)";
  const problem = `head is not a filter of connections: its hooks are request_head, expected connection; ${instead}`;
  const listeners = `  web: { address: ":1", chain: [head, both, request-id], cluster: app }
  db: { address: ":2", protocol: tcp, chain: [both, head], cluster: app }
  any: { address: ":3", protocol: auto, chain: [head], cluster: app }
  dns: { address: ":4", protocol: udp, chain: [head], cluster: app }
  id: { address: ":5", protocol: tcp, chain: [request-id], cluster: app }`;
  assert.deepEqual(check(listeners, PLUGINS), [
    `s:4:53: listeners.db.chain.1: ${problem}`,
    `s:6:48: listeners.dns.chain.0: ${problem}`,
    `s:7:47: listeners.id.chain.0: request-id is not a filter of connections: its hooks are request_head, response_head, expected connection; ${instead}`,
  ]);
});

test("each version of a plugin is checked, and one message is enough; a built-in of another kind has its own", () => {
  const pair = { ...plugin("request_head"), canary: { module: module("pick") } };
  const found = check(
    '  web: { address: ":1", chain: [head, random], cluster: app }',
    new Map<string, Plugin>([...PLUGINS, ["head", pair]]),
  );
  assert.equal(found.length, 1);
  assert.match(found[0]!, /^s:3:33: listeners\.web\.chain\.0: head is not a filter: its hooks are pick, expected /);
});
