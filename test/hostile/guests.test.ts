/** Hostile guests: each ends as a counted failure, and affects nothing but the guest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type Failure,
  HOOK,
  HOOKS,
  type Hook,
  IMPORTS,
  type Import,
  METRIC,
  SUSPENDABLE_HOOKS,
} from "../../src/abi/abi.ts";
import { PRICE } from "../../src/abi/prices.ts";
import { PendingBuffer } from "../../src/net/pending-buffer.ts";
import type { Configuration } from "../../src/plugin/abi/call-context.ts";
import { ExchangeValue } from "../../src/plugin/abi/exchange-value.ts";
import { Fault } from "../../src/plugin/host/fault.ts";
import type { FetchRequest, FetchResponse } from "../../src/plugin/host/fetcher.ts";
import { Guest } from "../../src/plugin/host/guest.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { PluginMetrics } from "../../src/plugin/host/metrics.ts";
import { RECOVERY } from "../../src/plugin/host/recovery.ts";
import { buildModule, type ModulePlan } from "../../src/plugin/wasm/build.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { requestBody, responseBody } from "../../src/proxy/filtered-body.ts";
import { Operation } from "../../src/state/key-value.ts";
import { KeyValueStore } from "../../src/state/store.ts";
import { compileWat, MEMORY, makeExchange, makeView, planOf, TestHost } from "../unit/plugin/kit.ts";
import { assertSendable, stateOfHead } from "./exchange-state.ts";

/** The content of an exchange; checks that all of it is inside its bytes. */
function stateOf(exchange: Exchange): unknown {
  const { localStatus, localBody, chosenCluster, chosenStrategy } = exchange;
  return [
    stateOfHead(exchange.request),
    stateOfHead(exchange.response),
    localStatus,
    localBody,
    chosenCluster,
    chosenStrategy,
  ];
}

const failing: [fixture: string, hook: Hook, reason: Failure][] = [
  ["spins", "request_head", "fuel"],
  ["recurses", "request_head", "stack"],
  ["grows", "request_head", "memory"],
  ["fills", "request_head", "fuel"],
  ["traps", "request_head", "trap"],
  ["traps", "log", "memory"],
  ["edits-then-traps", "request_head", "trap"],
  ["hoards-host-work", "request_head", "fuel"],
  ["swallows-exceptions", "request_head", "host"],
  ["swallows-exceptions", "route", "host"],
  ["swallows-exceptions", "response_head", "host"],
  ["throws", "request_head", "trap"],
  ["throws", "route", "fuel"],
  ["undefined-results", "request_head", "bad_result"],
];

for (const [fixture, hook, reason] of failing) {
  test(`${fixture} fails in ${hook} as "${reason}", every time, and nothing is changed`, () => {
    const host = new TestHost();
    // Recursion must exhaust the stack before its fuel.
    const instance = host.load(fixture, { fuel: fixture === "recurses" ? 100_000_000 : 1_000_000 });
    for (let time = 1; time <= 3; time++) {
      const exchange = makeExchange();
      const before = stateOf(exchange);
      assert.equal(instance.call(HOOK[hook], exchange), OUTCOME.failed);
      assert.equal(host.failures(hook, reason), time);
      assert.deepEqual(stateOf(exchange), before);
      // After a costly failure its client is refused for as long as it cost.
      host.time += 1000;
    }
    assert.equal(host.host.guests(), 0);
  });
}

test("a copy of 16 MiB is charged by its length", () => {
  const host = new TestHost();
  const instance = host.load("fills");
  assert.equal(instance.call(HOOK.route, makeExchange()), OUTCOME.continue);
  assert.ok(host.fuel("route") >= Math.floor(0xffffff / PRICE.bulkBytes));
});

test("the host's views follow memory that grows in a call", () => {
  const host = new TestHost();
  const instance = host.load("grows");
  for (let i = 0; i < 5; i++) assert.equal(instance.call(HOOK.route, makeExchange()), OUTCOME.continue);
  assert.deepEqual(host.lines, []);
});

