/** explain-traces-decisions: traces show what plugins do to a request and how it is routed, to authorized readers only. */
import assert from "node:assert/strict";
import { before } from "node:test";
import type { HookStep, TraceRecord } from "../../src/trace/record.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { exchange, startUpstream } from "./peers.ts";
import { type LiveTest, type Ports, type Program, runSluice, startSluice, testInUsualMode, until } from "./program.ts";

const TOKEN = "a-token-that-nobody-guesses";
const SEES = `import { Body, cluster, Fetch, kv, log, Request, Response, sleep } from "sluice/sdk";
const hits = kv("hits"), canary = cluster("canary");
export function onRequest(req: Request): void {
  const seen = req.headers.get("x-sluice-debug");
  req.headers.set("x-seen", seen == null ? "nothing" : seen);
  req.headers.remove("x-old");
  req.headers.set("authorization", "Bearer inner");
  const sum = <i32>hits.increment("all");
  log.info("a line");
  log.info("hits " + sum.toString());
  if (req.pathIs("/count")) req.respond(200, sum.toString());
  if (req.pathIs("/fetch")) req.respond(new Fetch("cluster:canary/asked").send().status, "fetched");
  if (req.pathIs("/canary")) req.choose(canary);
  if (req.pathIs("/own")) req.respond(201, "mine");
  if (req.pathIs("/trap")) unreachable();
  if (req.pathIs("/sleep")) sleep(20);
  if (req.pathIs("/sleep/long")) sleep(3600000);
}
export function onResponse(req: Request, res: Response): void { res.headers.set("x-after", "1"); }
export function onResponseBody(req: Request, res: Response, body: Body): void { body.appendText("!"); }
`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(SEES);
});

function configOf(upstreams: readonly number[], trace: string): (ports: Ports) => string {
  return (ports) => `trace: { ${trace} }
plugins: { sees: { wasm: ./sees.wasm, allow: { kv: [hits], fetch: ["cluster:canary"], headers: { hide: [x-hidden] } } } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [sees]
    routes:
      - { name: post, match: { method: POST, prefix: / }, cluster: app }
      - { name: api, match: { prefix: /api/ }, cluster: canary }
      - { name: rest, cluster: app, retry: { attempts: 1, "on": [503] } }
clusters:
  app: [${upstreams.map((port) => `127.0.0.1:${port}`).join(", ")}]
  canary: [127.0.0.1:${upstreams[0]}]
`;
}

function start(t: LiveTest, upstreams: readonly number[], trace = `token: ${TOKEN}`): Promise<Program> {
  return startSluice(t, configOf(upstreams, trace), { files: { "sees.wasm": wasm } });
}

async function listTraces(sluice: Program): Promise<{ traces: { id: string; status: number }[]; dropped: number }> {
  return JSON.parse((await sluice.ask("/api/v1/traces")).text);
}

async function traceOf(sluice: Program, path: string, headers: Record<string, string> = {}): Promise<TraceRecord> {
  const response = await fetch(`${sluice.url}${path}`, { headers: { ...headers, "x-sluice-debug": TOKEN } });
  await response.arrayBuffer();
  const id = response.headers.get("x-sluice-trace");
  assert.match(id ?? "", /^[0-9a-f]{16}$/);
  await until(async () => (await listTraces(sluice)).traces.some((trace) => trace.id === id), "the trace is there");
  return JSON.parse((await sluice.ask(`/api/v1/traces/${id}`)).text);
}

const hook = (trace: TraceRecord, name: string): HookStep =>
  trace.steps.find((step) => step.step === "hook" && step.hook === name && step.plugin === "sees") as HookStep;

