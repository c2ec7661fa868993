/**
 * Every host call, with any arguments in any order at any depth of the stack: the worker continues, an exchange
 * is changed by a whole call or not at all, and a guest that fails has a reason of its own.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { HEADERS, HOOK, HOOKS, type Hook, STATUS } from "../../src/abi/abi.ts";
import { Head } from "../../src/http/head.ts";
import { PendingBuffer } from "../../src/net/pending-buffer.ts";
import type { Configuration } from "../../src/plugin/abi/call-context.ts";
import { Guest } from "../../src/plugin/host/guest.ts";

import { PluginMetrics } from "../../src/plugin/host/metrics.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { requestBody, responseBody } from "../../src/proxy/filtered-body.ts";
import { Operation } from "../../src/state/key-value.ts";
import { KeyValueStore } from "../../src/state/store.ts";
import {
  CALLS,
  callOf,
  FLAT,
  type HostCall,
  PAGE,
  type Place,
  resultOf,
  rolesOf,
  SIZE,
  type Step,
  scriptGuest,
  writeProgram,
} from "../unit/plugin/host/script-guest.ts";
import { addField, compileWat, fieldsOf, MEMORY, makeExchange, makeView } from "../unit/plugin/kit.ts";
import { randomPlugin } from "../unit/plugin/wasm/random-module.ts";
import { assertSendable, stateOfHead } from "./exchange-state.ts";

const configuration: Configuration = {
  plugin: "script",
  config: { a: "b", list: [1, { c: null }] },
  hidden: null,
  bodyLimit: 1024,
  fetcher: null,
  mayFetch: () => false,
  findCluster: () => 0,
  clusterIndex: (id) => (id === 0 ? 0 : STATUS.invalid),
  findStrategy: () => 0,
  tickEvery: () => undefined,
  keyValue: new KeyValueStore(KeyValueStore.allocate(1024 * 1024), 0),
  findNamespace: () => 0,
  mayUse: (namespace) => namespace === 0,
  mayShare: () => true,
  metrics: new PluginMetrics(null, new Float64Array(0)),
  strategyIndex: (id) => (id === 0 ? 0 : STATUS.invalid),
  dropLog: () => undefined,
  log: () => true,
};

const FUEL = 100_000_000;
const endpoints = makeView(3);

/** The texts in the guest's first page, each in its own slot. */
const TEXTS = [
  "x-a",
  "host",
  "accept",
  "/a?b",
  "a",
  "list.1",
  "v",
  "",
  "connection",
  "x-a: b\r\n",
  "200",
  "GET",
  "x-b",
];
const SLOT = 32;
const ROOM = 4096;

function startGuest(): Guest {
  const guest = new Guest(scriptGuest, Date.now);
  guest.start(configuration);
  return guest;
}

/** Resets everything outside of the exchange; fails if a call has left a store locked or torn. */
function prepare(guest: Guest): void {
  const memory = guest.context.memory.refresh();
  memory.fill(0x61, 0, PAGE - 12);
  for (const [i, text] of TEXTS.entries()) memory.write(text, SLOT * i, "latin1");
  const operation = new Operation();
  for (const text of ["x-a", "host"]) {
    Object.assign(operation, { key: Buffer.from(text), keyEnd: text.length, value: Buffer.from("7"), valueEnd: 1 });
    assert.equal(configuration.keyValue!.set(operation), STATUS.ok);
  }
  guest.context.state = new PendingBuffer();
  guest.context.state.append(Buffer.from("kept"), 0, 4);
}

/** All state that a guest could have changed; checks that it is inside its bytes. */
function stateOf(exchange: Exchange): unknown {
  const { localStatus, localBody, chosenCluster, chosenStrategy, values, requestTrailers, responseTrailers } = exchange;
  const kept = [...(values ?? [])].map(([key, { bytes }]) => [key, Buffer.from(bytes).toString("latin1")]);
  const heads = [exchange.request, exchange.response, requestTrailers, responseTrailers];
  const response = [
    localStatus,
    localBody,
    chosenCluster,
    chosenStrategy,
    requestBody(exchange).chunk.size,
    responseBody(exchange).chunk.size,
  ];
  return [...heads.map((head) => (head === null || head.count === 0 ? null : stateOfHead(head))), ...response, kept];
}

