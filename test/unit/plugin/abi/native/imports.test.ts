import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import {
  ATTEMPT,
  ATTRIBUTE,
  COLUMN,
  ENDPOINT_TEXT,
  FUEL,
  HEADERS,
  HOOK,
  type Hook,
  LEVEL,
  LIMIT,
  STATUS,
} from "../../../../../src/abi/abi.ts";
import { WORK } from "../../../../../src/abi/prices.ts";
import { FIELD_WORDS, Head, PART } from "../../../../../src/http/head.ts";
import { CallContext, type Configuration } from "../../../../../src/plugin/abi/call-context.ts";
import { HiddenNames } from "../../../../../src/plugin/abi/hidden-names.ts";
import { STARTING } from "../../../../../src/plugin/abi/hook-scope.ts";
import { resolvePath } from "../../../../../src/plugin/abi/native/calls-config.ts";
import { makeImports } from "../../../../../src/plugin/abi/native/imports.ts";
import { BareContext } from "../../../../../src/plugin/host/bare-context.ts";
import type { Fetcher } from "../../../../../src/plugin/host/fetcher.ts";
import { PluginMetrics } from "../../../../../src/plugin/host/metrics.ts";
import { ERROR } from "../../../../../src/proxy/error.ts";
import type { Exchange } from "../../../../../src/proxy/exchange.ts";
import { requestBody } from "../../../../../src/proxy/filtered-body.ts";
import { countSteps } from "../../../../support/steps.ts";
import { addField, fieldsOf, makeExchange, makeView } from "../../kit.ts";

const NAME_AT = 1024;
const VALUE_AT = 8192;
const OUT = 262_144;
const PAGES = 64;

let context: CallContext;
let exchange: Exchange;
let bare: BareContext;
let core: ReturnType<typeof makeImports>["sluice:core/1"];
let balance: ReturnType<typeof makeImports>["sluice:balance/1"];
let write: (level: number, text: number, length: number) => number;
let logField: ReturnType<typeof makeImports>["sluice:log/1"]["field"];
let dropped = 0;
let lines: string[];

const configuration: Configuration = {
  plugin: "test",
  config: { name: "x", rules: [{ to: "a.b" }, { "with.dot": { deep: 7 } }], on: true, none: null, ü: "ö" },
  hidden: null,
  bodyLimit: 1024,
  fetcher: null,
  mayFetch: () => false,
  findCluster: (name) => (name === "app" ? 4 : name === "secret" ? STATUS.denied : STATUS.absent),
  clusterIndex: (id) => (id === 4 ? 1 : STATUS.invalid),
  findStrategy: (name) => (name === "fast" ? 2 : STATUS.absent),
  strategyIndex: (id) => (id === 2 ? 0 : STATUS.invalid),
  tickEvery: () => undefined,
  keyValue: null,
  findNamespace: () => STATUS.denied,
  mayUse: () => false,
  mayShare: (name) => name === "user",
  metrics: new PluginMetrics(null, new Float64Array(0)),
  dropLog: () => void dropped++,
  log: (level, _hook, text) => {
    lines.push(`${level} ${text}`);
    return true;
  },
};

/** The attributes that a connection and a check have. */
function bareOf(hook: Hook, { id, clientAddress, listenerName, clusterName, endpoint }: Exchange): BareContext {
  const facts = hook === "connection" ? { clientAddress, listenerName } : { clusterName, endpoint };
  return Object.assign(new BareContext(), { id, ...facts });
}

function enter(hook: Hook | "start", view = 0): void {
  const withExchange = hook !== "start" && hook !== "configure" && hook !== "update";
  const number = hook === "start" ? STARTING : HOOK[hook];
  const target = hook === "connection" || hook === "health_check" ? (bare = bareOf(hook, exchange)) : exchange;
  context.begin(number, withExchange ? target : null, view > 0 ? makeView(view) : null, configuration);
}

beforeEach(() => {
  context = new CallContext(() => 1234);
  context.memory.attach(new WebAssembly.Memory({ initial: PAGES }));
  context.charge = () => 1_000_000;
  const imports = makeImports(context);
  core = imports["sluice:core/1"];
  balance = imports["sluice:balance/1"];
  write = imports["sluice:log/1"].write;
  logField = imports["sluice:log/1"].field;
  exchange = makeExchange();
  lines = [];
  dropped = 0;
  enter("request_head");
});

const put = (at: number, text: string): number => context.memory.bytes.write(text, at, "latin1");
const out = (length: number): string => context.memory.bytes.toString("latin1", OUT, OUT + length);

function get(name: string, { part = 0, nth = 0, cap = 4096 } = {}): string | number {
  const length = core.header_get(part, NAME_AT, put(NAME_AT, name), nth, OUT, cap);
  return length < 0 || length > cap ? length : out(length);
}

function set(name: string, value: string, { part = 0, add = false } = {}): number {
  const call = add ? core.header_add : core.header_set;
  return call(part, NAME_AT, put(NAME_AT, name), VALUE_AT, put(VALUE_AT, value));
}

const remove = (name: string, part = 0): number => core.header_remove(part, NAME_AT, put(NAME_AT, name));

function attribute(name: keyof typeof ATTRIBUTE): string | number {
  const length = core.attribute(ATTRIBUTE[name], OUT, 4096);
  return length < 0 ? length : out(length);
}

const setAttribute = (name: keyof typeof ATTRIBUTE, value: string): number =>
  core.attribute_set(ATTRIBUTE[name], VALUE_AT, put(VALUE_AT, value));

test("a header is found by name without regard to case, and by number", () => {
  assert.equal(get("x-a"), "one");
  assert.equal(get("X-A", { nth: 1 }), "two");
  assert.equal(get("x-a", { nth: 2 }), STATUS.absent);
  assert.equal(get("x-a", { nth: -1 }), STATUS.absent);
  assert.equal(get("x-b"), STATUS.absent);
  assert.equal(get(""), STATUS.absent);
  assert.equal(get("host"), "example.com");
});

test("a value that does not fit is not written, and its length is returned", () => {
  context.memory.bytes.fill(0xaa, OUT, OUT + 8);
  assert.equal(get("x-a", { cap: 2 }), 3);
  assert.equal(out(3), "\xaa\xaa\xaa");
  assert.equal(get("x-a", { cap: 3 }), "one");
});

test("hop-by-hop headers and aliases are absent", () => {
  assert.equal(get("connection"), STATUS.absent);
  assert.equal(get("x-forwarded_for"), STATUS.absent);
  assert.equal(core.header_count(HEADERS.request), 4);
  const names: string[] = [];
  for (let index = 0; index < 6; index++) {
    const length = core.header_at(HEADERS.request, index, 0, OUT, 100);
    if (length >= 0) names.push(out(length));
  }
  assert.deepEqual(names, ["Host", "X-A", "Accept", "x-a"]);
  assert.equal(core.header_at(HEADERS.request, 3, 1, OUT, 100), 3);
  assert.equal(out(3), "two");
  assert.equal(core.header_at(HEADERS.request, -1, 0, OUT, 100), STATUS.absent);
  assert.equal(core.header_at(HEADERS.request, 0, 2, OUT, 100), STATUS.invalid);
});

