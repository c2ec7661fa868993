/** Permissions for namespaces of the key-value store, also with guessed numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK, IMPORTS, STATUS } from "../../../../../src/abi/abi.ts";
import { CallContext, type Configuration } from "../../../../../src/plugin/abi/call-context.ts";
import { makeImports } from "../../../../../src/plugin/abi/native/imports.ts";
import { PluginHost } from "../../../../../src/plugin/host/host.ts";
import { KeyValueStore } from "../../../../../src/state/store.ts";
import { buildFixture, planOf } from "../../kit.ts";

const OWN = 3;
const store = new KeyValueStore(KeyValueStore.allocate(1024 * 1024), 0);

function configure(keyValue: KeyValueStore | undefined): Configuration {
  const host = new PluginHost({
    cells: new Float64Array(10_000),
    report: () => undefined,
    ...(keyValue !== undefined && { keyValue }),
  });
  const plan = planOf({ namespaces: [{ name: "own", number: OWN }] });
  return host.prepare({ modules: [buildFixture("no-op")], instances: [plan], clusters: [], strategies: [] })
    .instances[0]!.configuration;
}

/** Every call that names a namespace, with a valid key, value and output; the result of each. */
function callAll(namespace: number, hook: number, configuration: Configuration): Record<string, number> {
  const context = new CallContext(() => 1000);
  context.memory.attach(new WebAssembly.Memory({ initial: 1 }));
  context.charge = () => 1_000_000;
  context.begin(hook, null, null, configuration);
  context.allow(1_000_000);
  const calls: Record<string, (...values: number[]) => number> = makeImports(context)["sluice:kv/1"];
  const names = Object.keys(IMPORTS["sluice:kv/1"]).filter((name) => name !== "kv_find");
  const key = [16, 1];
  context.memory.bytes.write("k", 16);
  context.memory.bytes.write("7", 32);
  const args: Record<string, number[]> = {
    kv_get: [...key, 64, 64, 0],
    kv_set: [...key, 32, 1, 0],
    kv_compare_and_set: [...key, 32, 1, 0, 0],
    kv_increment: [...key, 1, 0, 128],
    kv_delete: key,
    kv_list: [...key, 64, 64, 128],
  };
  return Object.fromEntries(names.map((name) => [name, calls[name]!(namespace, ...args[name]!)]));
}

test("a guessed number opens only the plugin's own namespaces", () => {
  const configuration = configure(store);
  for (const namespace of [OWN - 1, OWN + 1, 0, -1, 127, 2 ** 31 - 1]) {
    for (const [name, result] of Object.entries(callAll(namespace, HOOK.request_head, configuration)))
      assert.equal(result, STATUS.denied, `${name} of ${namespace}`);
    if (namespace >= 0 && namespace < 128) assert.equal(store.use(namespace).entries, 0);
  }
  const own = callAll(OWN, HOOK.request_head, configuration);
  assert.deepEqual(
    [own.kv_get, own.kv_set, own.kv_increment, own.kv_delete],
    [STATUS.absent, STATUS.ok, STATUS.ok, STATUS.ok],
  );
});

test("in a start check, and while a guest starts, nothing is read or written", () => {
  for (const results of [
    callAll(OWN, HOOK.configure, configure(store)),
    callAll(OWN, HOOK.request_head, configure(undefined)),
  ])
    assert.deepEqual(new Set(Object.values(results)), new Set([STATUS.notHere]));
  assert.equal(store.use(OWN).entries, 0);
});