test("straight-line divisions cost fuel by their number", () => {
  const host = new TestHost();
  const lines = 20_000;
  const line = "(local.set 0 (i32.div_s (i32.const 0x7fffffff) (i32.or (local.get 0) (i32.const 1))))\n";
  const text = `(module (memory (export "memory") 1) (func (export "sluice_abi") (result i32) i32.const 1)
    (func (export "request_head") (param i32 i32) (result i32) ${line.repeat(lines)} i32.const 0))`;
  const module = buildModule(compileWat(text), { memory: MEMORY });
  const call = (fuel: number) =>
    host.prepare([module], [planOf({ fuel })]).instances[0]!.call(HOOK.request_head, makeExchange());
  assert.equal(call(1_000_000), OUTCOME.continue);
  const price = host.fuel("request_head");
  assert.ok(price > (lines * 10) / 64, String(price));
  assert.equal(call(price), OUTCOME.continue);
  assert.equal(call(price - 1), OUTCOME.failed);
});

const oneEndpoint = makeView(1);

test("after any number of failing guests the process can start further ones", () => {
  const host = new TestHost();
  const instance = host.load("traps", { onFailure: "skip" });
  // More than a process can hold at once: each memory reserves 8 GiB of 128 TiB.
  const times = 17_000;
  const exchange = makeExchange();
  for (let i = 0; i < times; i++) {
    instance.pick(exchange, oneEndpoint);
    // A restart costs time.
    host.time += 10_000;
  }
  assert.equal(host.failures("pick", "trap"), times);
  assert.deepEqual(
    host.lines.slice(-1).map(({ message }) => message),
    ["plugin test is quarantined: unreachable"],
  );
});

test("a guest that fails at every call is not restarted for every call", () => {
  const host = new TestHost();
  const instance = host.load("traps", { onFailure: "skip" });
  for (let i = 0; i < 20_000; i++) {
    instance.pick(makeExchange(), oneEndpoint);
    host.time += 1;
  }
  const failures = host.failures("pick", "trap");
  assert.ok(failures <= RECOVERY.failures + (20_000 * RECOVERY.fruitlessShare) / RECOVERY.leastCost + 1, `${failures}`);
  assert.equal(failures + host.refused("pick"), 20_000);
  assert.equal(host.lines.length, 2);
});

// ── Lies about pointers and lengths ──────────────────────────────────────────────────────────────────────────────

type Call = { readonly module: string; readonly name: string; readonly declared: Import };

const calls: Call[] = Object.entries(IMPORTS).flatMap(([module, group]) =>
  Object.entries(group as Record<string, Import>).map(([name, declared]) => ({ module, name, declared })),
);

/** A module whose every hook makes that one call, with arguments from the start of its memory. */
function caller({ module, name, declared }: Call): ModulePlan {
  const load = (i: number) => `(i32.load (i32.const ${4 * i}))`;
  const params = declared.params
    .map((type, i) => (type === "i32" ? load(i) : `(f64.convert_i32_s ${load(i)})`))
    .join(" ");
  const call = `(call $call ${params})`;
  const body =
    declared.result === "i32"
      ? call
      : declared.result === "f64"
        ? `(drop ${call}) (i32.const 0)`
        : `${call} (i32.const 0)`;
  const signature = `${declared.params.map((type) => `(param ${type})`).join(" ")} ${declared.result === null ? "" : `(result ${declared.result})`}`;
  const hooks = HOOKS.map((hook) => `(export "${hook}" (func $hook))`).join(" ");
  const text = `(module (import "${module}" "${name}" (func $call ${signature})) (memory (export "memory") 2)
    (func (export "sluice_abi") (result i32) i32.const 1) (func $hook (param i32 i32) (result i32) ${body}) ${hooks})`;
  return buildModule(compileWat(text), { memory: MEMORY });
}

/** A counter 0, a gauge 1, a histogram 2. */
const metrics = new PluginMetrics(null, new Float64Array(0));
for (const kind of [METRIC.counter, METRIC.gauge, METRIC.histogram])
  metrics.define({ kind, name: `m${kind}`, help: "", labels: [], buckets: [] });

/** Delivers the fetched response after the guest was suspended. */
function soon(_: FetchRequest, done: (response: FetchResponse) => void): () => void {
  queueMicrotask(() => done(fetched()));
  return () => {};
}

const fetched = (): FetchResponse => ({ head: makeExchange().request, body: Buffer.from("body") });