test("hidden headers are absent, and cannot be added", () => {
  addField(exchange.request, "Cookie", "secret");
  addField(exchange.request, "cookies", "none");
  const hidden = new HiddenNames(["cookie", "X-A"]);
  context.begin(HOOK.request_head, exchange, null, { ...configuration, hidden });
  assert.equal(get("COOKIE"), STATUS.absent);
  assert.equal(get("x-a", { nth: 1 }), STATUS.absent);
  assert.equal(get("x-a", { part: HEADERS.request }), STATUS.absent);
  assert.equal(get("cookies"), "none");
  assert.equal(core.header_count(HEADERS.request), 3);
  assert.equal(core.header_at(HEADERS.request, 1, 0, OUT, 100), 6);
  assert.equal(out(6), "Accept");
  assert.equal(core.header_at(HEADERS.request, 3, 0, OUT, 100), STATUS.absent);
  const length = core.head_read(HEADERS.request, OUT, 4096);
  assert.equal(context.memory.bytes.readUInt32LE(OUT), 3);
  assert.equal(out(length).slice(4 + 3 * 16), "Hostexample.comAccept*/*cookiesnone");
  assert.equal(set("Cookie", "mine"), STATUS.denied);
  assert.equal(set("cookie", "mine", { add: true }), STATUS.denied);
  assert.equal(remove("cookie"), 0);
  assert.ok(fieldsOf(exchange.request).includes("Cookie: secret"));
  enter("request_head");
  assert.equal(get("cookie"), "secret", "for a plugin that nothing is hidden from");
});

test("set replaces all values, add appends one, remove removes all, and each is read back", () => {
  assert.equal(set("x-a", "new"), STATUS.ok);
  assert.equal(get("x-a"), "new");
  assert.equal(get("x-a", { nth: 1 }), STATUS.absent);
  assert.equal(set("x-b", "1", { add: true }), STATUS.ok);
  assert.equal(set("x-b", "2", { add: true }), STATUS.ok);
  assert.equal(get("X-B", { nth: 1 }), "2");
  assert.equal(remove("x-b"), 2);
  assert.equal(remove("x-b"), 0);
  assert.equal(get("x-b"), STATUS.absent);
  assert.equal(set("x-b", ""), STATUS.ok);
  assert.equal(get("x-b"), "");
});

const own = (name: string): number => core.header_own(NAME_AT, put(NAME_AT, name));

test("an owned name is removed in every spelling, from trailers already received and later ones", () => {
  for (const name of ["X_A", "x.a", "x-ab"]) addField(exchange.request, name, "client");
  exchange.requestTrailers = new Head(64, 2);
  addField(exchange.requestTrailers, "x~a", "client");
  addField(exchange.requestTrailers, "x-sum", "1");
  assert.equal(own("x-a"), 5);
  assert.deepEqual(fieldsOf(exchange.requestTrailers), ["x-sum: 1"]);
  assert.equal(set("x-a", "mine"), STATUS.ok);
  assert.deepEqual(fieldsOf(exchange.request).slice(1), [
    ...["Accept: */*", "Connection: keep-alive", "X-Forwarded_For: evil", "x-ab: client", "x-a: mine"],
  ]);
  const trailers = new Head(64, 2);
  for (const name of ["X_A", "x-ab"]) addField(trailers, name, "client");
  exchange.takeTrailers(trailers);
  assert.deepEqual(fieldsOf(trailers), ["x-ab: client"]);
  assert.equal(own("X.A"), 1, "what a plugin before it has set");
  assert.equal(exchange.owned, 1);
  exchange.reset();
  assert.equal(exchange.owned, 0);
});

test("after a failing hook no header is owned, and its removals are undone", () => {
  exchange.requestTrailers = new Head(64, 2);
  addField(exchange.requestTrailers, "x_user", "client");
  assert.equal(own("x-a"), 2);
  assert.equal(set("x-a", "first"), STATUS.ok);
  context.end();
  enter("request_head");
  assert.equal(own("x-user"), 1);
  assert.equal(own("x.a"), 1);
  context.rollback();
  assert.equal(exchange.owned, 1);
  assert.deepEqual(fieldsOf(exchange.requestTrailers), ["x_user: client"]);
  assert.equal(get("x-a"), "first");
});

test("names that the core writes, and hidden ones, cannot be owned, nor any after the request head was sent", () => {
  for (const name of ["host", "content-length", "Content_Length", "connection", "", "a b"])
    assert.equal(own(name), STATUS.invalid, name);
  assert.equal(own("n".repeat(LIMIT.headerName + 1)), STATUS.tooLarge);
  let owned = 0;
  while (own(`n${owned}`) === 0) owned++;
  assert.equal(owned, LIMIT.ownedNames);
  context.begin(HOOK.request_head, exchange, null, { ...configuration, hidden: new HiddenNames(["x-a"]) });
  assert.equal(own("X-A"), STATUS.denied);
  for (const hook of ["response_head", "log", "request_body"] as const) {
    enter(hook);
    assert.equal(own("x-a"), STATUS.notHere, hook);
  }
});

test("bytes above 127 are passed unchanged", () => {
  assert.equal(set("x-latin", "caf\xe9 \xff"), STATUS.ok);
  assert.equal(get("x-latin"), "caf\xe9 \xff");
});

test("a header that could split or frame a message is refused", () => {
  for (const value of ["a\r\nb: c", "a\nb", "a\0b", "a\rb", "\x7f"]) assert.equal(set("x-b", value), STATUS.invalid);
  for (const name of ["x b", "x:b", "", "x\r\nb", "\xe9", "(x)"]) assert.equal(set(name, "1"), STATUS.invalid);
  for (const name of [
    "Content-Length",
    "transfer-encoding",
    "CONNECTION",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
  ]) {
    assert.equal(set(name, "1"), STATUS.invalid, name);
    assert.equal(set(name, "1", { add: true }), STATUS.invalid, name);
    assert.equal(remove(name), STATUS.invalid, name);
  }
  assert.deepEqual(fieldsOf(exchange.request), fieldsOf(makeExchange().request));
});

test("host is set with the authority, or not at all", () => {
  assert.equal(set("host", "other.example:8080"), STATUS.ok);
  assert.equal(get("host"), "other.example:8080");
  assert.equal(attribute("authority"), "other.example:8080");
  assert.equal(attribute("original_authority"), "example.com");
  assert.equal(set("host", "a b"), STATUS.invalid);
  assert.equal(set("host", "x.example", { add: true }), STATUS.invalid);
  assert.equal(remove("host"), STATUS.invalid);
  assert.equal(get("host"), "other.example:8080");
});

test("names, values, heads and counts are bounded", () => {
  assert.equal(set("n".repeat(LIMIT.headerName), "1"), STATUS.ok);
  assert.equal(set("n".repeat(LIMIT.headerName + 1), "1"), STATUS.tooLarge);
  assert.equal(set("x-big", "v".repeat(LIMIT.headerValue)), STATUS.ok);
  assert.equal(set("x-big", "v".repeat(LIMIT.headerValue + 1)), STATUS.tooLarge);
  assert.equal(set("x-more", "v".repeat(LIMIT.headerValue)), STATUS.tooLarge);
  let added = 0;
  while (set("x-n", "1", { add: true }) === STATUS.ok) added++;
  assert.equal(core.header_count(HEADERS.request), LIMIT.headerCount);
  assert.ok(added > 400 && added < LIMIT.headerCount);
});

