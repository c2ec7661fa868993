/** Host memory caused by guests is charged, bounded by `limits.memory`, and released. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HOOK, type Hook } from "../../src/abi/abi.ts";
import type { Fetcher } from "../../src/plugin/host/fetcher.ts";
import { OUTCOME, PluginHost } from "../../src/plugin/host/host.ts";
import type { PluginInstance } from "../../src/plugin/host/plugin-instance.ts";
import { buildModule, type ModulePlan } from "../../src/plugin/wasm/build.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { until } from "../e2e/program.ts";
import { compileWat, makeExchange, planOf, TestHost } from "../unit/plugin/kit.ts";

/** One page: the limit of a guest's memory, and of the host's memory for it. */
const LIMIT = 65_536;
const FUEL = 1_000_000_000;

type Hoarder = {
  readonly call: string;
  readonly hook: Hook;
  readonly params: number;
  /** Arguments of the call; `$i` counts turns. A key of four bytes is at 0. */
  readonly args: string;
  readonly turns: number;
  readonly group?: string;
  readonly at?: "start";
};

const KEYED = "(i32.const 0) (i32.const 4)";
const hoarders: Hoarder[] = [
  {
    call: "exchange_set",
    hook: "request_head",
    params: 4,
    args: `${KEYED} (i32.const 8) (i32.const 20000)`,
    turns: 100,
  },
  { call: "shared_set", hook: "request_head", params: 4, args: `${KEYED} (i32.const 8) (i32.const 20000)`, turns: 100 },
  {
    call: "header_add",
    hook: "request_head",
    params: 5,
    args: `(i32.const 0) ${KEYED} (i32.const 8) (i32.const 8000)`,
    turns: 100,
  },
  {
    call: "header_set",
    hook: "response_head",
    params: 5,
    args: "(i32.const 1) (i32.const 4) (i32.const 3) (i32.const 8) (i32.const 8000)",
    turns: 100,
  },
  { call: "attribute_set", hook: "route", params: 3, args: "(i32.const 3) (i32.const 7) (i32.const 9000)", turns: 100 },
  { call: "state_put", hook: "save", params: 2, args: "(i32.const 8) (i32.const 20000)", turns: 100 },
  { call: "cluster_find", hook: "configure", params: 2, args: KEYED, turns: 5000, at: "start" },
  { call: "strategy_find", hook: "configure", params: 2, args: KEYED, turns: 5000, at: "start" },
  {
    call: "metric_define",
    hook: "configure",
    params: 9,
    args: `(i32.const 0) ${KEYED} (i32.const 8) (i32.const 1024) ${"(i32.const 0) ".repeat(4)}`,
    turns: 64,
    group: "sluice:metrics/1",
    at: "start",
  },
];

/** Its hook makes the call in a loop, with another key each time. */
function hoard({ call, hook, params, args, turns, group = "sluice:core/1" }: Hoarder, distinct = true): ModulePlan {
  const text = `(module
    (import "${group}" "${call}" (func $call (param ${"i32 ".repeat(params)}) (result i32)))
    (memory (export "memory") 1)
    (func (export "sluice_abi") (result i32) i32.const 1)
    ${hook === "request_head" ? "" : '(func (export "request_head") (param i32 i32) (result i32) i32.const 0)'}
    (func (export "${hook}") (param i32 i32) (result i32) (local $i i32)
      (memory.fill (i32.const 0) (i32.const 0x61) (i32.const 65536))
      (i32.store8 (i32.const 7) (i32.const 0x2f))
      (loop $more
        (if (i32.const ${Number(distinct)}) (then
          (i32.store8 (i32.const 1) (i32.add (i32.const 97) (i32.rem_u (local.get $i) (i32.const 26))))
          (i32.store8 (i32.const 2) (i32.add (i32.const 97) (i32.rem_u (i32.div_u (local.get $i) (i32.const 26)) (i32.const 26))))
          (i32.store8 (i32.const 3) (i32.add (i32.const 97) (i32.div_u (local.get $i) (i32.const 676))))))
        (drop (call $call ${args}))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const ${turns}))))
      i32.const 0))`;
  return buildModule(compileWat(text), { memory: LIMIT });
}

const PLAN = planOf({ memory: LIMIT, fuel: FUEL, shares: ["aaaa", "abaa", "acaa", "adaa"] });

function load(host: TestHost, module: ModulePlan): PluginInstance {
  return host.prepare([module], [PLAN]).instances[0]!;
}