const configuration: Configuration = {
  plugin: "liar",
  config: { a: "b", list: [1, { c: null }] },
  hidden: null,
  bodyLimit: 1024,
  fetcher: { send: soon, probe: (_, done) => soon(_ as never, () => done(Buffer.from("response"))) },
  mayFetch: (target) => target === "cluster:a" || target === "endpoint",
  findCluster: () => 0,
  clusterIndex: (id) => (id === 0 ? 0 : -3),
  findStrategy: () => 0,
  strategyIndex: (id) => (id === 0 ? 0 : -3),
  tickEvery: () => undefined,
  keyValue: new KeyValueStore(KeyValueStore.allocate(1024 * 1024), 0),
  findNamespace: () => 0,
  mayUse: (namespace) => namespace === 0,
  mayShare: () => true,
  metrics,
  dropLog: () => undefined,
  log: () => true,
};

const SIZE = 2 * 65_536;
/**
 * Valid values among the invalid, so that calls get far enough to read and write: texts are in slots after the
 * arguments.
 */
const TEXTS = ["x-a", "host", "accept", "/a?b", "a", "list.1", "v", "list", "", "connection", "x-a: b\r\n"];
TEXTS.push("cluster:a/b?c", "cluster:b", "endpoint/z");
/** More than the arguments of any call. */
const SLOT = 64;

const lie = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: -4, max: 20 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 2000 }) },
  { weight: 1, arbitrary: fc.integer({ min: SIZE - 70, max: SIZE + 2 }) },
  { weight: 1, arbitrary: fc.constantFrom(-1, -(2 ** 31), 2 ** 31 - 1, 65_535, 65_536, SIZE, 1 << 20, -65_536) },
  { weight: 1, arbitrary: fc.integer() },
);
/** Often the empty one, which means none in calls that take many. */
const text = fc
  .oneof({ weight: 5, arbitrary: fc.nat(TEXTS.length - 1) }, { weight: 1, arbitrary: fc.constant(TEXTS.indexOf("")) })
  .map((i): [number, number] => [SLOT * (i + 1), TEXTS[i]!.length]);
const room = fc.tuple(fc.constantFrom(0, 1000, SIZE - 5), fc.integer({ min: 0, max: 40 }));
const small = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.constantFrom(1, 2) },
  { weight: 1, arbitrary: fc.constantFrom(200, 503) },
  { weight: 1, arbitrary: fc.nat(18) },
);

/** The names of a call's parameters, as its description gives them. */
function parametersOf({ declared }: Call): string[] {
  const list = /^\(([^)]*)\)/.exec(declared.doc)?.[1] ?? "";
  const names = list.replace("0 name 1 value", "").split(/[,:]/);
  return names.map((name) => name.trim()).filter((name) => name !== "");
}

/** Arguments, each true or a lie: a true pointer and its length belong together. */
function argumentsOf(call: Call): fc.Arbitrary<number[]> {
  const names = parametersOf(call);
  assert.equal(names.length, call.declared.params.length, call.name);
  const parts: fc.Arbitrary<readonly number[]>[] = [];
  for (let i = 0; i < names.length; i++) {
    const paired = /^(len|cap|.+Len)$/.test(names[i + 1] ?? "") || names[i + 1] === "len";
    if (paired) {
      const truth = names[i] === "out" ? room : text;
      parts.push(fc.oneof({ weight: 4, arbitrary: truth }, { weight: 1, arbitrary: fc.tuple(lie, lie) }));
      i++;
    } else parts.push(fc.oneof({ weight: 3, arbitrary: small }, { weight: 1, arbitrary: lie }).map((value) => [value]));
  }
  return fc.tuple(...parts).map((values) => values.flat());
}

/** Where the call may write: the range of its parameters `out` and `cap`, and the f64 of one whose name ends in `Out`. */
function writable(call: Call, args: readonly number[]): [start: number, end: number][] {
  return parametersOf(call).flatMap((name, at) => {
    if (name !== "out" && !name.endsWith("Out")) return [];
    const start = args[at]! >>> 0;
    return [[start, start + (name === "out" ? args[at + 1]! >>> 0 : 8)]];
  });
}

