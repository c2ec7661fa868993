/** extism-plugins-decide: Extism plugins filter, route, choose endpoints and send requests in the real program. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import type { HookStep, TraceRecord } from "../../src/trace/record.ts";
import { extismModule, place } from "../support/extism.ts";
import { connectTo, exchange, startUpstream } from "./peers.ts";
import { type LiveTest, type Ports, startSluice, testInUsualMode, until } from "./program.ts";

const TOKEN = "a-token-that-cannot-be-guessed";

/** Outputs the configuration's `out` in each of these hooks. */
const outputs = (...hooks: string[]) =>
  extismModule(
    hooks
      .map(
        (name) => `(func (export "${name}") (result i32)
          (call $put_block (call $config_get (call $text ${place(0, "out")}))) (i32.const 0))`,
      )
      .join("\n"),
    ["out"],
  );

/** Sends the configuration's `request` with a body, and outputs the response's body. */
const ASKS = extismModule(
  `(func (export "on_request") (result i32)
     (local $response i64)
     (local.set $response
       (call $http_request (call $config_get (call $text ${place(0, "request")})) (call $text ${place(1, "who")})))
     (if (i32.eq (call $http_status_code) (i32.const 200)) (then (call $put_block (local.get $response))))
     (i32.const 0))`,
  ["request", "who"],
);

/** Appends a byte to each chunk. */
const MARKS = extismModule(
  `(func (export "mark") (result i32)
     (local $i i64) (local $to i64)
     (local.set $to (call $alloc (i64.add (call $input_length) (i64.const 1))))
     (block $done (loop $next
       (br_if $done (i64.ge_u (local.get $i) (call $input_length)))
       (call $store_u8 (i64.add (local.get $to) (local.get $i)) (call $input_load_u8 (local.get $i)))
       (local.set $i (i64.add (local.get $i) (i64.const 1)))
       (br $next)))
     (call $store_u8 (i64.add (local.get $to) (local.get $i)) (i32.const 33))
     (call $put_block (local.get $to))
     (i32.const 0))`,
);

const SEEN = '{"kind":"counter","name":"seen_total","help":"Seen.","labels":{"a":"b"}}';

/** Hooks without a message: an endpoint is healthy if it responds with 200; a line for each of the others. */
const EVENTS = extismModule(
  `(func (export "on_health_check")
     (drop (call $http_request (call $text ${place(0, '{"url":"endpoint/healthz"}')}) (i64.const 0)))
     (if (i32.ne (call $http_status_code) (i32.const 200)) (then (call $put ${place(1, '{"healthy":false}')}))))
   (func (export "on_connection") (call $log_info (call $text ${place(2, "connected")})))
   (global $seen (mut i64) (i64.const -1))
   (func (export "on_configure") (global.set $seen (call $user_metrics_define (call $text ${place(6, SEEN)}))))
   (func (export "on_log")
     (call $log_info (call $text ${place(3, "ended")})) (call $metrics_add (global.get $seen) (f64.const 2)))
   (func (export "on_tick")
     (call $log_info (call $text ${place(4, "ticked")})) (call $put ${place(5, '{"every":60000}')}))`,
  ['{"url":"endpoint/healthz"}', '{"healthy":false}', "connected", "ended", "ticked", '{"every":60000}', SEEN],
);

const files = {
  "events.wasm": EVENTS,
  "outputs.wasm": outputs("on_request", "route", "pick"),
  "hides.wasm": outputs("on_response"),
  "asks.wasm": ASKS,
  "marks.wasm": MARKS,
};

type Setup = { readonly [name in "app" | "other" | "auth" | "well" | "ill" | "closed"]: number };