/** Bytes that an exchange actually stores because of plugins. */
function keptBy({ values, localBody, request, response }: Exchange): number {
  let bytes = (localBody?.length ?? 0) + request.end + response.end;
  for (const [key, value] of values ?? []) bytes += key.length + value.bytes.length;
  return bytes;
}

for (const hoarder of hoarders.filter(({ at }) => at !== "start")) {
  test(`${hoarder.call} is charged to limits.memory: the call fails, and all of it is released`, () => {
    const host = new TestHost();
    const instance = load(host, hoard(hoarder));
    const exchange = makeExchange();
    const before = keptBy(exchange);
    if (hoarder.hook === "save") assert.equal(instance.save(), null);
    else assert.equal(instance.call(HOOK[hoarder.hook], exchange), OUTCOME.failed);
    const { message } = host.lines.at(-1)!;
    assert.match(message, new RegExp(`: ${hoarder.call}: \\d+ more bytes exceed limits.memory: .*limit is ${LIMIT}$`));
    assert.equal(host.failures(hoarder.hook, "memory"), 1);
    assert.equal(keptBy(exchange), before);
    assert.equal(instance.configuration.hostMemory.used, 0);
  });
}

for (const hoarder of hoarders.filter(({ at }) => at === "start")) {
  test(`${hoarder.call} is charged when a plugin starts: it is rejected`, () => {
    const problem = new RegExp(`: ${hoarder.call}: \\d+ more bytes exceed limits.memory`);
    assert.throws(() => load(new TestHost(), hoard(hoarder)), problem);
  });
}

test("a value that a call overwrites ten thousand times is stored once, and the previous one is restored if the call fails", () => {
  const host = new TestHost();
  const set: Hoarder = { ...hoarders[0]!, args: `${KEYED} (i32.const 8) (i32.const 30000)`, turns: 10_000 };
  const instance = load(host, hoard(set, false));
  const exchange = makeExchange();
  // The previous call has set one too, which must be restorable: both fit.
  for (let turn = 0; turn < 5; turn++) {
    assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.continue, host.lines.at(-1)?.message);
    assert.ok(keptBy(exchange) < 31_000);
    assert.ok(instance.configuration.hostMemory.used < 31_000, `${instance.configuration.hostMemory.used}`);
  }
  exchange.releasePluginMemory();
  assert.equal(instance.configuration.hostMemory.used, 0);
});

test("all exchanges of a worker together are limited too, and ended ones free their share", () => {
  const host = new TestHost();
  const set: Hoarder = { ...hoarders[0]!, args: `${KEYED} (i32.const 8) (i32.const 65000)`, turns: 1 };
  const instance = load(host, hoard(set));
  const exchanges: Exchange[] = [];
  for (;;) {
    const exchange = makeExchange();
    if (instance.call(HOOK.request_head, exchange) !== OUTCOME.continue) break;
    exchanges.push(exchange);
    assert.ok(exchanges.length < 2000);
  }
  assert.match(
    host.lines.at(-1)!.message,
    /exchange_set: .* exceed limits.memory: the host uses 67\d+ bytes for all requests of this worker/,
  );
  exchanges.pop()!.releasePluginMemory();
  assert.equal(instance.call(HOOK.request_head, makeExchange()), OUTCOME.continue);
});

test("fetched responses are charged: one beyond limits.memory ends the call", async () => {
  const module = buildModule(
    compileWat(`(module
      (import "sluice:fetch/1" "fetch" (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "GETcluster:a/")
      (func (export "sluice_abi") (result i32) i32.const 1)
      (func (export "request_head") (param i32 i32) (result i32)
        (drop (call $fetch (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 10) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 16000000)))
        i32.const 0))`),
    { memory: LIMIT },
  );
  const asked: number[] = [];
  const fetcher: Fetcher = {
    send({ most }, tell) {
      asked.push(most);
      queueMicrotask(() => tell(-4));
      return () => {};
    },
    probe: () => () => {},
  };
  const lines: string[] = [];
  let outcome = -1;
  const host = new PluginHost({
    cells: new Float64Array(1000),
    report: (_, message) => lines.push(message),
  });
  const plan = { ...PLAN, fetch: ["cluster:a"] };
  const { instances } = host.prepare({ fetcher, modules: [module], instances: [plan], clusters: [], strategies: [] });
  const exchange = makeExchange();
  exchange.caller = { resume: (_hook, _exchange, what) => void (outcome = what) };
  assert.equal(instances[0]!.call(HOOK.request_head, exchange), OUTCOME.suspended);
  await until(() => outcome >= 0, "the call has ended");
  assert.equal(outcome, OUTCOME.failed);
  assert.equal(asked.length, 1);
  assert.ok(asked[0]! > 0 && asked[0]! < LIMIT, `${asked[0]} bytes may come`);
  assert.match(lines.at(-1)!, /fetch: the response is over limits.memory, which leaves it \d+ bytes$/);
});