test("setting one header repeatedly returns tooLarge at the limit of the area, without an exception", () => {
  const value = "v".repeat(60_000);
  let result: number = STATUS.ok;
  for (let i = 0; i < 40 && result === STATUS.ok; i++) result = set("x-a", value);
  assert.equal(result, STATUS.tooLarge);
});

test("setting an attribute or the host repeatedly has the same limit, and leaves space for the core", () => {
  const path = `/./${"p".repeat(60_000)}`;
  const edits: [what: string, edit: () => number, valid: string][] = [
    ["path", () => setAttribute("path", path), path.slice(2)],
    ["query", () => setAttribute("query", path), path],
    ["target", () => setAttribute("target", `${path}?${path}`), path.slice(2)],
    ["authority", () => set("host", "h".repeat(250)), "h".repeat(250)],
  ];
  for (const [what, edit, valid] of edits) {
    exchange = makeExchange();
    enter("request_head");
    assert.equal(edit(), STATUS.ok, what);
    let result: number = STATUS.ok;
    for (let i = 0; i < 6000 && result === STATUS.ok; i++) result = edit();
    assert.equal(result, STATUS.tooLarge, what);
    const head = exchange.request;
    const [start, end] = what === "authority" ? [PART.authority, PART.authority + 1] : [PART.path, PART.path + 1];
    if (what !== "query") assert.ok(head.text(head.parts[start]!, head.parts[end]!) === valid, what);
    head.reserve(2 * LIMIT.headBytes);
  }
});

test("all headers are read at once", () => {
  const length = core.head_read(HEADERS.request, OUT, 4096);
  const { bytes } = context.memory;
  const count = bytes.readUInt32LE(OUT);
  assert.equal(count, 4);
  const fields: string[] = [];
  let end = 0;
  for (let entry = OUT + 4; entry < OUT + 4 + 16 * count; entry += 16) {
    const text = (at: number) => {
      const start = bytes.readUInt32LE(at);
      end = start + bytes.readUInt32LE(at + 4);
      return bytes.toString("latin1", OUT + start, OUT + end);
    };
    fields.push(`${text(entry)}: ${text(entry + 8)}`);
  }
  assert.deepEqual(fields, ["Host: example.com", "X-A: one", "Accept: */*", "x-a: two"]);
  assert.equal(length, end);
  bytes.fill(0xaa, OUT, OUT + 100);
  assert.equal(core.head_read(HEADERS.request, OUT, length - 1), length);
  assert.equal(bytes[OUT], 0xaa);
});

test("a connection has an address and a listener, and no attributes of a request", () => {
  enter("connection");
  assert.deepEqual([attribute("client_address"), attribute("listener")], ["192.0.2.1", "web"]);
  assert.match(String(attribute("exchange_id")), /^\d+$/);
  const known = new Set(["client_address", "listener", "exchange_id"]);
  for (const name of Object.keys(ATTRIBUTE) as (keyof typeof ATTRIBUTE)[])
    if (!known.has(name)) assert.equal(attribute(name), STATUS.absent, name);
  assert.equal(core.attribute(-1, OUT, 100), STATUS.invalid);
  assert.equal(core.attribute(999, OUT, 100), STATUS.invalid);
  assert.equal(setAttribute("path", "/x"), STATUS.notHere);
  assert.equal(core.exchange_set(NAME_AT, put(NAME_AT, "k"), VALUE_AT, 1), STATUS.notHere);
  assert.equal(core.shared_set(NAME_AT, put(NAME_AT, "user"), VALUE_AT, 1), STATUS.notHere);
  assert.equal(bare.values, null);
  assert.equal(core.strategy_choose(2), STATUS.notHere);
  assert.equal(core.respond(200, 0, 0), STATUS.notHere);
  assert.equal(core.body_size(), STATUS.notHere);
  assert.equal(core.tick_every(1000), STATUS.notHere);
});

test("a connection's cluster can be chosen; a failure undoes the choice", () => {
  enter("connection");
  assert.equal(core.cluster_choose(1), STATUS.invalid);
  assert.equal(bare.chosenCluster, -1);
  assert.equal(core.cluster_choose(4), STATUS.ok);
  assert.equal(bare.chosenCluster, 1);
  context.rollback();
  assert.equal(bare.chosenCluster, -1);
  context.begin(HOOK.connection, null, null, configuration);
  assert.equal(core.cluster_choose(4), STATUS.notHere);
});

test("attributes describe the request", () => {
  exchange.routeName = "api";
  exchange.clusterName = "größe";
  assert.equal(attribute("method"), "GET");
  assert.equal(attribute("scheme"), "http");
  assert.equal(attribute("authority"), "example.com");
  assert.equal(attribute("path"), "/path");
  assert.equal(attribute("query"), "a=1");
  assert.equal(attribute("target"), "/path?a=1");
  assert.equal(attribute("client_address"), "192.0.2.1");
  assert.equal(attribute("protocol"), "1.1");
  assert.equal(attribute("route"), "api");
  assert.equal(Buffer.from(attribute("cluster") as string, "latin1").toString("utf8"), "größe");
  assert.equal(attribute("endpoint"), STATUS.absent);
  assert.equal(attribute("attempt"), "0");
  assert.equal(attribute("listener"), "web");
  assert.equal(attribute("exchange_id"), "7");
  assert.deepEqual([attribute("original_method"), attribute("original_target")], ["GET", "/path?a=1"]);
  assert.equal(attribute("upgrade"), STATUS.absent);
  assert.equal(attribute("original_authority"), "example.com");
  assert.equal(attribute("status"), STATUS.absent);
  assert.equal(attribute("duration"), STATUS.notHere);
  assert.equal(core.attribute(99, OUT, 10), STATUS.invalid);
  enter("log");
  exchange.bytesSent = 5;
  assert.equal(attribute("status"), "200");
  assert.equal(attribute("bytes_sent"), "5");
  assert.match(String(attribute("duration")), /^\d+$/);
});

test("the outcome of an exchange is available in response hooks and at its end", () => {
  exchange.error = ERROR.connectRefused;
  exchange.attempt.latency = 1234.4;
  enter("request_head");
  assert.deepEqual([attribute("error"), attribute("upstream_duration")], [STATUS.absent, STATUS.absent]);
  for (const hook of ["response_head", "response_body", "response_trailers", "outcome", "log"] as const) {
    enter(hook);
    assert.deepEqual([attribute("error"), attribute("upstream_duration")], ["connect_refused", "1234"], hook);
  }
  exchange.error = null;
  exchange.attempt.latency = 0;
  assert.deepEqual([attribute("error"), attribute("upstream_duration")], [STATUS.absent, STATUS.absent]);
});