/** With all parts that a hook can access: the last chunk of a buffered body, and trailers. */
function makeWholeExchange(): Exchange {
  const exchange = makeExchange();
  for (const body of [requestBody(exchange), responseBody(exchange)]) {
    body.chunk.set(Buffer.from("body"), 0, 4, true);
    body.buffered = true;
  }
  exchange.requestTrailers = new Head(256, 8);
  addField(exchange.requestTrailers, "x-a", "end");
  return exchange;
}

/** Runs the program in the guest's memory. A failure is undone, as by the host, and its reason returned. */
function run(guest: Guest, hook: number, exchange: Exchange, fuel = FUEL): string {
  try {
    guest.run(hook, 1, fuel, configuration, exchange, endpoints);
    return "done";
  } catch (error) {
    const { reason, message } = guest.explain(error);
    guest.context.rollback();
    return reason === "host" ? `host: ${message}` : reason;
  } finally {
    guest.context.end();
  }
}

// ── Anything in any order ───────────────────────────────────────────────────────────────────────────────────────────

const lie = fc.oneof(
  fc.integer({ min: -4, max: 20 }),
  fc.integer({ min: SIZE - 70, max: SIZE + 2 }),
  fc.constantFrom(-1, -(2 ** 31), 2 ** 31 - 1, 65_535, 65_536, SIZE, 1 << 20, -65_536),
  fc.integer(),
);
const slot = fc.nat(TEXTS.length - 1);

/** Each argument is true or a lie. A length is that of the text before it when both are true. */
function stepOf(call: HostCall, index: number): fc.Arbitrary<Step> {
  const roles = rolesOf(call);
  const truths = roles.map((role): fc.Arbitrary<number> => {
    if (role === "pointer") return slot.map((i) => i * SLOT);
    if (role === "out") return fc.constantFrom(ROOM, ROOM + 1, PAGE - 100, SIZE - 5);
    if (role === "cap") return fc.integer({ min: 0, max: 100 });
    return role === "length" ? fc.constant(-1) : fc.oneof(fc.nat(3), fc.nat(18), fc.constantFrom(200, 204, 503));
  });
  const one = truths.map((truth) => fc.oneof({ weight: 9, arbitrary: truth }, { weight: 1, arbitrary: lie }));
  return fc.tuple(...one).map((args) => ({
    call: index,
    args: args.map((value, i) => (roles[i] === "length" && value === -1 ? lengthAt(args[i - 1]!) : value)),
  }));
}

function lengthAt(pointer: number): number {
  return TEXTS[pointer / SLOT]?.length ?? 3;
}

const anyStep = fc.oneof(
  {
    weight: 40,
    arbitrary: fc.oneof(
      ...CALLS.filter(({ name }) => name !== "abort").map((call) => stepOf(call, CALLS.indexOf(call))),
    ),
  },
  { weight: 1, arbitrary: fc.constant<Step>("trap") },
);
const noise = fc.array(fc.tuple(fc.nat(PAGE - 13), fc.nat(255)), { maxLength: 20 });

test("any sequence of calls: a guest ends for its own reason, and changes are complete", () => {
  let guest = startGuest();
  const seen = new Set<string>();
  const session = fc.record({ hook: fc.nat(HOOKS.length - 1), steps: fc.array(anyStep, { maxLength: 30 }), noise });
  fc.assert(
    fc.property(session, ({ hook, steps, noise }) => {
      const memory = guest.context.memory.refresh();
      prepare(guest);
      for (const [at, byte] of noise) memory[at] = byte;
      writeProgram(memory, steps);
      const exchange = makeWholeExchange();
      const before = stateOf(exchange);
      const ending = run(guest, hook, exchange);
      seen.add(ending);
      if (ending === "done") {
        stateOf(exchange);
        return assertSendable(exchange);
      }
      assert.match(ending, /^(trap|memory|fuel|bad_pointer|abort)$/);
      assert.deepEqual(stateOf(exchange), before);
      guest = startGuest();
    }),
    { numRuns: 1500 },
  );
  for (const ending of ["done", "trap", "bad_pointer"]) assert.ok(seen.has(ending), [...seen].join());
});