function fillMemory(bytes: Buffer, args: readonly number[]): void {
  bytes.fill(0x61);
  for (const [i, text] of TEXTS.entries()) bytes.write(text, SLOT * (i + 1), "latin1");
  for (const [i, value] of args.entries()) bytes.writeInt32LE(value, 4 * i);
}

const REASONS = ["bad_pointer", "abort"];
const MAY_WAIT = new Set<number>(SUSPENDABLE_HOOKS.map((name) => HOOK[name]));

/** Texts are keys of the store as well. */
function keepTexts(): void {
  const operation = new Operation();
  for (const text of TEXTS.slice(0, 4)) {
    Object.assign(operation, { key: Buffer.from(text), keyEnd: text.length, value: Buffer.from("7"), valueEnd: 1 });
    configuration.keyValue!.set(operation);
  }
}

/** A call that is being made; `state` is that of the exchange before. */
type Lie = { readonly guest: Guest; readonly bytes: Buffer; readonly exchange: Exchange; readonly state: unknown };

/** One guest, replaced when it has ended: makes the call once and checks its effects. */
class Liar {
  readonly #call: Call;
  readonly #plan: ModulePlan;
  readonly #before = Buffer.alloc(SIZE);
  #guest: Guest | null = null;
  /** Results and failures that were seen. */
  readonly seen = new Set<string>();

  constructor(call: Call) {
    this.#call = call;
    this.#plan = caller(call);
  }

  /** Whether it makes the call in a suspendable hook, whose result is a promise. */
  get suspends(): boolean {
    return this.#plan.info.suspends;
  }

  async lieAsync(hook: number, args: readonly number[]): Promise<void> {
    if (!MAY_WAIT.has(hook)) return this.lie(hook, args);
    const lie = this.#prepare(args);
    try {
      this.#returned(await lie.guest.runSuspendable(hook, 1, 1_000_000, configuration, lie.exchange), lie);
    } catch (error) {
      this.#failed(error, lie);
    }
    this.#checkMemory(args, lie);
  }

  lie(hook: number, args: readonly number[]): void {
    const lie = this.#prepare(args);
    try {
      this.#returned(lie.guest.run(hook, 1, 1_000_000, configuration, lie.exchange, oneEndpoint), lie);
    } catch (error) {
      this.#failed(error, lie);
    }
    this.#checkMemory(args, lie);
  }

  #prepare(args: readonly number[]): Lie {
    const guest = (this.#guest ??= startGuest(this.#plan));
    const bytes = guest.context.memory.refresh();
    fillMemory(bytes, args);
    this.#before.set(bytes);
    const exchange = makeExchange();
    for (const { chunk } of [requestBody(exchange), responseBody(exchange)]) chunk.set(Buffer.from("body"), 0, 4, true);
    exchange.endpoint = oneEndpoint.list[0]!;
    keepTexts();
    exchange.values = new Map(
      TEXTS.flatMap((text) => [`liar\0${text}`, `\0${text}`]).map((key) => [
        key,
        new ExchangeValue(key, Buffer.from("kept"), null),
      ]),
    );
    const saved = new PendingBuffer();
    saved.append(Buffer.from("kept"), 0, 4);
    guest.context.state = saved;
    return { guest, bytes, exchange, state: stateOf(exchange) };
  }