test("attributes of the request are set, and checked", () => {
  assert.equal(setAttribute("method", "PUT"), STATUS.ok);
  assert.equal(attribute("method"), "PUT");
  assert.equal(setAttribute("method", "P T"), STATUS.invalid);
  assert.equal(setAttribute("method", "M".repeat(33)), STATUS.tooLarge);
  for (const method of ["CONNECT", "TRACE"]) assert.equal(setAttribute("method", method), STATUS.invalid);
  assert.equal(setAttribute("path", "/a/../b%41"), STATUS.ok);
  assert.equal(attribute("path"), "/bA");
  assert.equal(setAttribute("path", "b"), STATUS.invalid);
  assert.equal(setAttribute("path", "/a b"), STATUS.invalid);
  assert.equal(setAttribute("path", "/a\r\nx: y"), STATUS.invalid);
  assert.equal(setAttribute("query", "z=2"), STATUS.ok);
  assert.equal(attribute("target"), "/bA?z=2");
  assert.equal(setAttribute("query", ""), STATUS.ok);
  assert.equal(attribute("query"), STATUS.absent);
  assert.equal(setAttribute("target", "/t?q=1"), STATUS.ok);
  assert.equal(attribute("path"), "/t");
  assert.equal(attribute("query"), "q=1");
  assert.equal(setAttribute("authority", "x"), STATUS.denied);
  assert.deepEqual([attribute("original_method"), attribute("original_target")], ["GET", "/path?a=1"]);
  assert.equal(core.attribute_set(99, VALUE_AT, 1), STATUS.invalid);
  assert.equal(setAttribute("status", "404"), STATUS.notHere);
});

test("the status is set in response_head", () => {
  enter("response_head");
  assert.equal(setAttribute("status", "404"), STATUS.ok);
  assert.equal(exchange.response.status, 404);
  assert.equal(attribute("status"), "404");
  for (const status of ["99", "199", "600", "20x", "", "0200"])
    assert.equal(setAttribute("status", status), STATUS.invalid);
  assert.equal(setAttribute("method", "PUT"), STATUS.notHere);
});

test("respond makes a response, whose head is then part `response`", () => {
  assert.equal(get("server", { part: 1 }), STATUS.notHere);
  assert.equal(set("x-r", "1", { part: 1 }), STATUS.notHere);
  assert.equal(core.respond(429, VALUE_AT, put(VALUE_AT, "slow down")), STATUS.ok);
  assert.equal(exchange.localStatus, 429);
  assert.equal(exchange.localBody?.toString(), "slow down");
  assert.equal(core.header_count(HEADERS.response), 0);
  assert.equal(set("retry-after", "1", { part: 1 }), STATUS.ok);
  assert.deepEqual(fieldsOf(exchange.response), ["retry-after: 1"]);
  assert.equal(core.respond(99, 0, 0), STATUS.invalid);
  assert.equal(core.respond(600, 0, 0), STATUS.invalid);
  assert.equal(core.respond(200, 0, LIMIT.responseBody), STATUS.ok);
  assert.equal(set("retry-after", "2", { part: 1 }), STATUS.ok);
  assert.deepEqual(fieldsOf(exchange.response), ["retry-after: 2"]);
});

test("a response that is too large is rejected before anything changes", () => {
  context.memory.attach(new WebAssembly.Memory({ initial: 32 }));
  assert.equal(core.respond(200, 0, LIMIT.responseBody + 1), STATUS.tooLarge);
  assert.equal(exchange.localStatus, 0);
});

test("respond in response_head replaces the endpoint's head, which can be restored", () => {
  enter("response_head");
  const before = fieldsOf(exchange.response);
  assert.equal(core.respond(503, 0, 0), STATUS.ok);
  assert.deepEqual(fieldsOf(exchange.response), []);
  assert.equal(set("x-r", "1", { part: 1 }), STATUS.ok);
  context.rollback();
  assert.deepEqual(fieldsOf(exchange.response), before);
  assert.equal(exchange.response.status, 200);
  assert.equal(exchange.localStatus, 0);
  assert.equal(exchange.localBody, null);
});

test("values of the exchange are stored from hook to hook, private to a plugin", () => {
  const keep = (key: string, value: string) =>
    core.exchange_set(NAME_AT, put(NAME_AT, key), VALUE_AT, put(VALUE_AT, value));
  const read = (key: string) => {
    const length = core.exchange_get(NAME_AT, put(NAME_AT, key), OUT, 100);
    return length < 0 ? length : out(length);
  };
  assert.equal(read("k"), STATUS.absent);
  assert.equal(keep("k", "v"), STATUS.ok);
  assert.equal(keep("k", "w"), STATUS.ok);
  context.end();
  enter("log");
  assert.equal(read("k"), "w");
  context.begin(HOOK.log, exchange, null, { ...configuration, plugin: "other" });
  assert.equal(read("k"), STATUS.absent);
  assert.equal(keep("x".repeat(LIMIT.exchangeKey + 1), ""), STATUS.tooLarge);
  assert.equal(keep("k", "x".repeat(LIMIT.exchangeValue + 1)), STATUS.tooLarge);
  let count = 0;
  while (keep(`n${count}`, "") === STATUS.ok) count++;
  assert.equal(count, LIMIT.exchangeValues - 1);
  enter("update");
  assert.equal(read("k"), STATUS.notHere);
});

test("a value that its own call overwrites by one of its size allocates nothing", () => {
  const keep = (value: string) => core.exchange_set(NAME_AT, put(NAME_AT, "k"), VALUE_AT, put(VALUE_AT, value));
  enter("request_head");
  keep("first");
  const { bytes } = [...exchange.values!.values()][0]!;
  for (const value of ["other", "third", "longer than before"]) {
    keep(value);
    const now = [...exchange.values!.values()][0]!.bytes;
    assert.equal(Buffer.from(now).toString(), value);
    assert.equal(now === bytes, value.length === bytes.length, value);
  }
});

test("of two concurrent hooks, a failing one restores the values before its own, and none of the other's", () => {
  const other = new CallContext(() => 1234);
  const of = (whose: CallContext) => ({
    begin: () => whose.begin(HOOK.request_body, exchange, null, configuration),
    keep: (key: string, value: string) => {
      exchange.values ??= new Map();
      whose.scope.keep(exchange.values, key, Buffer.from(value));
    },
    succeed: () => whose.end(),
    fail: () => {
      whose.rollback();
      whose.end();
    },
  });
  const [a, b] = [of(context), of(other)];
  const values = () =>
    [...exchange.values!].map(([key, { bytes }]) => `${key}=${Buffer.from(bytes).toString()}`).join(" ");
  /** Begins with `k=0`; both are under way; then that happens. */
  const run = (...steps: (() => void)[]): string => {
    exchange.values = null;
    a.begin();
    a.keep("k", "0");
    a.succeed();
    a.begin();
    b.begin();
    for (const step of steps) step();
    return values();
  };
  const sets = (whose: typeof a, ...kept: string[]) => kept.map((value) => () => whose.keep("k", value));
  assert.equal(run(...sets(a, "1", "2"), a.fail, b.succeed), "k=0");
  assert.equal(run(...sets(a, "1"), ...sets(b, "2"), a.fail, b.succeed), "k=2", "the other's stays");
  assert.equal(run(...sets(a, "1"), ...sets(b, "2"), a.fail, b.fail), "k=0", "nor is one that failed put back");
  assert.equal(run(...sets(a, "1"), ...sets(b, "2"), b.fail, a.succeed), "k=1");
  assert.equal(run(...sets(a, "1"), ...sets(b, "2"), a.succeed, b.fail), "k=1");
  assert.equal(run(...sets(a, "1"), ...sets(b, "2"), ...sets(a, "3"), a.fail, b.succeed), "k=2");
  assert.equal(run(...sets(a, "1"), ...sets(b, "2"), ...sets(a, "3"), b.fail, a.fail), "k=0");
  assert.equal(
    run(
      () => a.keep("n", "1"),
      () => b.keep("n", "2"),
      a.fail,
      b.fail,
    ),
    "k=0",
    "nothing was there",
  );
});