testInUsualMode("a request with the token is traced from its headers to its response", async (t) => {
  const upstream = await startUpstream(t, (_request, response) => void response.end("body"));
  const sluice = await start(t, [upstream.port]);
  const trace = await traceOf(sluice, "/x?a=1&api_key=s3cret", {
    "x-old": "1",
    authorization: "Bearer outer",
    cookie: "session=s3cret",
    "x-hidden": "hush",
  });
  assert.equal(trace.why, "token");
  assert.equal(trace.request.target, "/x?a=1&api_key=***");
  const text = JSON.stringify(trace);
  // None of them may consist of hexadecimal digits: the trace has an id of sixteen random ones.
  for (const secret of [TOKEN, "Bearer", "s3cret", "hush"]) assert.ok(!text.includes(secret), secret);
  const config = JSON.parse((await sluice.ask("/api/v1/config")).text);
  assert.match(config.text, /trace: \{ token: \*\*\* \}\nplugins: \{ sees: /);
  assert.ok(!trace.request.headers.some(([name]) => name === "x-sluice-debug"));
  assert.deepEqual(
    trace.request.headers.find(([name]) => name === "cookie"),
    ["cookie", "***"],
  );

  const head = hook(trace, "request_head");
  assert.equal(head.result, "continue");
  assert.ok(head.fuel > 0 && head.took >= 0);
  assert.equal(head.calls.kv_increment, 1);
  assert.ok(head.calls.header_set! >= 2);
  assert.deepEqual(head.log, [
    { level: "info", text: "a line" },
    { level: "info", text: "hits 1" },
  ]);
  assert.deepEqual(head.edits, [
    { of: "request", what: "header x-old", before: ["1"], after: [] },
    { of: "request", what: "header authorization", before: ["***"], after: ["***"] },
    { of: "request", what: "header x-seen", before: [], after: ["nothing"] },
  ]);
  assert.deepEqual(hook(trace, "response_head").edits, [
    { of: "response", what: "header x-after", before: [], after: ["1"] },
  ]);
  assert.deepEqual(hook(trace, "response_body").body, { before: 4, after: 5, last: true });

  const route = trace.steps.find((step) => step.step === "route");
  assert.deepEqual(route?.step === "route" && route.routes, [
    { index: 0, name: "post", failed: "method" },
    { index: 1, name: "api", failed: "prefix" },
    { index: 2, name: "rest", failed: "" },
  ]);
  const cluster = trace.steps.find((step) => step.step === "cluster");
  assert.deepEqual(cluster?.step === "cluster" && [cluster.cluster, cluster.by], ["app", "route"]);
  const pick = trace.steps.find((step) => step.step === "pick");
  assert.ok(pick?.step === "pick");
  assert.deepEqual([pick.strategy, pick.by, pick.endpoint], ["round-robin", "strategy", `127.0.0.1:${upstream.port}`]);
  const attempt = trace.steps.find((step) => step.step === "attempt");
  assert.ok(attempt?.step === "attempt" && attempt.status === 200 && !attempt.failed);
  assert.deepEqual(
    [trace.response.status, trace.response.by, trace.route, trace.cluster],
    [200, "endpoint", "rest", "app"],
  );
});

testInUsualMode("neither plugins nor endpoints see the token, and a wrong one traces nothing", async (t) => {
  const upstream = await startUpstream(t, (request, response) => void response.end(JSON.stringify(request.headers)));
  const sluice = await start(t, [upstream.port]);
  for (const value of [TOKEN, `${TOKEN}x`, "", "wrong"]) {
    const response = await exchange(
      t,
      sluice.port,
      `GET / HTTP/1.1\r\nhost: a\r\nx-sluice-debug: ${value}\r\nX-Sluice-Debug: other\r\nconnection: close\r\n\r\n`,
    );
    const seen = JSON.parse(response.body.toString().slice(0, -1));
    assert.equal(seen["x-sluice-debug"], undefined);
    assert.equal(seen["x-seen"], "nothing");
    assert.equal(response.headers["x-sluice-trace"] !== undefined, value === TOKEN, value);
  }
  await traceOf(sluice, "/last");
  assert.equal((await listTraces(sluice)).traces.length, 2);
});

testInUsualMode("a trace names selections, failures, retries and the origin of the response", async (t) => {
  const bad = await startUpstream(t, (_request, response) => void response.writeHead(503).end());
  const good = await startUpstream(t);
  const sluice = await start(t, [bad.port, good.port]);
  const chosen = await traceOf(sluice, "/canary");
  assert.equal(hook(chosen, "request_head").cluster, "canary");
  const cluster = chosen.steps.find((step) => step.step === "cluster");
  assert.deepEqual(cluster?.step === "cluster" && [cluster.cluster, cluster.by, cluster.plugin], [
    "canary",
    "plugin",
    "sees",
  ]);

  const own = await traceOf(sluice, "/own");
  assert.deepEqual(
    [own.response.status, own.response.by, hook(own, "request_head").result],
    [201, "plugin", "respond"],
  );

  const trapped = await traceOf(sluice, "/trap");
  const failed = hook(trapped, "request_head");
  assert.deepEqual([failed.result, failed.failure?.reason, failed.edits], ["failed", "trap", []]);
  assert.deepEqual([trapped.response.status, trapped.response.by], [500, "sluice"]);

  const slept = hook(await traceOf(sluice, "/sleep"), "request_head");
  assert.deepEqual([slept.result, slept.calls.sleep], ["continue", 1]);
  assert.ok(slept.took >= 19_000, `${slept.took} microseconds, with what it waited for`);

  for (;;) {
    const again = await traceOf(sluice, "/again");
    const attempts = again.steps.filter((step) => step.step === "attempt");
    assert.equal(again.response.status, 200);
    if (attempts.length === 1) continue;
    assert.deepEqual(
      attempts.map(({ status, endpoint }) => [status, endpoint]),
      [
        [503, `127.0.0.1:${bad.port}`],
        [200, `127.0.0.1:${good.port}`],
      ],
    );
    const second = again.steps.filter((step) => step.step === "pick")[1]!;
    assert.deepEqual(
      second.candidates.map(({ endpoint, out }) => [endpoint, out]),
      [
        [`127.0.0.1:${bad.port}`, "tried"],
        [`127.0.0.1:${good.port}`, ""],
      ],
    );
    break;
  }
});

testInUsualMode("sampled requests are traced unknown to the client; without configuration none is", async (t) => {
  const upstream = await startUpstream(t, (request, response) => void response.end(JSON.stringify(request.headers)));
  const sluice = await start(t, [upstream.port], "sample: 100%, keep: 2");
  for (let i = 0; i < 4; i++) {
    const response = await fetch(sluice.url);
    assert.equal(response.headers.get("x-sluice-trace"), null);
    await response.arrayBuffer();
  }
  await until(async () => (await listTraces(sluice)).traces.length === 2, "two traces are kept");

  sluice.config(configOf([upstream.port], "")(sluice.ports));
  assert.equal(JSON.parse((await sluice.reload()).text).result, "accepted");
  const { traces: earlier } = await listTraces(sluice);
  const response = await fetch(sluice.url, { headers: { "x-sluice-debug": "mine" } });
  assert.equal(JSON.parse((await response.text()).replace(/!$/, ""))["x-sluice-debug"], "mine");
  assert.deepEqual((await listTraces(sluice)).traces, earlier);
});

testInUsualMode("the number of requests traced in a second is limited", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, [upstream.port], "sample: 100%, keep: 1000");
  // Many at once: more than the limit of one second, however slow the machine.
  let sent = 0;
  await until(async () => {
    await Promise.all(Array.from({ length: 200 }, () => fetch(sluice.url).then((response) => response.arrayBuffer())));
    sent += 200;
    return (await listTraces(sluice)).dropped > 0;
  }, "some are not traced");
  const { traces, dropped } = await listTraces(sluice);
  assert.ok(traces.length < sent && dropped <= sent, `${traces.length} of ${sent}, ${dropped} dropped`);
});