test("random plugins end for their own reasons, and the next one runs", () => {
  const reasons = new Set<string>();
  const numbers = fc.array(fc.nat(2 ** 16), { minLength: 30, maxLength: 1500, size: "max" });
  fc.assert(
    fc.property(numbers, fc.integer({ min: 50, max: 20_000 }), (numbers, fuel) => {
      const plan = buildModule(compileWat(randomPlugin(numbers, HOOKS)), { memory: MEMORY });
      for (const hook of HOOKS) {
        const guest = new Guest(plan, Date.now);
        guest.start(configuration);
        const exchange = makeWholeExchange();
        const before = stateOf(exchange);
        reasons.add(run(guest, HOOK[hook], exchange, fuel));
        assert.deepEqual(stateOf(exchange), before);
      }
    }),
    { numRuns: 60 },
  );
  for (const reason of reasons) assert.match(reason, /^(done|trap|memory|fuel|stack)$/);
  for (const reason of ["done", "trap", "fuel"]) assert.ok(reasons.has(reason), [...reasons].join());
});

// ── The head against a model ────────────────────────────────────────────────────────────────────────────────────────

type Field = { name: string; value: string };

const NAMES = ["x-a", "X-A", "x-b", "Accept", "x-long-name", "server"];
const VALUES = ["", "v", "one, two", "caf\xe9", "x".repeat(100)];

type Edit =
  | { op: "set" | "add"; name: string; value: string }
  | { op: "remove"; name: string }
  | { op: "get"; name: string; nth: number }
  | { op: "at"; index: number; what: number }
  | { op: "count" | "read" };

const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({
    op: fc.constantFrom("set" as const, "add" as const),
    name: fc.constantFrom(...NAMES),
    value: fc.constantFrom(...VALUES),
  }),
  fc.record({ op: fc.constant("remove" as const), name: fc.constantFrom(...NAMES) }),
  fc.record({ op: fc.constant("get" as const), name: fc.constantFrom(...NAMES), nth: fc.nat(3) }),
  fc.record({ op: fc.constant("at" as const), index: fc.nat(8), what: fc.nat(1) }),
  fc.record({ op: fc.constantFrom("count" as const, "read" as const) }),
);

/** The place of a step's texts and output. */
const AREA = 512;
const OUT = 256;
const CAP = 256;
const UNTOUCHED = 0x2e;

function stepFor(edit: Edit, part: number, at: number, memory: Buffer): Step {
  const put = (text: string, offset: number) => [at + offset, memory.write(text, at + offset, "latin1")];
  const name = "name" in edit ? put(edit.name, 0) : [];
  switch (edit.op) {
    case "set":
    case "add":
      return { call: callOf(`header_${edit.op}`), args: [part, ...name, ...put(edit.value, 64)] };
    case "remove":
      return { call: callOf("header_remove"), args: [part, ...name] };
    case "get":
      return { call: callOf("header_get"), args: [part, ...name, edit.nth, at + OUT, CAP] };
    case "at":
      return { call: callOf("header_at"), args: [part, edit.index, edit.what, at + OUT, CAP] };
    case "count":
      return { call: callOf("header_count"), args: [part] };
    case "read":
      return { call: callOf("head_read"), args: [part, at + OUT, CAP] };
  }
}

/** Applies the step to a list; returns the expected result and output text of the host. */
function model(fields: Field[], edit: Edit): [number, string?] {
  const named = "name" in edit ? fields.filter(({ name }) => name.toLowerCase() === edit.name.toLowerCase()) : [];
  switch (edit.op) {
    case "add":
      fields.push({ name: edit.name, value: edit.value });
      return [STATUS.ok];
    case "set": {
      const [first, ...others] = named;
      if (first === undefined) fields.push({ name: edit.name, value: edit.value });
      else first.value = edit.value;
      for (const other of others) fields.splice(fields.indexOf(other), 1);
      return [STATUS.ok];
    }
    case "remove":
      for (const field of named) fields.splice(fields.indexOf(field), 1);
      return [named.length];
    case "get":
      return textOf(named[edit.nth]?.value);
    case "at":
      return textOf(edit.what === 0 ? fields[edit.index]?.name : fields[edit.index]?.value);
    case "count":
      return [fields.length];
    case "read":
      return textOf(wholeHead(fields));
  }
}