test("clusters and strategies are found by name and chosen by id", () => {
  const find = (name: string) => core.cluster_find(NAME_AT, put(NAME_AT, name));
  assert.equal(find("app"), 4);
  assert.equal(find("secret"), STATUS.denied);
  assert.equal(find("none"), STATUS.absent);
  assert.equal(core.cluster_choose(4), STATUS.ok);
  assert.equal(exchange.chosenCluster, 1);
  assert.equal(core.cluster_choose(1), STATUS.invalid);
  assert.equal(core.strategy_find(NAME_AT, put(NAME_AT, "fast")), 2);
  assert.equal(core.strategy_choose(2), STATUS.ok);
  assert.equal(exchange.chosenStrategy, 0);
  context.rollback();
  assert.equal(exchange.chosenCluster, -1);
  assert.equal(exchange.chosenStrategy, -1);
  enter("response_head");
  assert.equal(core.cluster_choose(4), STATUS.notHere);
  assert.equal(core.strategy_choose(2), STATUS.notHere);
});

test("configuration is read by path", () => {
  const at = (path: string): [at: number, length: number] => [
    NAME_AT,
    Buffer.from(path).copy(context.memory.bytes, NAME_AT),
  ];
  const read = (path: string) => {
    const length = core.config_get(...at(path), OUT, 100);
    return length < 0 ? length : context.memory.bytes.toString("utf8", OUT, OUT + length);
  };
  for (const hook of ["start", "configure", "request_head", "update"] as const) {
    enter(hook);
    assert.equal(read("name"), "x");
    assert.equal(read("rules.0.to"), "a.b");
    assert.equal(read("rules.1.with.dot.deep"), "7");
    assert.equal(read("on"), "true");
    assert.equal(read("ü"), "ö");
    for (const path of [
      "none",
      "rules",
      "",
      "rules.2",
      "rules.length",
      "name.length",
      "__proto__",
      "constructor",
      "rules.0.to.x",
    ])
      assert.equal(read(path), STATUS.absent, path);
    const kinds = ["gone", "none", "on", "rules.1.with.dot.deep", "name", "rules", "rules.0", ""];
    assert.deepEqual(
      kinds.map((path) => core.config_kind(...at(path))),
      [0, 1, 2, 3, 4, 5, 6, 6],
    );
    assert.equal(core.config_count(...at("rules")), 2);
    assert.equal(core.config_count(...at("")), 5);
    assert.equal(core.config_count(...at("name")), STATUS.absent);
    assert.equal(core.config_key(...at("rules.1"), 0, OUT, 100), 8);
    assert.equal(out(8), "with.dot");
    assert.equal(core.config_key(...at("rules.1"), 1, OUT, 100), STATUS.absent);
    assert.equal(core.config_key(...at("rules"), 0, OUT, 100), STATUS.absent);
  }
});

test("a guest that serves many has no configuration while it starts", () => {
  context.begin(STARTING, null, null, null);
  assert.equal(core.config_get(NAME_AT, put(NAME_AT, "name"), OUT, 100), STATUS.notHere);
  assert.equal(core.config_kind(NAME_AT, 4), 0);
  assert.equal(core.config_count(NAME_AT, 4), STATUS.notHere);
  assert.equal(core.cluster_find(NAME_AT, put(NAME_AT, "app")), STATUS.notHere);
  assert.equal(write(LEVEL.info, NAME_AT, 3), STATUS.notHere);
});

test("strategies read endpoints singly, by column, and as text", () => {
  enter("pick", 3);
  assert.equal(balance.endpoint_count(), 3);
  assert.equal(balance.endpoint(2, COLUMN.id), 2);
  assert.equal(balance.endpoint(2, COLUMN.weight), 3);
  assert.equal(balance.endpoint(3, COLUMN.weight), STATUS.absent);
  assert.equal(balance.endpoint(-1, COLUMN.weight), STATUS.absent);
  assert.equal(balance.endpoint(0, Object.keys(COLUMN).length), STATUS.invalid);
  assert.equal(balance.column_read(COLUMN.weight, OUT, 100), 12);
  assert.deepEqual(
    [0, 4, 8].map((at) => context.memory.bytes.readInt32LE(OUT + at)),
    [1, 2, 3],
  );
  assert.equal(balance.column_read(COLUMN.weight, OUT, 11), 12);
  assert.equal(balance.column_read(-1, OUT, 100), STATUS.invalid);
  assert.equal(balance.endpoint_text(1, ENDPOINT_TEXT.address, OUT, 100), 14);
  assert.equal(out(14), "127.0.0.1:9001");
  assert.equal(balance.endpoint_text(1, ENDPOINT_TEXT.zone, OUT, 100), 1);
  assert.equal(balance.endpoint_text(1, 2, OUT, 100), STATUS.invalid);
  assert.equal(balance.endpoint_text(5, 0, OUT, 100), STATUS.absent);
  assert.equal(balance.attempt(ATTEMPT.latency), STATUS.notHere);
  enter("request_head");
  assert.equal(balance.endpoint_count(), STATUS.notHere);
  assert.equal(balance.endpoint(0, 0), STATUS.notHere);
  assert.equal(balance.column_read(0, OUT, 100), STATUS.notHere);
  assert.equal(balance.endpoint_text(0, 0, OUT, 100), STATUS.notHere);
});

test("outcome reads the result of the attempt", () => {
  exchange.endpoint = makeView(3).list[2]!;
  exchange.attempt.latency = 1500.7;
  exchange.attempt.status = 502;
  exchange.attempt.failed = true;
  enter("outcome");
  const values = Object.values(ATTEMPT).map((id) => balance.attempt(id));
  assert.deepEqual(values, [2, 1500, 502, 1]);
  assert.equal(balance.attempt(4), STATUS.invalid);
});

test("edits belong to their hook", () => {
  const editable: Record<Hook, readonly number[]> = {
    configure: [],
    request_head: [HEADERS.request],
    route: [HEADERS.request],
    response_head: [HEADERS.response],
    update: [],
    pick: [],
    outcome: [],
    log: [],
    request_body: [],
    request_trailers: [HEADERS.requestTrailers],
    response_body: [],
    response_trailers: [HEADERS.responseTrailers],
    tick: [],
    save: [],
    restore: [],
    connection: [],
    health_check: [],
  };
  for (const [hook, parts] of Object.entries(editable) as [Hook, number[]][]) {
    for (const part of [0, 1, 2, 3]) {
      enter(hook);
      const expected = parts.includes(part) ? STATUS.ok : STATUS.notHere;
      assert.equal(set("x-e", "1", { part }), expected, `${hook} ${part}`);
      assert.equal(set("x-e", "1", { part, add: true }), expected, `${hook} ${part}`);
    }
    assert.equal(set("x-e", "1", { part: 4 }), STATUS.invalid);
    assert.equal(set("x-e", "1", { part: -1 }), STATUS.invalid);
  }
});