  #returned(result: number, { exchange }: Lie): void {
    this.seen.add(result < 0 ? String(result) : "value");
    stateOf(exchange);
  }

  #failed(error: unknown, { guest, exchange, state }: Lie): void {
    this.#guest = null;
    const failure = guest.explain(error);
    assert.ok(error instanceof Fault && REASONS.includes(failure.reason), `${failure.reason}: ${failure.message}`);
    this.seen.add(failure.reason);
    guest.context.rollback();
    assert.deepEqual(stateOf(exchange), state);
  }

  #checkMemory(args: readonly number[], { bytes }: Lie): void {
    for (const [start, end] of writable(this.#call, args))
      this.#before.set(bytes.subarray(start, end), Math.min(start, SIZE));
    assert.ok(bytes.equals(this.#before), "a write outside");
  }
}

function startGuest(plan: ModulePlan): Guest {
  const guest = new Guest(plan, Date.now, (_, then) => {
    queueMicrotask(then);
    return () => {};
  });
  guest.start(configuration);
  // As after a fetch and a probe.
  const { context } = guest;
  const begin = context.begin.bind(context);
  context.begin = (...call) => {
    begin(...call);
    context.fetched = fetched();
    context.probed = Buffer.from("response");
  };
  return guest;
}

/** Calls that no random argument completes: abort, and a signature by a valid key. */
const NO_VALUE = ["abort", "verify"];

for (const call of calls) {
  test(`any arguments of ${call.name}: no exception leaves the host, no byte is written elsewhere`, async () => {
    const liar = new Liar(call);
    const hooks = fc.integer({ min: 0, max: HOOKS.length - 1 });
    // A promise of each call would be a third of its time.
    const lies = liar.suspends
      ? fc.asyncProperty(hooks, argumentsOf(call), (hook, args) => liar.lieAsync(hook, args))
      : fc.property(hooks, argumentsOf(call), (hook, args) => liar.lie(hook, args));
    // Seeded, so that both success and rejection occur in every run, where the call has both.
    await fc.assert(lies, { numRuns: 1000, seed: 1 });
    if (!NO_VALUE.includes(call.name)) assert.ok(liar.seen.has("value"), [...liar.seen].join(" "));
    if (/cap|len/i.test(call.declared.doc.split(")")[0]!)) assert.ok(liar.seen.size > 1 || call.name === "abort");
    await fc.assert(lies, { numRuns: 150 });
  });
}

// ── Whole sessions of calls ──────────────────────────────────────────────────────────────────────────────────────

const texts = [
  "x-a",
  "host",
  "content-length",
  "x-b\r\nx",
  "/a/../b?c",
  "v",
  "",
  "transfer-encoding",
  "x-a: b",
  "example.com:80",
  "204",
];

test("no sequence of edits creates a head that cannot be sent", () => {
  const imports = ["header_set", "header_add", "header_remove", "attribute_set", "respond"] as const;
  const declare = imports
    .map(
      (name) =>
        `(import "sluice:core/1" "${name}" (func $${name} (param ${"i32 ".repeat(IMPORTS["sluice:core/1"][name].params.length)}) (result i32)))`,
    )
    .join("\n");
  const slots = texts
    .map((text, i) => `(data (i32.const ${64 * i}) "${text.replaceAll("\r\n", "\\0d\\0a")}")`)
    .join("\n");
  const edit = fc.tuple(
    fc.constantFrom(...imports),
    fc.integer({ min: 0, max: 13 }),
    fc.nat(texts.length - 1),
    fc.nat(texts.length - 1),
  );
  const render = ([name, number, a, b]: [(typeof imports)[number], number, number, number]) => {
    const text = (i: number) => `(i32.const ${64 * i}) (i32.const ${texts[i]!.length})`;
    const part = `(i32.const ${number & 1})`;
    if (name === "respond") return `(drop (call $respond (i32.const ${198 + number}) ${text(a)}))`;
    if (name === "attribute_set") return `(drop (call $attribute_set (i32.const ${number}) ${text(a)}))`;
    if (name === "header_remove") return `(drop (call $header_remove ${part} ${text(a)}))`;
    return `(drop (call $${name} ${part} ${text(a)} ${text(b)}))`;
  };
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 12 }), fc.boolean(), fc.boolean(), (edits, trap, response) => {
      const host = new TestHost();
      const hook = response ? "response_head" : "request_head";
      const text = `(module ${declare} (memory (export "memory") 1) ${slots}
        (func (export "sluice_abi") (result i32) i32.const 1)
        (func (export "${hook}") (param i32 i32) (result i32) ${edits.map(render).join(" ")} ${trap ? "unreachable" : "i32.const 0"}))`;
      const instance = host.prepare([buildModule(compileWat(text), { memory: MEMORY })], [planOf()]).instances[0]!;
      const exchange = makeExchange();
      const before = stateOf(exchange);
      const outcome = instance.call(HOOK[hook], exchange);
      if (outcome === OUTCOME.failed) assert.deepEqual(stateOf(exchange), before);
      assertSendable(exchange);
    }),
    { numRuns: 150 },
  );
});