test("tables are charged: 24 bytes an entry, declared or grown", () => {
  const build = (tables: string, memory = LIMIT) =>
    buildModule(
      compileWat(`(module ${tables} (memory (export "memory") 1) (func (export "sluice_abi") (result i32) i32.const 1)
        (func (export "request_head") (param i32 i32) (result i32)
          (table.grow 0 (ref.null func) (i32.const 1000)) (i32.const -1) (i32.eq)))`),
      { memory },
    );
  const most = Math.floor(LIMIT / 24);
  build(`(table ${most} funcref)`);
  for (const tables of [
    `(table ${most + 1} funcref)`,
    "(table 131072 funcref)\n".repeat(8),
    "(table 2000 funcref) (table 1000 externref)",
  ])
    assert.throws(
      () => build(tables),
      /tables of \d+ entries are declared, which take \d+ bytes, the limit is 65536 \(limits.memory\)/,
    );
  const grows = (tables: string, memory?: number) =>
    load(new TestHost(), build(tables, memory)).call(HOOK.request_head, makeExchange()) === OUTCOME.continue;
  assert.ok(grows("(table 1 funcref)"));
  assert.ok(!grows(`(table ${most - 999} funcref)`), "a thousand more are too many");
  assert.ok(!grows("(table 1 funcref) (table 2000 funcref)"), "another has taken the room");
  assert.ok(!grows("(table 1 1000 funcref)"), "its own maximum holds");
  assert.ok(grows("(table 131000 funcref) (table 131000 funcref)", 16 * 1024 * 1024) === false, "131072 each");
  assert.ok(grows("(table 100000 funcref) (table 131000 funcref)", 16 * 1024 * 1024));
});

/** What a hook call of the property does: sets values of these sizes under these keys, and then fails or not. */
const step = fc.record({
  sets: fc.array(fc.tuple(fc.nat(5), fc.nat(30_000)), { maxLength: 12 }),
  traps: fc.boolean(),
});

test("for any sets, overwrites and deletions by hooks the charged memory never exceeds the limit", () => {
  const module = buildModule(
    compileWat(`(module
      (import "sluice:core/1" "exchange_set" (func $set (param i32 i32 i32 i32) (result i32)))
      (import "sluice:core/1" "exchange_get" (func $get (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "program")
      (func (export "sluice_abi") (result i32) i32.const 1)
      (func (export "request_head") (param i32 i32) (result i32) (local $at i32)
        (drop (call $get (i32.const 0) (i32.const 7) (i32.const 16) (i32.const 1024)))
        (local.set $at (i32.const 20))
        (loop $more
          (if (i32.load (local.get $at)) (then
            (drop (call $set (local.get $at) (i32.const 4) (i32.const 2048) (i32.load offset=4 (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br $more))))
        (if (i32.load (i32.const 16)) (then unreachable))
        i32.const 0))`),
    { memory: LIMIT },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
      const host = new TestHost();
      const instance = load(host, module);
      const exchange = makeExchange();
      const values = (exchange.values = new Map());
      const empty = keptBy(exchange);
      for (const { sets, traps } of steps) {
        const program = Buffer.alloc(8 + 8 * sets.length);
        program.writeInt32LE(Number(traps), 0);
        for (const [i, [key, size]] of sets.entries()) {
          program.writeInt32LE(key + 1, 4 + 8 * i);
          program.writeInt32LE(size, 8 + 8 * i);
        }
        values.set("test\0program", { bytes: program, key: "", setter: null, size: 0 });
        instance.call(HOOK.request_head, exchange);
        values.delete("test\0program");
        const kept = keptBy(exchange) - empty;
        const { used } = instance.configuration.hostMemory;
        assert.ok(used <= LIMIT, `${used} are charged`);
        assert.ok(kept <= used && used <= kept + 300 * values.size, `${kept} are kept, ${used} charged`);
      }
      exchange.releasePluginMemory();
      assert.equal(instance.configuration.hostMemory.used, 0);
    }),
  );
});