/** A count, for each field four words, then their bytes. */
function wholeHead(fields: readonly Field[]): string {
  const texts = fields.flatMap(({ name, value }) => [name, value]);
  const words = [fields.length];
  let at = 4 + 16 * fields.length;
  for (const text of texts) {
    words.push(at, text.length);
    at += text.length;
  }
  return Buffer.from(Uint32Array.from(words).buffer).toString("latin1") + texts.join("");
}

function textOf(text: string | undefined): [number, string?] {
  return text === undefined ? [STATUS.absent] : [text.length, text];
}

/** The fields that a plugin sees: without hop-by-hop ones and removed aliases. */
function visible(head: Head): Field[] {
  return fieldsOf(head)
    .map((field) => /^(.*?): (.*)$/s.exec(field)!)
    .map(([, name, value]) => ({ name: name!, value: value! }))
    .filter(({ name }) => !/^(connection|x-forwarded_for)$/i.test(name));
}

test("a head behaves like a list of fields over many calls, some of which fail", () => {
  const call = fc.record({ response: fc.boolean(), edits: fc.array(edit, { maxLength: 25 }), fails: fc.boolean() });
  fc.assert(
    fc.property(fc.array(call, { maxLength: 6 }), (calls) => {
      const exchange = makeWholeExchange();
      let guest = startGuest();
      for (const { response, edits, fails } of calls) {
        const head = response ? exchange.response : exchange.request;
        const part = response ? HEADERS.response : HEADERS.request;
        const memory = guest.context.memory.refresh().fill(UNTOUCHED, 0, PAGE - 12);
        const fields = visible(head);
        const before = stateOf(exchange);
        const steps = edits.map((one, i) => stepFor(one, part, i * AREA, memory));
        writeProgram(memory, fails ? [...steps, "trap"] : steps);
        const expected = edits.map((one) => model(fields, one));
        const ending = run(guest, response ? HOOK.response_head : HOOK.request_head, exchange);
        assert.equal(ending, fails ? "trap" : "done");
        for (const [i, [number, text]] of expected.entries()) {
          assert.equal(resultOf(memory, i), number, `${JSON.stringify(edits[i])}, step ${i}`);
          const at = i * AREA + OUT;
          if (text === undefined) continue;
          if (text.length > CAP) assert.equal(memory[at], UNTOUCHED, "what has no room is not written");
          else assert.equal(memory.toString("latin1", at, at + text.length), text);
        }
        if (fails) {
          assert.deepEqual(stateOf(exchange), before);
          guest = startGuest();
        } else assert.deepEqual(visible(head), fields);
      }
    }),
    { numRuns: 400 },
  );
});

// ── At every depth of the stack ─────────────────────────────────────────────────────────────────────────────────────

/** Valid arguments of a call; other numbers are 0, texts "x-a", outputs 100 bytes. */
const TRUTHS: Partial<Record<string, readonly number[]>> = {
  attribute_set: [3, 3 * SLOT, 4],
  respond: [200, 0, 3],
  config_get: [4 * SLOT, 1, ROOM, 100],
};

function truthsOf(call: HostCall): readonly number[] {
  const truths = { pointer: 0, length: 3, out: ROOM, cap: 100, number: 0 };
  return TRUTHS[call.name] ?? rolesOf(call).map((role) => truths[role]);
}

/** Makes one call at that depth; returns how it ended and its result. */
function callAt(guest: Guest, hook: Hook, step: Step | null, place: Place, exchange: Exchange): [string, number] {
  const memory = guest.context.memory.refresh();
  prepare(guest);
  writeProgram(memory, step === null ? [] : [step], place);
  const ending = run(guest, HOOK[hook], exchange);
  return [ending, ending === "done" && step !== null ? resultOf(memory, 0) : 0];
}