const configOf =
  ({ app, other, auth, well, ill, closed }: Setup, value = "1") =>
  (ports: Ports) =>
    `trace: { token: ${TOKEN} }
plugins:
  sets: { wasm: ./outputs.wasm, config: { out: '{"headers":{"set":{"x-set":"${value}"}}}' } }
  router: { wasm: ./outputs.wasm, config: { out: '{"cluster":"other"}' }, allow: { clusters: [other] } }
  second: { wasm: ./outputs.wasm, config: { out: 1 } }
  hides: { wasm: ./hides.wasm, config: { out: '{"status":203,"headers":{"remove":["x-powered"]}}' } }
  marks: { wasm: ./marks.wasm, hooks: { on_response_body: mark } }
  events: { wasm: ./events.wasm, allow: { fetch: [endpoint] } }
  asks: { wasm: ./asks.wasm, allow: { fetch: ["cluster:auth", "cluster:gone"] }, limits: { time: 60s, guests: 4 } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [events]
    routes:
      - { match: { path: /routed }, router: router, clusters: [other] }
      - { match: { path: /hidden }, chain: [hides, marks], cluster: app }
      - { match: { path: /auth }, chain: [{ asks: { request: '{"url":"cluster:auth/check?a=1","method":"post","headers":{"x-a":"b"}}' } }], cluster: app }
      - { match: { path: /denied }, chain: [{ asks: { request: '{"url":"https://elsewhere.example/"}' } }], cluster: app }
      - { match: { path: /value }, chain: [{ asks: { request: '{"url":"cluster:auth/","headers":{"x-a":"1\\r\\nx-b: 2"}}' } }], cluster: app }
      - { match: { path: /name }, chain: [{ asks: { request: '{"url":"cluster:auth/","headers":{"x-a: 1\\r\\nx-b":"2"}}' } }], cluster: app }
      - { match: { path: /list }, chain: [{ asks: { request: '{"url":"cluster:auth/","headers":{"x-a":["1"]}}' } }], cluster: app }
      - { match: { path: /gone }, chain: [{ asks: { request: '{"url":"cluster:gone/"}' } }], cluster: app }
      - { match: { path: /held }, chain: [{ asks: { request: '{"url":"cluster:auth/held"}' } }], cluster: app }
      - { match: { path: /checked }, cluster: checked }
      - { chain: [sets], cluster: both }
clusters:
  app: [127.0.0.1:${app}]
  other: [127.0.0.1:${other}]
  auth: [127.0.0.1:${auth}]
  gone: [127.0.0.1:${closed}]
  checked:
    endpoints: [127.0.0.1:${well}, 127.0.0.1:${ill}]
    health: { active: { plugin: events, interval: 100ms, unhealthyAfter: 1 } }
  both: { strategy: second, endpoints: [127.0.0.1:${app}, 127.0.0.1:${other}] }
`;