test("trailers are read where there are any", () => {
  assert.equal(core.header_count(HEADERS.requestTrailers), STATUS.notHere);
  exchange.requestTrailers = makeExchange().response;
  assert.equal(get("x-a", { part: HEADERS.requestTrailers }), "three");
});

test("a hook's edits are dropped together", () => {
  const before = { request: fieldsOf(exchange.request), path: exchange.request.partText(PART.path) };
  set("x-a", "changed");
  set("x-new", "1");
  remove("accept");
  set("host", "evil.example");
  setAttribute("target", "/evil?b=2");
  core.exchange_set(NAME_AT, put(NAME_AT, "k"), VALUE_AT, 1);
  context.rollback();
  assert.deepEqual(fieldsOf(exchange.request), before.request);
  assert.equal(exchange.request.partText(PART.path), before.path);
  assert.equal(exchange.request.partText(PART.authority), "example.com");
  assert.equal(exchange.values?.size, 0);
});

test("edits of an earlier hook stay when a later hook fails", () => {
  set("x-new", "1");
  context.end();
  enter("route");
  set("x-new", "2");
  context.rollback();
  assert.equal(get("x-new"), "1");
});

test("log lines have a level, a length and a number", () => {
  assert.equal(write(LEVEL.warn, VALUE_AT, put(VALUE_AT, "careful")), STATUS.ok);
  assert.deepEqual(lines, ["warn careful"]);
  assert.equal(write(9, VALUE_AT, 3), STATUS.invalid);
  assert.equal(write(LEVEL.info, VALUE_AT, LIMIT.logLine + 1), STATUS.tooLarge);
  for (let i = 1; i < LIMIT.logLinesPerCall; i++) assert.equal(write(LEVEL.info, VALUE_AT, 1), STATUS.ok);
  assert.equal(write(LEVEL.info, VALUE_AT, 1), STATUS.tooLarge);
});

test("abort reports message and position", () => {
  const [message, file] = [put(VALUE_AT, "no tenant"), put(NAME_AT, "plugin.ts")];
  assert.throws(() => core.abort(VALUE_AT, message, NAME_AT, file, 12, 5), {
    reason: "abort",
    message: "no tenant (plugin.ts:12:5)",
  });
});

test("time and random numbers", () => {
  assert.equal(core.now(), 1234);
  const values = new Set(Array.from({ length: 100 }, () => core.random()));
  assert.ok(values.size > 90);
  for (const value of values) assert.equal(value, value | 0);
});

test("the cost of a host call is charged to the guest's fuel", () => {
  let taken = 0;
  context.charge = (units) => 1_000_000 - (taken += units);
  for (let i = 0; i < 10_000; i++) get("accept");
  const owed = taken + context.debt;
  // Six fields are examined.
  const looked = ("accept".length + WORK.field) * 6;
  assert.equal(owed, 10_000 * (FUEL.hostCall + Math.floor(looked / 64)));
  context.charge = () => -1;
  assert.throws(
    () => {
      for (let i = 0; i < 1000; i++) {
        context.busy = false;
        get("accept");
      }
    },
    { reason: "fuel" },
  );
});

test("overlapping ranges are each charged in full", () => {
  let taken = 0;
  context.charge = (units) => 1_000_000 - (taken += units);
  const { length } = context.memory.refresh();
  core.exchange_set(0, 1, 0, Math.min(length, LIMIT.exchangeValue));
  assert.ok(taken + context.debt >= FUEL.hostCall + Math.min(length, LIMIT.exchangeValue) / 64);
});

test("each field that a search examines is charged", () => {
  let taken = 0;
  context.charge = (units) => 1_000_000 - (taken += units);
  const cost = (call: () => number): number => {
    const before = taken + context.debt;
    call();
    return taken + context.debt - before;
  };
  const { request } = context.scope.exchange!;
  for (let i = request.count; i < 400; i++) addField(request, `x-${i}`, "v");
  const passed = FUEL.hostCall + Math.floor((WORK.field * request.count) / 64);
  assert.equal(
    cost(() => core.header_count(HEADERS.request)),
    passed,
  );
  assert.ok(cost(() => core.header_at(HEADERS.request, 399, 0, OUT, 100)) >= passed);
  assert.ok(cost(() => core.header_remove(HEADERS.request, NAME_AT, put(NAME_AT, "x-none"))) >= passed);
  assert.ok(cost(() => core.head_read(HEADERS.request, OUT, 10)) >= FUEL.hostCall + request.count);
  const value = put(NAME_AT + 64, "v".repeat(4000));
  assert.ok(
    cost(() => core.header_add(HEADERS.request, NAME_AT, put(NAME_AT, "x-new"), NAME_AT + 64, value)) >=
      passed + (WORK.checkedByte * value) / 64,
  );
});

test("every entry of a configuration has a path: dots in keys are escaped, or found where the path is unambiguous", () => {
  const config = {
    "https://a.example/t": 1,
    "k.io": { "n.s": [2] },
    a: { b: 3 },
    "a.b": 4,
    x: { y: 0 },
    "x.y": { z: 5 },
    "b\\.c": 6,
    ".": 7,
    length: [8],
  };
  const cases: [path: string, expected: unknown][] = [
    ["https://a.example/t", 1],
    ["k.io.n.s.0", 2],
    ["k\\.io.n\\.s.0", 2],
    ["k.io.n", undefined],
    ["a.b", 3],
    ["a\\.b", 4],
    ["x.y.z", 5],
    ["b\\\\\\.c", 6],
    ["\\.", 7],
    ["length.0", 8],
    ["length.length", undefined],
    ["toString", undefined],
    ["a\\.b.c", undefined],
  ];
  for (const [path, expected] of cases)
    assert.equal(
      resolvePath(config, path, () => undefined),
      expected,
      path,
    );
});

test("a configuration path is charged for the keys that it may begin with, at each level", () => {
  const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1), b: 2 });
  const dots = "a.".repeat(512);
  for (const [config, least] of [
    [{ b: 1 }, 512 * 4],
    [deep(60), 60 * 400 * 4],
  ] as const) {
    for (const call of ["config_get", "config_kind", "config_count", "config_key"] as const) {
      let taken = 0;
      context.charge = (units) => 1e9 - (taken += units);
      context.begin(HOOK.request_head, exchange, null, { ...configuration, config });
      core[call](NAME_AT, put(NAME_AT, dots), 0, OUT, 100);
      taken += context.debt;
      assert.ok(taken >= least, `${call}: ${taken}, expected ${least}`);
    }
  }
  context.charge = () => -1;
  context.begin(HOOK.request_head, exchange, null, { ...configuration, config: deep(60) });
  assert.throws(() => core.config_kind(NAME_AT, put(NAME_AT, dots)), { reason: "fuel" });
});

test("an attribute that is checked byte by byte is charged by its length", () => {
  const path = `/${"%41".repeat(2000)}`;
  for (const id of ["path", "target", "query"] as const) {
    const before = context.debt;
    assert.equal(setAttribute(id, path), STATUS.ok);
    assert.ok(context.debt - before >= path.length / 8, `${id}: ${context.debt - before}`);
  }
});