/** The edges that were found last, by the number of wide frames: others are near them. */
const edges = new Map<number, number>();

/** The maximum depth that a guest reaches. Calls from as deep a stack as `tryAt` of the tests. */
function findEdge(wide: number): number {
  let [low, high] = [-1, Number.POSITIVE_INFINITY];
  let guest: Guest | null = null;
  for (let [narrow, step] = [edges.get(wide) ?? 0, 1]; low + 1 < high; step *= 2) {
    guest ??= startGuest();
    const [ending] = callAt(guest, "log", null, { ...FLAT, narrow, wide }, makeWholeExchange());
    if (ending === "done") low = narrow;
    else [high, guest] = [narrow, null];
    if (high === Number.POSITIVE_INFINITY) narrow = low + step;
    else narrow = low < 0 ? Math.max(0, high - step) : (low + high) >> 1;
  }
  edges.set(wide, low);
  return low;
}

/** The hook in which a call has the most effects. */
function hookOf(step: Step): Hook {
  let guest: Guest | null = null;
  const results = HOOKS.map((hook) => {
    const ended = callAt((guest ??= startGuest()), hook, step, FLAT, makeWholeExchange());
    if (ended[0] !== "done") guest = null;
    return ended;
  });
  const best = results.findIndex(([ending, result]) => ending === "done" && result >= 0);
  return HOOKS[
    best >= 0
      ? best
      : Math.max(
          0,
          results.findIndex(([, result]) => result !== STATUS.notHere),
        )
  ]!;
}

/** Frames between one try and the next: the engine makes one of several. */
const STRIDE = 3;
/** After this number of complete calls in a row the end of the stack is far away. */
const ENOUGH = 20;
const CAUGHT = "host: an exception of a host call was caught by the guest";

for (const [index, call] of CALLS.entries())
  test(`near stack overflow ${call.name} runs completely or not at all, and the worker continues`, () => {
    const step: Step = { call: index, args: truthsOf(call) };
    const hook = hookOf(step);
    const flat = makeWholeExchange();
    const before = stateOf(flat);
    const [ending, result] = callAt(startGuest(), hook, step, FLAT, flat);
    const changed = stateOf(flat);

    const tryAt = (guest: Guest, place: Place): string => {
      const exchange = makeWholeExchange();
      const [now, returned] = callAt(guest, hook, step, place, exchange);
      const state = stateOf(exchange);
      if (now === "done" && place.catches) {
        // It succeeded, or the guest caught the exception before the call began.
        if (!isDeepStrictEqual(state, changed)) assert.deepEqual(state, before);
        return isDeepStrictEqual(state, before) && returned === 0 ? "caught" : now;
      }
      if (now === "done" && call.name !== "random") assert.equal(Math.min(returned, 0), Math.min(result, 0));
      if (now !== ending && !(place.catches && now === CAUGHT)) assert.equal(now, "stack", JSON.stringify(place));
      assert.deepEqual(state, now === ending ? changed : before);
      return now;
    };

    const seen = new Set<string>();
    for (const [wide, catches] of [
      [0, false],
      [1, false],
      [0, true],
    ] as const) {
      const edge = findEdge(wide);
      let guest = startGuest();
      let whole = 0;
      for (let narrow = edge + 2; whole < ENOUGH && narrow >= 0; narrow -= STRIDE) {
        const now = tryAt(guest, { narrow, wide, catches });
        if (narrow <= edge) seen.add(now);
        whole = now === "stack" ? 0 : whole + 1;
        if (now !== "done" && now !== "caught") guest = startGuest();
      }
    }
    assert.ok(seen.has(ending) && seen.has("stack"), [...seen].join());
    const again = makeWholeExchange();
    const [later, returned] = callAt(startGuest(), hook, step, FLAT, again);
    assert.deepEqual(
      [later, Math.min(returned, 0)],
      [ending, call.name === "random" ? Math.min(returned, 0) : Math.min(result, 0)],
    );
    assert.deepEqual(stateOf(again), changed);
  });
