/** Hooks of Extism plugins that have no message: configuration, log, connection, health check, tick, endpoints. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK } from "../../src/abi/abi.ts";
import { BareContext } from "../../src/plugin/host/bare-context.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import type { PluginInstance } from "../../src/plugin/host/plugin-instance.ts";
import { extismModule, place } from "../support/extism.ts";
import { call, Endpoints, exchange, type Loaded, type LoadOptions, load } from "./plugin-harness.ts";

const NAMES = ["on_configure", "on_log", "on_connection", "on_health_check", "on_tick", "on_update", "pick"];

/** Logs its input, and puts out the configuration's `out`; `fails`: sets it as an error instead. */
const SAYS = extismModule(
  `(func $say (result i32)
     (local $at i64) (local $i i64)
     (local.set $at (call $alloc (call $input_length)))
     (loop $next
       (call $store_u8 (i64.add (local.get $at) (local.get $i)) (call $input_load_u8 (local.get $i)))
       (local.set $i (i64.add (local.get $i) (i64.const 1)))
       (br_if $next (i64.lt_u (local.get $i) (call $input_length))))
     (call $log_info (local.get $at))
     (call $error_set (call $config_get (call $text ${place(1, "fails")})))
     (i32.const 0))
   (func $out (call $put_block (call $config_get (call $text ${place(0, "out")}))))
   ${NAMES.map((name) => `(func (export "${name}") (result i32) ${name === "on_configure" ? "" : "(call $out)"} (call $say))`).join("\n")}`,
  ["out", "fails"],
);

const start = (config: unknown, options: LoadOptions = {}): Loaded => {
  const loaded = load(SAYS, { configs: [config], clusters: ["app", "canary"], allowed: ["canary"], ...options });
  return loaded;
};
const inputsOf = ({ reports }: Loaded): unknown[] =>
  reports.filter((line) => line.startsWith("info: ")).map((line) => JSON.parse(line.slice(6)));
const errorsOf = ({ reports }: Loaded): string[] =>
  reports
    .filter((line) => line.startsWith("error: "))
    .map((line) => line.replace(/^error: plugin test failed in /, ""));

test("on_configure is given the configuration, and rejects it by an error", () => {
  const config = { a: [1, "ä"], b: { c: null }, d: 12n };
  assert.deepEqual(inputsOf(start(config)), [{ hook: "on_configure", config: { ...config, d: 12 } }]);
  assert.deepEqual(inputsOf(start(null)), [{ hook: "on_configure", config: null }]);
  assert.throws(() => start({ fails: "a is missing" }), /a is missing/);
});

test("on_log is given the request, its response and what was counted", () => {
  const loaded = start({});
  const x = exchange("GET /a HTTP/1.1\nHost: a", "HTTP/1.1 404 Not Found\nServer: s");
  assert.equal(call(loaded, "log", x), OUTCOME.continue, loaded.reports.join());
  const [, input] = inputsOf(loaded) as Record<string, unknown>[];
  const { duration, request, ...rest } = input!;
  assert.ok(Number.isInteger(duration));
  assert.equal((request as { path: string }).path, "/a");
  const counts = { bytesReceived: 0, bytesSent: 0, attempts: 0 };
  assert.deepEqual(rest, { hook: "on_log", ...counts, status: 404, headers: [["server", "s"]] });
});

const connection = () => Object.assign(new BareContext(), { id: 1, clientAddress: "192.0.2.1", listenerName: "web" });

test("on_connection admits, rejects and chooses a cluster", () => {
  const cases: [out: unknown, outcome: number, cluster: number, error?: RegExp][] = [
    [undefined, OUTCOME.continue, -1],
    [{ reject: true }, OUTCOME.reject, -1],
    [{ reject: false, cluster: "canary" }, OUTCOME.continue, 1],
    [{ cluster: "app" }, OUTCOME.failed, -1, /cluster: "app" is not one that the plugin may choose/],
    [{ reject: true, cluster: "canary" }, OUTCOME.failed, -1, /both "reject" and "cluster"/],
    [{ respond: {} }, OUTCOME.failed, -1, /unknown key "respond", expected one of cluster, reject/],
  ];
  for (const [out, outcome, cluster, error] of cases) {
    const loaded = start(out === undefined ? {} : { out });
    const target = connection();
    assert.equal(loaded.instances[0]!.call(HOOK.connection, target), outcome, loaded.reports.join());
    assert.equal(target.chosenCluster, cluster);
    if (error === undefined) assert.deepEqual(errorsOf(loaded), []);
    else assert.match(errorsOf(loaded)[0]!, error);
    const expected = { hook: "on_connection", client: "192.0.2.1", listener: "web" };
    assert.deepEqual(inputsOf(loaded)[1], expected);
  }
});

test("on_health_check finds an endpoint healthy or not", () => {
  for (const [out, outcome] of [
    [undefined, OUTCOME.continue],
    [{ healthy: true }, OUTCOME.continue],
    [{ healthy: false }, OUTCOME.reject],
    [{ healthy: 1 }, OUTCOME.failed],
  ] as const) {
    const loaded = start(out === undefined ? {} : { out });
    const endpoint = { address: "10.0.0.1:80" } as BareContext["endpoint"];
    const target = Object.assign(new BareContext(), { id: 1, clusterName: "app", endpoint });
    assert.equal(loaded.instances[0]!.call(HOOK.health_check, target), outcome, loaded.reports.join());
    assert.deepEqual(inputsOf(loaded)[1], { hook: "on_health_check", cluster: "app", endpoint: "10.0.0.1:80" });
  }
});

test("on_update is given the endpoints before pick, and has no output", () => {
  const loaded = start({});
  const [instance] = loaded.instances;
  const view = Endpoints.ofWeights([1, 3]).view();
  assert.equal(instance!.update(view), true, loaded.reports.join());
  const [, update] = inputsOf(loaded) as { hook: string; endpoints: unknown[] }[];
  assert.equal(update!.hook, "on_update");
  assert.equal(instance!.pick(exchange("GET / HTTP/1.1\nHost: a"), view), -1);
  assert.deepEqual(update!.endpoints, (inputsOf(loaded)[2] as typeof update)!.endpoints);
  const wrong = start({ out: "1" });
  assert.equal(wrong.instances[0]!.update(view), false);
  assert.match(errorsOf(wrong)[0]!, /on_update has no output, but one was set$/);
});

test("on_tick sets its interval", () => {
  for (const [out, error] of [
    [{ every: 100 }, null],
    [{}, null],
    [{ every: 49 }, /the output's "every" is "49", expected milliseconds from 50 to 86400000$/],
    [{ every: 99.5 }, /the output's "every" is "99.5", expected milliseconds/],
  ] as const) {
    const loaded = start({ out });
    (loaded.instances[0] as PluginInstance).tick();
    assert.deepEqual(inputsOf(loaded)[1], { hook: "on_tick" });
    if (error === null) assert.deepEqual(errorsOf(loaded), []);
    else assert.match(errorsOf(loaded)[0]!, error);
  }
});

test("on_log has no output", () => {
  const loaded = start({ out: {} });
  assert.equal(call(loaded, "log", exchange("GET / HTTP/1.1\nHost: a", "HTTP/1.1 200 OK")), OUTCOME.failed);
  assert.match(errorsOf(loaded)[0]!, /on_log has no output, but one was set$/);
});