test("defining a metric costs fuel in proportion to its size, independent of the number of others", () => {
  const { metric_define } = makeImports(context)["sluice:metrics/1"];
  const plans = Array.from({ length: LIMIT.metrics }, (_, cells) => {
    return { kind: 0, name: `m${cells}`, help: "", labels: [["label", "v".repeat(200)] as const], buckets: [], cells };
  });
  const define = (name: string) => metric_define(0, NAME_AT, put(NAME_AT, name), 0, 0, 0, 0, 0, 0);
  for (const onTrial of [false, true]) {
    const stepsOf = (count: number): number => {
      const known = plans.slice(0, count);
      const metrics = new PluginMetrics(onTrial ? null : known, new Float64Array(100));
      context.begin(STARTING, null, null, { ...configuration, metrics });
      if (onTrial) for (const plan of known) metrics.define(plan);
      let taken = 0;
      context.charge = (units) => 1e9 - (taken += units);
      const steps = countSteps(() => {
        for (let i = 0; i < 5000; i++) define("other");
      });
      assert.ok(taken >= 5000 * 100, `${taken}`);
      return steps;
    };
    const [one, many] = [stepsOf(1), stepsOf(LIMIT.metrics - 1)];
    assert.ok(many < 1.5 * one, `${many} steps beside ${LIMIT.metrics} others, ${one} beside one`);
  }
});

test("searching a large head costs more", () => {
  for (let i = 0; i < 400; i++) addField(exchange.request, `${"n".repeat(200)}${1000 + i}`, "v");
  const name = `${"n".repeat(200)}9999`;
  get(name);
  assert.ok(context.debt > (200 * 400) / 64);
});

test("a field's words stay inside its head's bytes after any edit", () => {
  set("x-a", "1");
  set("x-z", "2", { add: true });
  for (let at = 0; at < exchange.request.count * FIELD_WORDS; at += FIELD_WORDS)
    for (let word = 0; word < 4; word++) assert.ok(exchange.request.fields[at + word]! <= exchange.request.end);
});

test("a shared value is set where the configuration allows, read by all, and dropped with a failed hook", () => {
  const share = (name: string, value: string) =>
    core.shared_set(NAME_AT, put(NAME_AT, name), VALUE_AT, put(VALUE_AT, value));
  const read = (name: string) => {
    const length = core.shared_get(NAME_AT, put(NAME_AT, name), OUT, 100);
    return length < 0 ? length : out(length);
  };
  assert.equal(read("user"), STATUS.absent);
  assert.equal(share("user", "ann"), STATUS.ok);
  assert.equal(share("role", "admin"), STATUS.denied);
  assert.equal(read("user"), "ann");
  assert.equal(core.exchange_get(NAME_AT, put(NAME_AT, "user"), OUT, 100), STATUS.absent, "its own values are others");
  context.end();
  context.begin(HOOK.response_head, exchange, null, { ...configuration, plugin: "other", mayShare: () => false });
  assert.equal(read("user"), "ann");
  assert.equal(share("user", "eve"), STATUS.denied);
  context.end();
  enter("response_head");
  share("user", "bob");
  context.rollback();
  assert.equal(read("user"), "ann");
  assert.equal(share("user".repeat(65), "x"), STATUS.tooLarge);
  enter("configure");
  assert.equal(share("user", "x"), STATUS.notHere);
  assert.equal(read("user"), STATUS.notHere);
});

test("a body replaced or extended by a plugin is limited", () => {
  const limit = configuration.bodyLimit;
  const { chunk } = requestBody(exchange);
  enter("request_body");
  const begin = (size: number) => chunk.set(Buffer.alloc(size, 1), 0, size, false);
  begin(10);
  assert.equal(core.body_replace(0, limit + 1), STATUS.tooLarge);
  assert.equal(chunk.size, 10);
  assert.equal(core.body_replace(0, limit), STATUS.ok);
  assert.equal(chunk.size, limit);
  // A received chunk can be larger: only additions count, however small.
  for (const size of [0, 10, 5 * limit]) {
    begin(size);
    assert.equal(core.body_append(0, limit - 1), STATUS.ok);
    assert.equal(core.body_append(0, 2), STATUS.tooLarge);
    assert.equal(core.body_append(0, 1), STATUS.ok);
    assert.equal(core.body_append(0, 1), STATUS.tooLarge);
    assert.equal(chunk.size, size + limit);
  }
});

test("the endpoint under check is reached only in its hook, at its own address, within the check's time", () => {
  const imports = makeImports(context);
  const { fetch } = imports["sluice:fetch/1"];
  const { probe, probe_read } = imports["sluice:probe/1"];
  const asked: string[] = [];
  const fetcher: Fetcher = {
    send: ({ target, endpoint, head, timeout }) => {
      const [line, host] = head.toString("latin1").split("\r\n");
      asked.push(`${target} ${endpoint?.address} ${line} ${host} ${timeout <= 500}`);
      return () => undefined;
    },
    probe: ({ endpoint, send, until, most, timeout }, done) => {
      asked.push(`${endpoint.address} ${send} ${until} ${most} ${timeout <= 500}`);
      done(Buffer.from("+PONG"));
      return () => undefined;
    },
  };
  const allowed = new Set(["endpoint"]);
  const begin = (hook: Hook) =>
    context.begin(HOOK[hook], exchange, null, { ...configuration, fetcher, mayFetch: (target) => allowed.has(target) });
  const ask = (hook: Hook, url: string, fields = "") => {
    begin(hook);
    return fetch(0, put(0, "GET"), 1024, put(1024, url), 8192, put(8192, fields), 0, 0, 0, 0);
  };
  const say = (hook: Hook, { send = "PING", until = "NG", most = 0, timeout = 0, length = -1 } = {}) => {
    begin(hook);
    const sent = put(0, send);
    return probe(0, length < 0 ? sent : length, 1024, put(1024, until), most, timeout);
  };
  exchange.endpoint = makeView(3).list[1]!;
  exchange.deadline = performance.now() + 500;
  assert.ok(ask("health_check", "endpoint/z?a") instanceof Promise);
  assert.ok(ask("health_check", "endpoint", "host: other\r\n") instanceof Promise);
  assert.ok(say("health_check") instanceof Promise);
  assert.deepEqual(asked, [
    "endpoint 127.0.0.1:9001 GET /z?a HTTP/1.1 host: 127.0.0.1:9001 true",
    "endpoint 127.0.0.1:9001 GET / HTTP/1.1 host: other true",
    "127.0.0.1:9001 PING NG 16384 true",
  ]);
  assert.equal(probe_read(1, OUT, 3), 3);
  assert.equal(out(3), "PON");
  assert.equal(probe_read(9, OUT, 3), 0);
  for (const hook of ["request_head", "response_head", "tick"] as const) {
    assert.equal(ask(hook, "endpoint/z"), STATUS.denied, hook);
    assert.equal(say(hook), STATUS.notHere, hook);
    assert.equal(probe_read(0, OUT, 3), STATUS.absent);
  }
  assert.equal(ask("health_check", "endpoints/z"), STATUS.invalid);
  assert.equal(ask("health_check", "endpoint:80/z"), STATUS.invalid);
  assert.equal(ask("health_check", "http://a.example/"), STATUS.denied);
  assert.equal(say("health_check", { most: LIMIT.probeAnswer + 1 }), STATUS.invalid);
  assert.equal(say("health_check", { timeout: -1 }), STATUS.invalid);
  assert.equal(say("health_check", { length: LIMIT.probeText + 1 }), STATUS.tooLarge);
  assert.throws(() => say("health_check", { length: 2 ** 30 }), { reason: "bad_pointer" });
  context.busy = false;
  allowed.clear();
  assert.equal(ask("health_check", "endpoint/z"), STATUS.denied);
  assert.equal(asked.length, 3);
});

