/** Inputs and outputs of Extism hooks (docs/extism.md). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeKernel } from "../../scripts/build-extism-kernel.ts";
import { HOOK, REWRITES } from "../../src/abi/abi.ts";
import { PART } from "../../src/http/head.ts";
import { PLUGIN_CELLS } from "../../src/observe/series.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import { requestBody } from "../../src/proxy/filtered-body.ts";
import { loadPlugin } from "../../src/testing/load.ts";
import { extismModule, place } from "../support/extism.ts";
import { compileWat, fieldsOf } from "../unit/plugin/kit.ts";
import { builtIn, call, Endpoints, exchange, type Loaded, load } from "./plugin-harness.ts";

const HEADS = ["on_request", "route", "on_response", "pick"] as const;

/** Logs its input, and outputs the configuration's `out`. */
const SAYS = extismModule(
  `(func $say
     (local $at i64)
     (local.set $at (call $alloc (call $input_length)))
     (call $copy (local.get $at))
     (call $log_info (local.get $at))
     (call $put_block (call $config_get (call $text ${place(0, "out")}))))
   (func $copy (param $to i64)
     (local $i i64)
     (loop $next
       (call $store_u8 (i64.add (local.get $to) (local.get $i)) (call $input_load_u8 (local.get $i)))
       (local.set $i (i64.add (local.get $i) (i64.const 1)))
       (br_if $next (i64.lt_u (local.get $i) (call $input_length)))))
   ${HEADS.map((name) => `(func (export "${name}") (result i32) (call $say) (i32.const 0))`).join("\n")}`,
  ["out"],
);

const REQUEST = 'GET /a/b?c="d" HTTP/1.1\nHost: Example.com\nX-One: 1\nX-One: 2\nX-Bytes: \xe4\xff\nAccept: */*';
const RESPONSE = "HTTP/1.1 404 Not Found\nServer: s\nSet-Cookie: a\nSet-Cookie: b";

function withOutput(out: unknown, clusters = ["app", "canary"]): Loaded {
  const config = out === undefined ? {} : { out };
  return load(SAYS, { configs: [config], clusters, allowed: ["canary"], strategies: ["random"] });
}

/** The input of a hook, as it was logged. */
function inputOf({ reports }: Loaded): unknown {
  return JSON.parse(reports.find((line) => line.startsWith("info: "))!.slice(6));
}

const HEADERS = [
  ["host", "Example.com"],
  ["x-one", "1"],
  ["x-one", "2"],
  ["x-bytes", "\xe4\xff"],
  ["accept", "*/*"],
];
const ASKED = {
  method: "GET",
  scheme: "http",
  authority: "Example.com",
  path: "/a/b",
  query: 'c="d"',
  client: "192.0.2.1",
  headers: HEADERS,
};

test("on_request and route get the request", () => {
  for (const [hook, name] of [
    ["request_head", "on_request"],
    ["route", "route"],
  ] as const) {
    const loaded = withOutput(undefined);
    assert.equal(call(loaded, hook, exchange(REQUEST)), OUTCOME.continue);
    assert.deepEqual(inputOf(loaded), { hook: name, ...ASKED });
  }
});

test("the input contains the upgrade and the TLS facts", () => {
  const tls = {
    version: "TLSv1.3",
    serverName: "a.example",
    cipher: "",
    protocol: "",
    resumed: false,
    clientSubject: 'CN="ä"',
    clientNames: "",
    clientFingerprint: "00ff",
  };
  const x = exchange("GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: WebSocket");
  Object.defineProperty(x, "tls", { value: tls });
  const loaded = withOutput(undefined);
  assert.equal(call(loaded, "request_head", x), OUTCOME.continue);
  const { version, serverName, clientSubject, clientFingerprint } = tls;
  const input = inputOf(loaded) as Record<string, unknown>;
  assert.deepEqual(
    [input.upgrade, input.tls, input.headers],
    ["websocket", { version, serverName, clientSubject, clientFingerprint }, [["host", "a"]]],
  );
});

test("on_response gets the response and its request", () => {
  const loaded = withOutput(undefined);
  assert.equal(call(loaded, "response_head", exchange(REQUEST, RESPONSE)), OUTCOME.continue);
  const headers = [
    ["server", "s"],
    ["set-cookie", "a"],
    ["set-cookie", "b"],
  ];
  assert.deepEqual(inputOf(loaded), { hook: "on_response", status: 404, headers, request: ASKED });
});