// ── Dry runs ────────────────────────────────────────────────────────────────────────────────────────────────────

async function explain(sluice: Program, request: object): Promise<TraceRecord> {
  const response = await sluice.ask("/api/v1/explain", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
  });
  assert.equal(response.status, 200, response.text);
  return JSON.parse(response.text);
}

testInUsualMode("a dry run reports what would happen, without side effects", async (t) => {
  const [one, two] = [await startUpstream(t), await startUpstream(t)];
  const sluice = await start(t, [one.port, two.port]);
  assert.equal(await (await fetch(`${sluice.url}/count`)).text(), "1");
  await (await fetch(`${sluice.url}/x`)).arrayBuffer();
  const metrics = async (): Promise<string[]> =>
    (await sluice.ask("/metrics")).text
      .split("\n")
      .filter((line) => /^sluice_(?!worker)\w+(_total|_count|_entries)[{ ]/.test(line));
  await sluice.metricIs(2, "sluice_requests_total");
  const seen = await metrics();
  const sent = () => [one.requests.length, two.requests.length];
  const wereSent = sent();

  for (let i = 0; i < 3; i++) {
    const trace = await explain(sluice, {
      method: "GET",
      url: "http://example.com/x?a=1",
      headers: [
        ["x-old", "1"],
        ["x-sluice-debug", TOKEN],
      ],
    });
    assert.deepEqual([trace.why, trace.route, trace.cluster, trace.response.status], ["explain", "rest", "app", 200]);
    assert.ok(!JSON.stringify(trace).includes(TOKEN));
    const head = hook(trace, "request_head");
    assert.deepEqual(
      head.edits.map(({ what, after }) => [what, after]),
      [
        ["header x-old", []],
        ["header x-seen", ["nothing"]],
        ["header authorization", ["***"]],
      ],
    );
    assert.deepEqual(head.log, [
      { level: "info", text: "a line" },
      { level: "info", text: "hits 3" },
    ]);
    assert.equal(hook(trace, "response_head").edits.length, 1);
    const pick = trace.steps.find((step) => step.step === "pick");
    assert.ok(pick?.step === "pick");
    assert.equal(pick.candidates.length, 2);
    assert.ok(
      pick.candidates.some(({ latency }) => latency > 0),
      "the columns are those of the proxy",
    );
  }
  const upgrade = async (protocol: string, more: object = {}) => {
    const headers = [
      ["connection", "upgrade"],
      ["upgrade", protocol],
    ];
    const { steps, response } = await explain(sluice, { method: "GET", url: "http://example.com/x", headers, ...more });
    const attempt = steps.find((step) => step.step === "attempt");
    assert.ok(attempt?.step === "attempt");
    return [attempt.upgrade, attempt.status, response.status, response.by];
  };
  assert.deepEqual(await upgrade("WebSocket"), ["websocket", 101, 101, "endpoint"]);
  assert.deepEqual(await upgrade("websocket", { status: 426 }), ["websocket", 426, 426, "endpoint"]);
  assert.deepEqual(await upgrade("other"), [undefined, 200, 200, "endpoint"]);
  assert.deepEqual(await metrics(), seen);
  assert.deepEqual(sent(), wereSent);
  assert.equal(await (await fetch(`${sluice.url}/count`)).text(), "3");

  // The strategy continues after the pick before the dry runs, whose three picks would have advanced it.
  await (await fetch(`${sluice.url}/x`)).arrayBuffer();
  assert.deepEqual(sent(), [1, 1]);
});

testInUsualMode("a dry run lists all routes and endpoints; a trace is bounded", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, [upstream.port, ...Array.from({ length: 249 }, (_, i) => 20_000 + i)]);
  const rules = Array.from({ length: 250 }, (_, i) => `      - { match: { path: /rule/${i} }, cluster: app }\n`);
  sluice.config(sluice.configText.replace("      - { name: post", `${rules.join("")}      - { name: post`));
  assert.equal((await sluice.reload()).status, 200);
  const listed = ({ steps }: TraceRecord) => {
    const [route, pick] = ["route", "pick"].map((name) => steps.find(({ step }) => step === name));
    assert.ok(route?.step === "route" && pick?.step === "pick");
    return [route.routes.length, pick.candidates.length];
  };
  const dry = await explain(sluice, { url: "/x" });
  assert.deepEqual([...listed(dry), dry.cut], [253, 250, false]);
  const traced = await traceOf(sluice, "/canary");
  assert.deepEqual([listed(traced)[0], traced.cut], [200, true]);
});