testInUsualMode("Extism plugins filter, route, pick, send requests, and are reloaded", async (t: LiveTest) => {
  const app = await startUpstream(t, (_, response) => response.setHeader("x-powered", "y").end("app"));
  const other = await startUpstream(t, (_, response) => response.end("other"));
  const held: ServerResponse[] = [];
  const auth = await startUpstream(t, ({ url }, response) => {
    if (url === "/held") held.push(response);
    else response.end('{"headers":{"set":{"x-user":"ann"}}}');
  });
  const well = await startUpstream(t, (_, response) => response.end("well"));
  const ill = await startUpstream(t, (_, response) => response.writeHead(503).end());
  const checked = { well: well.port, ill: ill.port };
  const setup = { ...checked, app: app.port, other: other.port, auth: auth.port, closed: 9 };
  const sluice = await startSluice(t, configOf(setup), { files, workers: 1 });
  const get = (path: string, more = "") =>
    exchange(t, sluice.port, `GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${more}\r\n`);
  /** Its first failure is logged; one that follows at once is not. */
  const denied = 'http_request to "https://elsewhere.example/": not allowed (allow.fetch)';
  const failed = () => sluice.logged(({ msg }) => String(msg).endsWith(denied), "the failure");

  // A filter, and a strategy that always picks the second endpoint.
  assert.equal((await get("/")).body.toString(), "other");
  assert.equal(other.requests.at(-1)!.headers["x-set"], "1");

  // Hooks without a message.
  for (const line of ["connected", "ended", "ticked"])
    await sluice.logged(({ msg }) => msg === line, `the line ${line}`);
  await sluice.metricIs(2, "seen_total", { plugin: "events", a: "b" });
  await sluice.metricIs(0, "sluice_endpoint_healthy", { cluster: "checked", endpoint: `127.0.0.1:${ill.port}` });
  for (let i = 0; i < 3; i++) assert.equal((await get("/checked")).body.toString(), "well");

  assert.equal((await get("/routed")).body.toString(), "other");
  const hidden = await get("/hidden");
  assert.deepEqual([hidden.status, hidden.headers["x-powered"]], [203, undefined]);
  assert.match(hidden.body.toString(), /^app!+$/);

  // A subrequest, during which the guest is suspended.
  assert.equal((await get("/auth")).body.toString(), "app");
  assert.equal(app.requests.at(-1)!.headers["x-user"], "ann");
  const asked = auth.requests.at(-1)!;
  assert.deepEqual(
    [asked.method, asked.url, asked.headers["x-a"], String(asked.body)],
    ["POST", "/check?a=1", "b", "who"],
  );
  assert.equal((await get("/denied")).status, 500);
  await failed();
  assert.equal((await get("/gone")).status, 500);
  // A header that would be two, or is no text, is an error: nothing is sent.
  const sent = auth.requests.length;
  for (const path of ["/value", "/name", "/list"]) assert.equal((await get(path)).status, 500);
  assert.equal(auth.requests.length, sent);

  // Other requests continue while one is suspended; a client that disconnects cancels its own.
  const [stays, disconnects] = [await connectTo(t, sluice.port), await connectTo(t, sluice.port)];
  for (const peer of [stays, disconnects]) peer.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
  await until(() => held.length === 2, "both are suspended");
  assert.equal((await get("/auth")).status, 200);
  disconnects.socket.destroy();
  await until(() => held.some((response) => response.destroyed), "the request of the disconnected client is cancelled");
  for (const response of held) response.end("{}");
  assert.equal((await stays.readResponse()).body.toString(), "app");

  await checkTrace(sluice.url, (path) => sluice.ask(path));
  const calls = await sluice.metric("sluice_plugin_calls_total", { plugin: "asks", hook: "request_head" });
  const failures = await sluice.metric("sluice_plugin_failures_total", {
    plugin: "asks",
    hook: "request_head",
    reason: "host",
  });
  assert.deepEqual([calls, failures], [9, 2]);

  sluice.config(configOf(setup, "2")({ web: sluice.port, admin: 0 }));
  assert.equal((await sluice.reload()).status, 200);
  assert.equal((await get("/")).body.toString(), "other");
  assert.equal(other.requests.at(-1)!.headers["x-set"], "2");
});

/** A trace has the calls, the edits and the fuel of an Extism plugin as of any other. */
async function checkTrace(url: string, ask: (path: string) => Promise<{ text: string }>): Promise<void> {
  const response = await fetch(`${url}/`, { headers: { "x-sluice-debug": TOKEN } });
  await response.arrayBuffer();
  const id = response.headers.get("x-sluice-trace");
  await until(async () => (await ask("/api/v1/traces")).text.includes(id!), "the trace is there");
  const trace: TraceRecord = JSON.parse((await ask(`/api/v1/traces/${id}`)).text);
  const hook = trace.steps.find((step) => step.step === "hook" && step.plugin === "sets") as HookStep;
  assert.deepEqual([hook.hook, hook.result, hook.calls.config_get], ["request_head", "continue", 1]);
  assert.deepEqual(hook.edits, [{ of: "request", what: "header x-set", before: [], after: ["1"] }]);
  assert.ok(hook.fuel > 0);
}