test("pick gets the endpoints, and returns an index", () => {
  const endpoints = Endpoints.ofWeights([1, 3]);
  endpoints.setInFlight(1, 7);
  const loaded = withOutput("1");
  const x = exchange(REQUEST);
  assert.equal(loaded.instances[0]!.pick(x, endpoints.view()), 1);
  const common = { latency: 0, errorRate: 0 };
  assert.deepEqual(inputOf(loaded), {
    hook: "pick",
    endpoints: [
      { address: "10.0.0.0:80", id: 100, weight: 1, inFlight: 0, ...common },
      { address: "10.0.0.1:80", id: 101, weight: 3, inFlight: 7, ...common },
    ],
    request: ASKED,
  });
  for (const [out, picked] of [
    ["0", 0],
    ["-1", -1],
    [undefined, -1],
    ["2", -2],
    ["0.5", -2],
    ['"0"', -2],
  ] as const)
    assert.equal(withOutput(out).instances[0]!.pick(exchange(REQUEST), endpoints.view()), picked, String(out));
});

test("on_request edits the request's head", () => {
  const edits = {
    method: "POST",
    path: "/x",
    query: "y=1",
    headers: { remove: ["x-bytes", "absent"], set: { "x-one": "3", "X-Two": ["a", "\xe9"] }, add: { "x-one": "4" } },
    cluster: "canary",
    strategy: "random",
  };
  const x = exchange(REQUEST);
  assert.equal(call(withOutput(edits), "request_head", x), OUTCOME.continue);
  const lines = ["Host: Example.com", "X-One: 3", "Accept: */*", "X-Two: a", "X-Two: \xe9", "x-one: 4"];
  assert.deepEqual(fieldsOf(x.request), lines);
  const parts = [PART.method, PART.path, PART.query].map((part) => x.request.partText(part));
  assert.deepEqual(parts, ["POST", "/x", "y=1"]);
  assert.deepEqual([x.chosenCluster, x.chosenStrategy], [1, 0]);
});

test("on_request owns names: the client's spellings of them are removed, in headers and trailers", () => {
  const spoofed = `${REQUEST}\nX-User: root\nx_user: root\nX.User: root`;
  const own = { headers: { own: ["x-user", "x-role"], set: { "x-user": "ann" } } };
  const x = exchange(spoofed);
  assert.equal(call(withOutput(own), "request_head", x), OUTCOME.continue);
  assert.deepEqual(
    fieldsOf(x.request).filter((line) => /user/i.test(line)),
    ["x-user: ann"],
  );
  const trailers = exchange("GET / HTTP/1.1\nHost: a\nX_User: root\nX-Sum: 1\nX-Role: root").request;
  x.takeTrailers(trailers);
  assert.deepEqual(fieldsOf(trailers), ["Host: a", "X-Sum: 1"]);
  // A failed hook owns nothing.
  const y = exchange(spoofed);
  const failing = { headers: { own: ["x-user", "te"] } };
  assert.equal(call(withOutput(failing), "request_head", y), OUTCOME.failed);
  assert.equal(fieldsOf(y.request).filter((line) => /user/i.test(line)).length, 3);
  assert.equal(y.owned, 0);
});

test("a local response, a rejection, a buffered head", () => {
  const respond = { status: 401, headers: { "www-authenticate": ["Basic", "Bearer"] }, body: "nö" };
  const x = exchange(REQUEST);
  assert.equal(call(withOutput({ respond }), "request_head", x), OUTCOME.respond);
  assert.deepEqual([x.localStatus, x.localBody!.toString(), x.respondedBy], [401, "nö", "test"]);
  assert.deepEqual(fieldsOf(x.response), ["www-authenticate: Basic", "www-authenticate: Bearer"]);
  assert.equal(call(withOutput({ reject: true }), "request_head", exchange(REQUEST)), OUTCOME.reject);
  assert.equal(call(withOutput({ buffer: true }), "request_head", exchange(REQUEST)), OUTCOME.buffer);
  const y = exchange(REQUEST, RESPONSE);
  assert.equal(call(withOutput({ respond: { bodyBase64: "AP8=" } }), "response_head", y), OUTCOME.respond);
  assert.deepEqual([y.localStatus, y.localBody!.toString("latin1"), fieldsOf(y.response)], [200, "\0\xff", []]);
  const z = exchange(REQUEST, RESPONSE);
  const edits = { status: 410, headers: { remove: ["server"], set: { "set-cookie": "c" } } };
  assert.equal(call(withOutput(edits), "response_head", z), OUTCOME.continue);
  assert.deepEqual([z.response.status, fieldsOf(z.response)], [410, ["Set-Cookie: c"]]);
});

