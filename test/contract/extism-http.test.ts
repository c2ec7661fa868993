/** `sluice:http/1`: Extism plugins read and change messages by host calls instead of JSON. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ATTRIBUTE, HEADERS, type HOOK } from "../../src/abi/abi.ts";
import { PART } from "../../src/http/head.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { requestBody } from "../../src/proxy/filtered-body.ts";
import { extismModule, place } from "../support/extism.ts";
import { fieldsOf } from "../unit/plugin/kit.ts";
import { call, Endpoints, exchange, load } from "./plugin-harness.ts";

const OWNED = "x.one";
const LONG = `/${"long".repeat(50)}`;
const TEXTS = ["x-one", "new", "te", "/b%20c", "canary", "random", "a b", "", "x-secret", "X-Two", "0", OWNED];
const text = (value: string) => `(call $text ${place(TEXTS.indexOf(value), value)})`;
const number = (value: number) => `(i64.const ${value})`;
const log = (value: string) => `(call $log_info ${value})`;
const { request, response } = HEADERS;

const REQUEST = `GET ${LONG}?q=1 HTTP/1.1\nHost: a\nX-One: 1\nX-One: 2\nX-Bytes: \xe4\nTE: trailers\nX-Secret: s`;
const RESPONSE = "HTTP/1.1 404 Not Found\nServer: s";

type Ran = { readonly outcome: number; readonly reports: string[]; readonly exchange: Exchange };

function run(body: string, hook: keyof typeof HOOK = "request_head", name = "on_request"): Ran {
  const module = extismModule(`(func (export "${name}") (result i32) ${body} (i32.const 0))`, TEXTS);
  const loaded = load(module, {
    configs: [{}],
    clusters: ["app", "canary"],
    allowed: ["canary"],
    strategies: ["random"],
    hidden: ["x-secret"],
  });
  const x = exchange(REQUEST, RESPONSE);
  const outcome = call(loaded, hook, x);
  loaded.dispose();
  const reports = loaded.reports.map((line) => line.replace(/^error: plugin test failed in \w+: /, "failed: "));
  return { outcome, reports, exchange: x };
}

test("attributes, headers and lists of headers are read", () => {
  const get = (name: string, nth = 0) => log(`(call $http_header_get ${number(request)} ${text(name)} ${number(nth)})`);
  const attribute = (id: number) => log(`(call $http_attribute ${number(id)})`);
  const { method, path, route, client_address } = ATTRIBUTE;
  const attributes = run([method, path, route, client_address].map(attribute).join(""));
  assert.deepEqual(attributes.reports, ["info: GET", `info: ${LONG}`, "info: ", "info: 192.0.2.1"]);
  const values = run([get("x-one"), get("X-Two"), get("x-one", 1), get("x-one", 2), get("x-one", -1)].join(""));
  assert.deepEqual(values.reports, ["info: 1", "info: ", "info: 2", "info: ", "info: "]);
  const { reports } = run([get("te"), get("x-secret"), log(`(call $http_headers ${number(request)})`)].join(""));
  assert.deepEqual(reports.slice(0, 2), ["info: ", "info: "]);
  assert.match(reports[2]!, /^info: host: a\W+x-one: 1\W+x-one: 2\W+x-bytes: [^a-z]+$/);
  const trailers = `(call $http_header_get ${number(HEADERS.requestTrailers)} ${text("x-one")} ${number(0)})`;
  const none = run(log(trailers) + log(`(call $http_headers ${number(HEADERS.responseTrailers)})`));
  assert.deepEqual([none.outcome, none.reports], [OUTCOME.continue, ["info: ", "info: "]]);
  const status = run(
    attribute(ATTRIBUTE.status) + log(`(call $http_headers ${number(response)})`),
    "response_head",
    "on_response",
  );
  assert.deepEqual(
    status.reports.map((line) => line.trim()),
    ["info: 404", "info: server: s"],
  );
});

test("the block of an attribute has its length, and later blocks do not overlap it", () => {
  const body = `(local $a i64) (local $b i64)
    (local.set $a (call $http_attribute ${number(ATTRIBUTE.path)}))
    (local.set $b (call $http_attribute ${number(ATTRIBUTE.method)}))
    (drop (call $http_attribute ${number(ATTRIBUTE.route)}))
    (if (i64.ne (call $length (local.get $a)) ${number(LONG.length)}) (then unreachable))
    (if (i64.ne (call $length (local.get $b)) (i64.const 3)) (then unreachable))
    ${log("(local.get $a)")} ${log(text("new"))} ${log("(local.get $b)")}`;
  assert.deepEqual(run(body).reports, [`info: ${LONG}`, "info: new", "info: GET"]);
});

test("a name is owned: the client's spellings of it are removed", () => {
  const { outcome, exchange } = run(`
    (if (i64.ne (call $http_header_own ${text(OWNED)}) (i64.const 2)) (then unreachable))
    (call $http_header_set ${number(request)} ${text("x-one")} ${text("new")})`);
  assert.equal(outcome, OUTCOME.continue);
  assert.deepEqual(
    fieldsOf(exchange.request).filter((line) => /one/i.test(line)),
    ["x-one: new"],
  );
  const denied = run(`(drop (call $http_header_own ${text("x-secret")}))`);
  assert.deepEqual(denied.reports, ['failed: header_own: "x-secret" is hidden from the plugin (allow.headers.hide)']);
});

test("headers and attributes are changed, clusters and strategies chosen", () => {
  const body = `
    (call $http_header_set ${number(request)} ${text("x-one")} ${text("new")})
    (call $http_header_add ${number(request)} ${text("X-Two")} ${text("a b")})
    (call $http_header_add ${number(request)} ${text("X-Two")} ${text("")})
    (drop (call $http_header_remove ${number(request)} ${text("x-one")}))
    (call $http_attribute_set ${number(ATTRIBUTE.path)} ${text("/b%20c")})
    (call $http_cluster_choose ${text("canary")})
    (call $http_strategy_choose ${text("random")})`;
  const { outcome, reports, exchange: x } = run(body);
  assert.equal(outcome, OUTCOME.continue, reports.join());
  assert.deepEqual(fieldsOf(x.request).slice(1), [
    "X-Bytes: \xe4",
    "TE: trailers",
    "X-Secret: s",
    "X-Two: a b",
    "X-Two: ",
  ]);
  assert.equal(x.request.partText(PART.path), "/b%20c");
  assert.deepEqual([x.chosenCluster, x.chosenStrategy], [1, 0]);
});

test("respond, reject and buffer_body are the result", () => {
  const respond = `(call $http_respond (i64.const 418) ${text("new")})`;
  const set = `(call $http_header_set ${number(response)} ${text("x-one")} ${text("new")})`;
  const given = run(`${respond} ${set}`);
  assert.equal(given.outcome, OUTCOME.respond, given.reports.join());
  const { localStatus, localBody, response: head } = given.exchange;
  assert.deepEqual([localStatus, localBody?.toString(), fieldsOf(head)], [418, "new", ["x-one: new"]]);
  assert.equal(run("(call $http_reject)").outcome, OUTCOME.reject);
  assert.equal(run("(call $http_buffer_body)").outcome, OUTCOME.buffer);
  assert.equal(run("", "response_head", "on_response").outcome, OUTCOME.continue);
});

test("the body hook of a buffered head changes the head, the body and the result", () => {
  const set = `(call $http_header_set ${number(request)} ${text("x-one")} ${text("new")})`;
  const replace = `(call $put ${place(TEXTS.indexOf("a b"), "a b")})`;
  const respond = `(call $http_respond (i64.const 418) ${text("new")})`;
  const cases: [body: string, outcome: number, made: string][] = [
    [set + replace, OUTCOME.continue, "a b"],
    [respond, OUTCOME.respond, "old"],
    ["(call $http_reject)", OUTCOME.reject, "old"],
    ["(call $http_buffer_body)", OUTCOME.failed, "old"],
  ];
  for (const [body, outcome, made] of cases) {
    const module = extismModule(`(func (export "on_request_body") (result i32) ${body} (i32.const 0))`, TEXTS);
    const loaded = load(module);
    const x = exchange(REQUEST);
    const filtered = requestBody(x);
    filtered.buffered = true;
    filtered.chunk.set(Buffer.from("old"), 0, 3, true);
    assert.equal(call(loaded, "request_body", x), outcome, loaded.reports.join());
    assert.equal(filtered.chunk.made.toString(), made);
    assert.equal(x.request.get("x-one"), body.startsWith(set) ? "new" : "1");
  }
});

test("the head hooks have no input, pick only the endpoints", () => {
  const imports = `(drop (call $http_headers ${number(request)}))`;
  const { reports } = run(`${imports} (if (i64.ne (call $input_length) (i64.const 0)) (then unreachable))`);
  assert.deepEqual(reports, []);
  const copies = `(local $at i64) (local $i i64)
    (local.set $at (call $alloc (call $input_length)))
    (loop $next
      (call $store_u8 (i64.add (local.get $at) (local.get $i)) (call $input_load_u8 (local.get $i)))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $i) (call $input_length))))
    ${log("(local.get $at)")} ${imports} (call $put ${place(TEXTS.indexOf("0"), "0")})`;
  const loaded = load(extismModule(`(func (export "pick") ${copies})`, TEXTS));
  assert.equal(loaded.instances[0]!.pick(exchange(REQUEST), Endpoints.ofWeights([1]).view()), 0, loaded.reports.join());
  const input = JSON.parse(loaded.reports[0]!.slice(6)) as object;
  assert.deepEqual(Object.keys(input), ["hook", "endpoints"]);
});

test("a rejected call fails the hook with its cause, and undoes its changes", () => {
  const set = (part: number, name: string, value = "new") =>
    `(call $http_header_set ${number(part)} ${text(name)} ${text(value)})`;
  const cases: [body: string, cause: RegExp][] = [
    [set(request, "a b"), /header_set: "a b" is not valid there/],
    [set(request, "te"), /header_set: "te" is not valid there, or one that plugins may not change/],
    [set(request, "x-secret"), /header_set: "x-secret" is hidden/],
    [set(response, "x-one"), /header_set: "x-one" cannot be changed in this hook/],
    [set(9, "x-one"), /header_set: "x-one" is not valid there/],
    [`(drop (call $http_headers ${number(response)}))`, /headers: part 1 is not available in this hook/],
    [`(drop (call $http_headers ${number(-1)}))`, /headers: part -1 is unknown/],
    [`(drop (call $http_attribute ${number(999)}))`, /attribute: 999 is unknown/],
    [`(drop (call $http_attribute ${number(ATTRIBUTE.bytes_sent)}))`, /attribute: 16 is not available in this hook/],
    [`(call $http_attribute_set ${number(ATTRIBUTE.scheme)} ${text("new")})`, /attribute_set: 1 cannot be changed/],
    [
      `(call $http_attribute_set ${number(ATTRIBUTE.path)} ${text("new")})`,
      /attribute_set: 3 is unknown, or has another form/,
    ],
    [`(call $http_cluster_choose ${text("new")})`, /cluster: "new" is unknown/],
    [`(call $http_respond (i64.const 99) ${text("new")})`, /respond: the status 99, expected a number from 200/],
    [`(call $http_respond (i64.const 200) (i64.const 5))`, /respond: 5 is not a block of memory/],
    ["(call $http_reject) (call $http_buffer_body)", /both reject and buffer_body were called/],
    [`(call $http_reject) (call $http_respond (i64.const 200) ${text("")})`, /returned 2 after a call of respond/],
    [`(call $http_headers (i64.const 0)) (call $put_block)`, /an output was set, but a plugin that imports/],
  ];
  for (const [body, cause] of cases) {
    const { outcome, reports, exchange: x } = run(`${set(request, "X-Two")} ${body}`);
    assert.equal(outcome, OUTCOME.failed, body);
    assert.match(reports[0]!, cause);
    assert.equal(x.request.get("x-two"), undefined);
  }
});