testInUsualMode("a dry run continues from the given response, retries, and skips delays", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, [upstream.port, upstream.port + 1]);
  const again = await explain(sluice, { url: "/x", status: 503 });
  assert.deepEqual(
    again.steps.filter((step) => step.step === "attempt").map(({ status }) => status),
    [503, 503],
  );
  assert.equal(again.response.status, 503);
  const slept = await explain(sluice, { url: "/sleep", method: "POST", body: "text" });
  assert.equal(hook(slept, "request_head").calls.sleep, 1);
  assert.equal(slept.route, "post");
  assert.equal(hook(await explain(sluice, { url: "/sleep/long" }), "request_head").result, "continue");

  const fetched = { url: "/fetch", client: "192.0.2.7" };
  const dry = await explain(sluice, fetched);
  assert.deepEqual([dry.response.status, dry.client], [503, "192.0.2.7"]);
  assert.equal(upstream.requests.length, 0);
  const answered = await explain(sluice, { ...fetched, fetchStatus: 204 });
  assert.deepEqual([answered.response.status, answered.fetchStatus], [204, 204]);
  assert.equal((await explain(sluice, { ...fetched, allowFetch: true })).response.status, 200);
  assert.deepEqual(
    upstream.requests.map(({ url }) => url),
    ["/asked"],
  );

  const failed = await explain(sluice, { url: "/trap" });
  assert.deepEqual([hook(failed, "request_head").result, failed.response.status], ["failed", 500]);
  await sluice.metricIs(0, "sluice_plugin_failures_total");
  for (const [request, problem] of [
    [{ url: "/", listener: "none" }, /no listener none, expected one of web/],
    [{ url: "/", headers: [["host", "a b"]] }, /rejected with 400/],
    [{}, /url is missing/],
  ] as const) {
    const refused = await sluice.ask("/api/v1/explain", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    assert.equal(refused.status, 400);
    assert.match(refused.text, problem);
  }
});