test("an invalid output fails the hook by name, and changes nothing", () => {
  const cases: [out: unknown, message: RegExp][] = [
    ["{", /^the output is not JSON: /],
    ["[]", /^the output is a list, expected an object$/],
    [{ header: {} }, /^the output has an unknown key "header", expected one of method, path, query, headers/],
    [{ headers: { sets: {} } }, /unknown key "headers.sets", expected one of own, set, add, remove$/],
    [{ headers: { set: { a: 1 } } }, /^the output's "headers.set.a" is "1", expected a text$/],
    [{ headers: { remove: "a" } }, /^the output's "headers.remove" is "a", expected a list of texts$/],
    [{ headers: { set: { x: "1", "a b": "1" } } }, /^headers.set: "a b" is not valid there/],
    [{ headers: { set: { a: "1\r\nb: 2" } } }, /^headers.set: "a" is not valid there/],
    [{ headers: { set: { a: "€" } } }, /^headers.set: the character U\+20ac is no byte$/],
    [{ headers: { set: { "content-length": "1" } } }, /^headers.set: "content-length" is not valid there/],
    [{ headers: { remove: ["transfer-encoding"] } }, /^headers.remove: "transfer-encoding" is not valid/],
    [{ path: "no-slash" }, /^path is not valid there/],
    [{ method: "CONNECT" }, /^method is not valid there/],
    [{ cluster: "none" }, /^cluster: "none" is unknown$/],
    [{ cluster: "app" }, /^cluster: "app" is not one that the plugin may choose \(allow.clusters\)$/],
    [{ strategy: "none" }, /^strategy: "none" is unknown$/],
    [{ respond: { status: 99 } }, /^the output's "respond.status" is "99", expected a whole number from 200/],
    [{ respond: { body: 1 } }, /^the output's "respond.body" is "1", expected a text$/],
    [{ respond: { bodyBase64: "not base64" } }, /^the output's "respond.bodyBase64" is "not base64", expected base64$/],
    [{ respond: { bodyBase64: "AP8A=" } }, /^the output's "respond.bodyBase64" is "AP8A=", expected base64$/],
    [
      { respond: { body: "a", bodyBase64: "Yg==" } },
      /^the output has both "respond.body" and "respond.bodyBase64", expected one$/,
    ],
    [{ reject: "yes" }, /^the output's "reject" is "yes", expected true or false$/],
    ["[".repeat(10_000), /^the output is not JSON/],
  ];
  for (const [out, message] of cases) {
    const loaded = withOutput(out);
    const x = exchange(REQUEST);
    const before = fieldsOf(x.request);
    assert.equal(call(loaded, "request_head", x), OUTCOME.failed, String(message));
    const [report = ""] = loaded.reports.filter((line) => line.startsWith("error: "));
    const prefix = "error: plugin test failed in request_head: ";
    assert.equal(report.slice(0, prefix.length), prefix);
    assert.match(report.slice(prefix.length), message);
    assert.deepEqual([fieldsOf(x.request), x.localStatus, x.chosenCluster], [before, 0, -1], String(message));
  }
});

test("an output without a change: nothing, or an empty object", () => {
  for (const out of [undefined, "{}", '{"headers":{}}']) {
    const x = exchange(REQUEST);
    assert.equal(call(withOutput(out), "request_head", x), OUTCOME.continue);
  }
});

test("an output of which only a part could take effect is rejected", () => {
  const both = (a: string, b: string) => new RegExp(`^the output has both "${a}" and "${b}", expected one$`);
  const respond = { status: 204 };
  const cases: [hook: keyof typeof HOOK, out: unknown, cause: RegExp][] = [
    ["request_head", { reject: true, respond }, both("respond", "reject")],
    ["request_head", { buffer: true, respond }, both("respond", "buffer")],
    ["request_head", { buffer: true, reject: true }, both("reject", "buffer")],
    ["route", { reject: true, respond }, both("respond", "reject")],
    ["route", { buffer: true }, /^the output has an unknown key "buffer", expected one of method, path/],
    ["response_head", { respond, status: 201 }, both("respond", "status")],
    ["response_head", { respond, headers: {} }, both("respond", "headers")],
    ["response_head", { respond, buffer: true }, both("respond", "buffer")],
  ];
  for (const [hook, out, cause] of cases) {
    const loaded = withOutput(out);
    assert.equal(call(loaded, hook, exchange(REQUEST, RESPONSE)), OUTCOME.failed, JSON.stringify(out));
    const [report = ""] = loaded.reports.filter((line) => line.startsWith("error: "));
    assert.match(report.replace(/^error: plugin test failed in \w+: /, ""), cause);
  }
  const fine = withOutput({ reject: false, buffer: false, respond });
  assert.equal(call(fine, "request_head", exchange(REQUEST)), OUTCOME.respond);
});

test("a chunk of a body passes, is replaced or dropped", () => {
  const body = (code: string) =>
    extismModule(`(func (export "on_request_body") (result i32) ${code} (i32.const 0))`, ["new"]);
  for (const [code, made] of [
    ["", "old"],
    [`(call $put ${place(0, "new")})`, "new"],
    ["(call $output_set (i64.const 0) (i64.const 0))", ""],
  ]) {
    const x = exchange(REQUEST);
    const { chunk } = requestBody(x);
    chunk.set(Buffer.from("old"), 0, 3, true);
    assert.equal(call(load(body(code!)), "request_body", x), OUTCOME.continue);
    assert.equal(chunk.made.toString(), made);
  }
});

test("a module that cannot be a plugin is rejected with the reason", () => {
  const env = (name: string, type: string) => `(import "extism:host/env" "${name}" (func ${type}))`;
  const hook = '(func (export "on_request") (result i32) (i32.const 0))';
  const cases: [wat: string, message: RegExp][] = [
    [env("input_length", "(result i64)"), /^an Extism plugin that exports no hook, expected one of on_request, route/],
    [env("input_length", "(result i32)") + hook, /^imports extism:host\/env.input_length as \(\) -> i32, expected/],
    [env("input_size", "(result i64)") + hook, /imports extism:host\/env.input_size, which the host does not offer$/],
    [`${env("free", "(param i64)")}(import "env" "x" (func)) ${hook}`, /imports env.x, which the host does not offer$/],
    [
      `${env("free", "(param i64)")}(func (export "pick") (param i32))`,
      /^the export pick is \(i32\) -> \(\), expected \(\) -> i32 or \(\) -> \(\)$/,
    ],
    [`${env("free", "(param i64)")}(memory (export "route") 1)`, /^the export route is a memory, expected a function$/],
  ];
  for (const [wat, message] of cases)
    assert.throws(() => buildModule(compileWat(`(module ${wat})`), { memory: 65536 }), { message }, wat);
});

test("a configuration names the functions that are hooks", () => {
  const shouts = extismModule(`(func (export "shout") (result i32) (call $put ${place(0, "NEW")}) (i32.const 0))`, [
    "NEW",
  ]);
  const hooks = { on_request_body: "shout", on_response_body: "shout" };
  const { info } = buildModule(shouts, { memory: 65536 * 4, hooks });
  assert.equal(info.hooks, (1 << HOOK.request_body) | (1 << HOOK.response_body) | REWRITES.request | REWRITES.response);
  const cases: [wasm: Uint8Array, hooks: Record<string, string>, message: RegExp][] = [
    [shouts, {}, /expected one of on_request.* or `hooks: \{ on_request: NAME \}`; it exports shout$/],
    [shouts, { on_request: "whisper" }, /^exports no "whisper", which is named as its hook on_request$/],
    [builtIn("round-robin"), { pick: "pick" }, /^a module of the native ABI exports hooks by their names/],
  ];
  for (const [wasm, names, message] of cases)
    assert.throws(() => buildModule(wasm, { memory: 65536 * 64, hooks: names }), { message });
});

test("a guest counts as two: it has two memories", () => {
  const say = (call: string) => extismModule(`(func (export "on_request") (result i32) ${call} (i32.const 0))`);
  const capacity = (wasm: Uint8Array) => {
    const options = { cells: new Float64Array(PLUGIN_CELLS.size), report: () => undefined };
    const { host, set } = loadPlugin(buildModule(wasm, { memory: 65536 * 4 }), options);
    const count = host.capacity();
    set.dispose();
    return count;
  };
  assert.equal(capacity(say("(drop (call $input_length))")), 2);
  // One, and sixteen that may be suspended.
  assert.equal(capacity(say("(drop (call $http_request (i64.const 0) (i64.const 0)))")), 34);
});

test("kernel-bytes.ts is compiled from kernel.wat (node scripts/build-extism-kernel.ts)", async () => {
  const { KERNEL } = await import("../../src/plugin/abi/extism/kernel-bytes.ts");
  const made = await makeKernel();
  assert.equal(KERNEL, Array.from(made.matchAll(/^ {2}"(.*)",$/gm), ([, line]) => line).join(""));
});