test("a check has its cluster, endpoint and number, and stores its problem", () => {
  exchange.endpoint = makeView(3).list[1]!;
  exchange.clusterName = "app";
  enter("health_check");
  const known = Object.entries(ATTRIBUTE).flatMap(([name, id]) => {
    const length = core.attribute(id, OUT, 100);
    return length < 0 ? [] : [`${name} ${out(length)}`];
  });
  assert.deepEqual(known.slice(0, 2), ["cluster app", "endpoint 127.0.0.1:9001"]);
  assert.match(known[2]!, /^exchange_id \d+$/);
  assert.equal(known.length, 3);
  assert.equal(core.attribute(99, OUT, 100), STATUS.invalid);
  assert.equal(core.attribute(-1, OUT, 100), STATUS.invalid);
  assert.equal(core.exchange_set(NAME_AT, put(NAME_AT, "problem"), VALUE_AT, put(VALUE_AT, "full")), STATUS.ok);
  assert.equal(core.respond(200, VALUE_AT, 1), STATUS.notHere);
});

test("a subrequest is exactly one request to one target, or none", () => {
  const { fetch } = makeImports(context)["sluice:fetch/1"];
  const asked: string[] = [];
  const fetcher = {
    probe: () => () => undefined,
    send: ({ target, head }: { target: string; head: Buffer }) => {
      asked.push(`${target} ${head.toString("latin1").split("\r\n")[0]}`);
      return () => undefined;
    },
  };
  const ask = (method: string, url: string, fields = ""): unknown => {
    context.begin(HOOK.request_head, exchange, null, { ...configuration, fetcher, mayFetch: () => true });
    const [methodAt, urlAt, fieldsAt] = [0, 1024, 8192];
    return fetch(methodAt, put(methodAt, method), urlAt, put(urlAt, url), fieldsAt, put(fieldsAt, fields), 0, 0, 0, 0);
  };
  assert.ok(ask("GET", "http://a.example/x?y") instanceof Promise);
  assert.ok(ask("GET", "cluster:app", "host: other\r\nx-a: b\r\n") instanceof Promise);
  assert.deepEqual(asked, ["http://a.example GET /x?y HTTP/1.1", "cluster:app GET / HTTP/1.1"]);
  for (const [method, url, fields] of [
    ["GET /else HTTP/1.1\r\nx:", "http://a.example/"],
    ["", "http://a.example/"],
    ["G T", "http://a.example/"],
    ["CONNECT", "http://a.example/"],
    ["GET", "http://a.example:99999/"],
    ["GET", "http://[::/"],
    ["GET", "http://%zz/"],
    ["GET", "http://user@a.example/"],
    ["GET", "http://a.example/#part"],
    ["GET", "http://a.example/a b"],
    ["GET", "http://a.example/\r\nx: y"],
    ["GET", "ftp://a.example/"],
    ["GET", "cluster:"],
    ["GET", "http://a.example/", "host: b\r\n"],
    ["GET", "http://a.example/", "x: y"],
    ["GET", "http://a.example/", "x: y\r\n\r\nGET / HTTP/1.1\r\n"],
    ["GET", "http://a.example/", "x : y\r\n"],
    ["GET", "http://a.example/", "x: y\r\n z\r\n"],
    ["GET", "http://a.example/", "x: y\nz: a\r\n"],
    ["GET", "http://a.example/", "content-length: 0\r\n"],
    ["GET", "http://a.example/", "transfer-encoding: chunked\r\n"],
    ["GET", "http://a.example/", "connection: close\r\n"],
    ["GET", "cluster:app", "host: a\r\nhost: b\r\n"],
  ] as const)
    assert.equal(ask(method, url, fields), STATUS.invalid, `${method} ${url} ${fields}`);
  assert.equal(asked.length, 2);

  const sized = (url: number, fields: number, body: number, timeout: number, most: number): unknown => {
    context.begin(HOOK.request_head, exchange, null, { ...configuration, fetcher, mayFetch: () => true });
    context.memory.bytes.fill("a", 0, 3 * 1024 * 1024);
    put(0, "GET");
    put(1024, "cluster:app/");
    put(16_384, "x: ");
    put(16_384 + fields - 2, "\r\n");
    return fetch(0, 3, 1024, url, 16_384, fields, 65_536, body, timeout, most);
  };
  const { fetchUrl, fetchHead, fetchBody, fetchResponse } = LIMIT;
  assert.ok(sized(fetchUrl, fetchHead, fetchBody, 1, fetchResponse) instanceof Promise);
  assert.equal(sized(fetchUrl + 1, 6, 0, 1, 1), STATUS.tooLarge);
  assert.equal(sized(12, fetchHead + 1, 0, 1, 1), STATUS.tooLarge);
  assert.equal(sized(12, 6, fetchBody + 1, 1, 1), STATUS.tooLarge);
  assert.equal(sized(12, 6, 0, -1, 1), STATUS.invalid);
  assert.equal(sized(12, 6, 0, 1, fetchResponse + 1), STATUS.invalid);
  assert.equal(sized(12, 6, 0, 1, -1), STATUS.invalid);
  assert.equal(asked.length, 3);
});

test("fields of the access log: names checked, number and bytes bounded, the last value counts", () => {
  const add = (name: string, value: string) =>
    logField(NAME_AT, put(NAME_AT, name), VALUE_AT, context.memory.bytes.write(value, VALUE_AT, "utf8"));
  assert.equal(add("tenant", "ä"), STATUS.ok);
  assert.equal(add("tenant", "b"), STATUS.ok);
  assert.deepEqual([...exchange.logFields!], [["tenant", "b"]]);
  for (const name of ["", "1a", 'a"', "a b", "status", "time", "ä", "a\n"])
    assert.equal(add(name, "x"), STATUS.invalid, name);
  assert.equal(add("a".repeat(LIMIT.logFieldName + 1), "x"), STATUS.tooLarge);
  assert.equal(add("long", "x".repeat(LIMIT.logFieldValue)), STATUS.ok);
  assert.equal(add("longer", "x".repeat(LIMIT.logFieldValue + 1)), STATUS.tooLarge);
  for (let i = exchange.logFields!.size; i < LIMIT.logFields; i++) assert.equal(add(`f${i}`, ""), STATUS.ok);
  assert.equal(add("more", "x"), STATUS.tooLarge);
  assert.equal(add("tenant", "c"), STATUS.ok);
  assert.equal(dropped, 2);
  for (const hook of ["connection", "health_check"] as const) {
    enter(hook);
    assert.equal(add("here", "x"), STATUS.notHere);
  }
  enter("update");
  assert.equal(add("here", "x"), STATUS.notHere);
  enter("log");
  assert.equal(add("tenant", "d"), STATUS.ok);
});