testInUsualMode("the command prints a table, from the running proxy or from a file", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await start(t, [upstream.port]);
  const admin = `127.0.0.1:${sluice.ports.admin}`;
  const file = `${sluice.directory}/sluice.yaml`;
  const flags = ["-H", "x-old: 1", "-H", "Authorization: Bearer s3cret"];
  const answered = await runSluice("explain", "GET", "http://example.com/x?token=s3cret", ...flags, "--admin", admin);
  assert.deepEqual([answered.code, answered.stderr], [0, ""]);
  const byFile = await runSluice("explain", "GET", "http://example.com/x?token=s3cret", ...flags, "-c", file);
  assert.deepEqual([byFile.code, byFile.stderr], [0, ""]);
  for (const { stdout } of [answered, byFile]) {
    for (const line of stdout.split("\n")) assert.ok(line.length <= 100, line);
    assert.match(stdout, /^GET \/x\?token=\*\*\*$/m);
    assert.match(stdout, /request_head +sees +continue, \d/);
    assert.match(stdout, /kv_increment/);
    assert.match(stdout, /- header x-old: 1$/m);
    assert.match(stdout, /~ header authorization: \*\*\* → \*\*\*$/m);
    assert.match(stdout, /api: prefix does not match$/m);
    assert.match(stdout, /rest: matches$/m);
    assert.match(stdout, /cluster +app +by the route$/m);
    assert.match(stdout, new RegExp(`→ 127.0.0.1:${upstream.port} `));
    assert.match(stdout, /^response 200, simulated, 1 bytes/m);
    assert.doesNotMatch(stdout, /s3cret/);
  }
  assert.equal(upstream.requests.length, 0);

  const json = await runSluice("explain", "POST", "/x", "-d", "body", "--json", "--admin", admin);
  assert.equal(JSON.parse(json.stdout).route, "post");
  const { id } = await traceOf(sluice, "/seen");
  const traced = await runSluice("explain", "--trace", id, "--admin", admin);
  assert.match(traced.stdout, /^GET \/seen$/m);
  assert.match(traced.stdout, /attempt +127\.0\.0\.1:\d+ +200, \d+/);

  sluice.config(sluice.configText.replace("chain: [sees]", "chain: [sees]\n    deny: [192.0.2.0/24]"));
  const denied = await runSluice("explain", "GET", "/", "--client", "192.0.2.1", "--json", "-c", file);
  assert.match(JSON.parse(denied.stdout).response.problem, /refused by deny$/);
  assert.equal((await runSluice("explain", "GET")).code, 64);
  assert.equal((await runSluice("explain", "GET", "/", "-H", "nonsense")).code, 64);
  assert.equal((await runSluice("explain", "GET", "/", "--status", "9")).code, 64);
  assert.equal((await runSluice("explain", "GET", "/", "--admin", `127.0.0.1:${upstream.port}`)).code, 1);
});
