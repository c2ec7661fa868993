/** Replays of traces in `sluice/test`. */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { plugin } from "../../../src/testing/index.ts";
import { type HookStep, type Step, TRACE_VERSION, type TraceRecord } from "../../../src/trace/record.ts";
import { builtIn, compileSource } from "../../contract/plugin-harness.ts";
import { AROUND, SOURCES } from "../../fixtures/chain-of-three.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-replay-"));
after(() => rmSync(directory, { recursive: true }));

const POSTED = join(import.meta.dirname, "../../fixtures/posted.trace.json");
const posted = (): TraceRecord => JSON.parse(readFileSync(POSTED, "utf8"));

const WAITS = `import { Body, Fetch, Headers, Request, Response, kv, log, now, random, sleep } from "sluice/sdk";
const seen = kv("seen");
export function onRequest(req: Request): void {
  if (req.pathIs("/fetch")) {
    const response = new Fetch("cluster:auth/check").send();
    req.headers.set("x-fetched", response.status.toString() + " " + response.text());
  }
  if (req.pathIs("/now")) req.headers.set("x-now", now().toString());
  if (req.pathIs("/wait")) { sleep(90); req.headers.set("x-now", now().toString()); }
  if (req.pathIs("/random")) req.headers.set("x-id", random().toString());
  if (req.pathIs("/seen")) req.headers.set("x-seen", (<i32>seen.increment("all")).toString());
  if (req.pathIs("/secret")) {
    req.headers.set("x-secret", "abc");
    req.headers.set("location", "https://b/?token=abc&c=" + req.headers.get("x-api-key")!);
  }
}
export function onRequestTrailers(req: Request, trailers: Headers): void { trailers.set("x-sum", trailers.get("x-sum")! + "!"); }
export function onResponse(req: Request, res: Response): void {
  if (req.headers.has("x-hold")) res.bufferBody();
  else res.status = res.status + 1;
}
export function onResponseBody(req: Request, res: Response, body: Body): void { res.headers.set("x-held", "yes"); }
`;
// Counts its updates: a state that a second \`update\` would lose.
const COUNTS = `import { Endpoints, Outcome, Request, log } from "sluice/sdk";
let updates = 0, outcomes = 0;
export function update(endpoints: Endpoints): void { updates++; }
export function pick(endpoints: Endpoints): i32 { return endpoints.length - updates; }
export function onOutcome(outcome: Outcome, req: Request): void {
  outcomes++;
  log.info(outcomes.toString() + ": " + outcome.status.toString() + (outcome.failed ? " failed " : " ") + outcome.latency.toString());
}
`;
const PICKS_AT_RANDOM = `import { Endpoints, randomBelow } from "sluice/sdk";
export function pick(endpoints: Endpoints): i32 { return <i32>randomBelow(endpoints.length); }
`;

const CONNECTION_FILTER = `import { Connection, cluster } from "sluice/sdk";
const canary = cluster("canary");
export function onConnection(connection: Connection): void {
  if (connection.clientAddress == "192.0.2.9") connection.deny();
  else connection.choose(canary);
}
`;

function write(name: string, wasm: Uint8Array): string {
  writeFileSync(join(directory, name), wasm);
  return join(directory, name);
}

before(async () => {
  write("tenant.wasm", await compileSource(SOURCES.tenant));
  write("waits.wasm", await compileSource(WAITS));
  write("counts.wasm", await compileSource(COUNTS));
  write("random.wasm", await compileSource(PICKS_AT_RANDOM));
  write("filters.wasm", await compileSource(CONNECTION_FILTER));
});

const ALLOW = { ...AROUND.allow, kv: ["seen"], fetch: ["cluster:auth"] };
const load = (name: string, options = {}) =>
  plugin(join(directory, `${name}.wasm`), { ...AROUND, allow: ALLOW, ...options });

const call = (over: Partial<HookStep> = {}): HookStep => ({
  step: "hook",
  at: 0,
  hook: "request_head",
  plugin: "waits",
  took: 1,
  fuel: 1,
  calls: {},
  result: "continue",
  edits: [],
  log: [],
  ...over,
});

/** A trace of a request for `target`, by steps that a test writes. */
function trace(target: string, steps: readonly Step[], over: object = {}): object {
  return {
    version: TRACE_VERSION,
    configVersion: 1,
    time: "2026-01-31T12:00:00.000Z",
    client: "192.0.2.1",
    listener: "web",
    request: { method: "GET", authority: "a", target, headers: [["host", "a"], ...HEADERS] },
    steps,
    response: { body: 0 },
    cut: false,
    ...over,
  };
}
const HEADERS: [string, string][] = [];

const set = (name: string, value: string, before: string[] = []) => ({
  of: "request" as const,
  what: `header ${name}`,
  before,
  after: [value],
});

test("a trace of a dry run is replayed from its file, body and all", async () => {
  const guest = await load("tenant");
  const replayed = await guest.replay(POSTED);
  assert.deepEqual([replayed.plugin, replayed.differences, replayed.skipped], ["tenant", [], []]);
  assert.deepEqual(
    replayed.calls.map(({ step, hook, now }) => [step, hook, now?.result]),
    [
      [2, "request_head", "buffer"],
      [6, "request_body", "continue"],
      [13, "response_head", "continue"],
    ],
  );
  assert.deepEqual(replayed.calls[1]!.now!.body, {
    before: 9,
    after: 18,
    last: true,
    seen: "some text",
    passed: "some text#ann@acme",
  });
});

describe("the plugin in a trace", () => {
  test("is found by its name, its file, its directory, its hooks, or an option", async () => {
    const steps = [call({ plugin: "other" }), call({ plugin: "third" })];
    const guest = await load("waits");
    await assert.rejects(guest.replay(trace("/", steps)), {
      name: "TypeError",
      message: "the trace has calls of other, third: set the option plugin to one of them",
    });
    assert.equal((await guest.replay(trace("/", steps), { plugin: "third" })).calls.length, 1);
    assert.equal((await guest.replay(trace("/", steps.slice(1)))).plugin, "third");
    assert.equal((await guest.replay(trace("/", [...steps, call()]))).plugin, "waits");
    mkdirSync(join(directory, "third"));
    copyFileSync(join(directory, "waits.wasm"), join(directory, "third/plugin.wasm"));
    assert.equal((await (await load("third/plugin")).replay(trace("/", steps))).plugin, "third");
    const withPick = [call({ plugin: "other" }), call({ plugin: "least", hook: "pick", result: "0" })];
    assert.equal((await guest.replay(trace("/", withPick))).plugin, "other");
    await assert.rejects(guest.replay(trace("/", steps), { plugin: "none" }), /no call of none, only of other, third/);
    await assert.rejects(guest.replay(trace("/", [])), /has no call of a plugin/);
  });

  test("and with which configuration, where there is more than one", async () => {
    const steps = [call(), call({ use: 2, edits: [set("x-a", "1")] })];
    const guest = await load("waits");
    await assert.rejects(
      guest.replay(trace("/", steps)),
      /calls of waits with 2 configurations \(1: steps 1; 2: steps 2\): set the option use to one of them/,
    );
    assert.deepEqual((await guest.replay(trace("/", steps), { use: 1 })).differences, []);
    assert.deepEqual((await guest.replay(trace("/", steps), { use: 2 })).differences, [
      'request_head: header x-a: the trace has "1", now it stays as it is',
    ]);
  });
});

test("the clock is the trace's unless the test sets one, and asynchronous calls advance it", async () => {
  const at = Date.parse("2026-01-31T12:00:00.000Z");
  const now = (time: number) => call({ at: 2000, edits: [set("x-now", `${time}.0`)] });
  assert.deepEqual((await (await load("waits")).replay(trace("/now", [now(at + 2)]))).differences, []);
  const waits = await load("waits");
  for (let i = 0; i < 2; i++)
    assert.deepEqual((await waits.replay(trace("/wait", [now(at + 92)]))).differences, [], "again");
  assert.ok(Number((await waits.requestAsync({ url: "/now" })).headers["x-now"]) > at);
  const own = await load("waits", { now: () => 7 });
  assert.deepEqual((await own.replay(trace("/now", [now(7)]))).differences, []);
});

test("a connection hook is replayed", async () => {
  const guest = await load("filters");
  const filtered = (over: Partial<HookStep>) => [call({ hook: "connection", plugin: "filters", ...over })];
  const replayed = await guest.replay(trace("/", filtered({ cluster: "canary" })));
  assert.deepEqual([replayed.differences, replayed.skipped, replayed.calls.length], [[], [], 1]);
  const denied = trace("/", filtered({ result: "reject" }), { client: "192.0.2.9" });
  assert.deepEqual((await guest.replay(denied)).differences, []);
  const { differences } = await guest.replay(trace("/", filtered({ result: "reject" })));
  assert.deepEqual(differences.length, 2, differences.join("\n"));
});

test("masked values match any value and are counted; a test can supply them", async () => {
  const guest = await load("waits");
  const headers = [
    ["x-api-key", "***"],
    ["host", "a"],
  ];
  const request = { method: "GET", authority: "a", target: "/secret?token=***", headers };
  const edits = [set("x-secret", "***"), set("location", "https://b/?token=***&c=***")];
  const masked = await guest.replay(trace("/", [call({ edits })], { request }));
  assert.deepEqual([masked.differences, masked.masked], [[], 2]);
  const given = await guest.replay(trace("/", [call({ edits })], { request }), { values: { "X-Api-Key": "mine" } });
  assert.deepEqual([given.differences, given.calls[0]!.now!.edits[1]!.after], [[], ["https://b/?token=abc&c=mine"]]);
  const other = [set("x-secret", "a***"), set("location", "https://c/?token=***&c=***")];
  assert.deepEqual((await guest.replay(trace("/", [call({ edits: other })], { request }))).differences, [
    'request_head: header location: the trace has "https://c/?token=***&c=***", now "https://b/?token=abc&c=***"',
  ]);
  await assert.rejects(guest.replay(trace("/", [call()]), { values: { "x-a": "1\r\n" } }), /is not a valid header/);
});

test("calls that need a truncated value are skipped", async () => {
  const guest = await load("waits");
  const request = {
    method: "GET",
    authority: "a",
    target: "/",
    headers: [
      ["host", "a"],
      ["x-long", "abc…"],
    ],
  };
  const cut = await guest.replay(trace("/", [call()], { request, cut: true }));
  assert.deepEqual(cut.skipped, ["request_head (step 1): the trace is truncated in header x-long"]);
  const given = await guest.replay(trace("/", [call()], { request, cut: true }), { values: { "x-long": "abcd" } });
  assert.deepEqual([given.skipped, given.differences], [[], []]);
  const edits = [{ of: "request" as const, what: "…", before: [], after: [] }];
  const later = await guest.replay(trace("/", [call({ plugin: "other", edits }), call()], { cut: true }));
  assert.deepEqual(later.skipped, ["request_head (step 2): the trace is truncated before this call"]);
  const ends = await guest.replay(
    trace(
      "/",
      Array.from({ length: 300 }, () => call()),
      { cut: true },
    ),
  );
  assert.deepEqual(ends.skipped, ["the trace is truncated after step 300"]);
  const long = await guest.replay(trace("/random", [call({ edits: [set("x-id", "…")] })], { cut: true }));
  assert.deepEqual([long.differences, long.masked], [[], 1]);
});

test("subrequests get the responses of the test or the dry run; otherwise the call is skipped", async () => {
  const steps = (response: string) => [call({ calls: { fetch: 1 }, edits: [set("x-fetched", response)] })];
  const real = await (await load("waits")).replay(trace("/fetch", steps("200 yes")));
  assert.deepEqual(real.skipped, [
    "request_head (step 1): the trace has no responses to its subrequests: pass the option fetch to plugin()",
  ]);
  const dry = await (await load("waits")).replay(trace("/fetch", steps("503 dry run"), { fetchStatus: 503 }));
  assert.deepEqual([dry.skipped, dry.differences], [[], []]);
  const fetch = () => ({ status: 200, body: "yes" });
  const replayed = await (await load("waits", { fetch })).replay(trace("/fetch", steps("200 yes")));
  assert.deepEqual([replayed.skipped, replayed.differences], [[], []]);
  await assert.rejects(async () => (await load("waits")).replay(trace("/fetch", [call()])), /has no option fetch/);
});

test("calls that were unfinished or not made are skipped; failures are compared by reason", async () => {
  const guest = await load("tenant");
  const steps = [
    call({ plugin: "tenant", result: "unfinished" }),
    call({ plugin: "tenant", result: "quarantined" }),
    call({ plugin: "tenant", result: "failed", failure: { reason: "abort", message: "x" } }),
    call({ plugin: "tenant", hook: "request_body", body: { before: 4, after: 4, last: true } }),
    call({ plugin: "tenant", hook: "log" }),
  ];
  const replayed = await guest.replay(trace("/", steps));
  assert.deepEqual(replayed.skipped, [
    "request_head (step 1): the request ended before the call",
    "request_head (step 2): not called: the plugin was in quarantine",
    "request_body (step 4): the trace has only the size of the chunk: a dry run records its bytes",
  ]);
  assert.deepEqual(replayed.differences, ["log: the trace has a call, now the plugin has no such hook"]);
  const [, , failed] = replayed.calls;
  assert.deepEqual([failed!.now!.result, failed!.now!.failure!.reason], ["failed", "abort"]);
  const other = [call({ plugin: "tenant", result: "failed", failure: { reason: "fuel", message: "x" } })];
  assert.deepEqual((await guest.replay(trace("/", other))).differences, [
    'request_head: failure: the trace has "fuel", now "abort"',
  ]);
});

test("received messages, trailers and a buffered response are replayed; ignored names are not compared", async () => {
  const guest = await load("waits");
  const received = (
    ...edits: { of: "request" | "response"; what: string; before: string[]; after: string[] }[]
  ): Step => ({
    step: "received",
    at: 0,
    edits,
  });
  const status = (from: string[], to: string[]) => ({
    of: "response" as const,
    what: "status",
    before: from,
    after: to,
  });
  const steps: Step[] = [
    received({ of: "request", what: "trailer x-sum", before: [], after: ["7"] }),
    call({ hook: "request_trailers", edits: [{ of: "request", what: "trailer x-sum", before: ["7"], after: ["7!"] }] }),
    received(status([], ["503"])),
    received(status(["503"], ["200"])),
    call({ hook: "response_head", edits: [status(["200"], ["201"])] }),
    call({ plugin: "other", edits: [set("x-hold", "1")] }),
    call({ hook: "response_head", result: "buffer" }),
    call({
      hook: "response_body",
      body: { before: 0, after: 0, last: true },
      edits: [{ of: "response", what: "header x-held", before: [], after: ["yes"] }],
    }),
  ];
  const replayed = await guest.replay(trace("/", steps));
  assert.deepEqual([replayed.skipped, replayed.differences], [[], []]);
  const random = [call({ edits: [set("x-id", "1")] })];
  assert.match((await guest.replay(trace("/random", random))).differences[0]!, /header x-id: the trace has "1", now "/);
  assert.deepEqual((await guest.replay(trace("/random", random), { ignore: ["header x-id"] })).differences, []);
});

test("entries that the test puts into the store are visible to the plugin", async () => {
  const guest = await load("waits");
  const seen = (count: number) => trace("/seen", [call({ edits: [set("x-seen", String(count))] })]);
  await guest.replay(seen(1));
  guest.kv("seen").delete("all");
  assert.deepEqual((await guest.replay(seen(1))).differences, []);
  assert.deepEqual((await guest.replay(seen(1))).differences, [
    'request_head: header x-seen: the trace has "1", now "2"',
  ]);
});

describe("a strategy", () => {
  const endpoint = (address: string, out = "") => ({
    endpoint: address,
    weight: 1,
    zone: "",
    inFlight: 2,
    latency: 10.5,
    errorRate: 0.25,
    out,
  });
  const pick = (plugin: string, result: string, ...candidates: ReturnType<typeof endpoint>[]): Step[] => [
    call({ plugin, hook: "pick", result }),
    {
      step: "pick",
      at: 0,
      cluster: "app",
      strategy: plugin,
      endpoint: "10.0.0.1:80",
      by: "strategy",
      candidates,
    },
  ];
  const attempt = (status: number, took: number): Step[] => [
    { step: "attempt", at: 0, endpoint: "10.0.0.1:80", status, failed: status === 0, took, reused: false },
    call({ plugin: "counts", hook: "outcome" }),
  ];

  test("gets its endpoints once, picks among the remaining ones, and receives each outcome", async () => {
    const guest = await load("counts");
    const [a, b, c] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
    const steps = [
      ...pick("counts", "1", endpoint(a!), endpoint(b!), endpoint(c!, "unhealthy")),
      ...attempt(0, 5),
      ...pick("counts", "0", endpoint(a!), endpoint(b!, "tried"), endpoint(c!, "unhealthy")),
      ...attempt(200, 7),
    ];
    const replayed = await guest.replay(trace("/", steps));
    assert.deepEqual([replayed.skipped, replayed.differences], [[], []]);
    assert.deepEqual(
      replayed.calls.map(({ now }) => now!.choice ?? now!.log[0]!.text),
      [b, "1: 0 failed 5", a, "2: 200 7"],
    );
    const other = pick("counts", "1", endpoint(a!), endpoint(b!));
    assert.deepEqual((await guest.replay(trace("/", other))).differences, [
      'pick: the trace has "10.0.0.2:80", now "10.0.0.1:80"',
    ]);
    assert.deepEqual((await guest.replay(trace("/", other), { picks: false })).differences, []);
    assert.match((await guest.replay(trace("/", [other[0]!]))).skipped[0]!, /has no candidates of this pick/);
  });

  test("that uses random numbers may pick differently", async () => {
    const guest = await load("random");
    const endpoints = Array.from({ length: 50 }, (_, i) => endpoint(`10.0.0.${i}:80`));
    for (let i = 0; i < 5; i++)
      assert.deepEqual((await guest.replay(trace("/", pick("random", "0", ...endpoints)))).differences, []);
  });

  test("may be a built-in one", async () => {
    const guest = await plugin(write("least-connections.wasm", builtIn("least-connections")));
    const idle = { ...endpoint("10.0.0.9:80"), inFlight: 0 };
    const replayed = await guest.replay(trace("/", pick("least-connections", "1", endpoint("10.0.0.1:80"), idle)));
    assert.equal(replayed.calls[0]!.now!.choice, "10.0.0.9:80");
  });
});

test("a file that is not a trace, or of another version, is rejected", async () => {
  const guest = await load("tenant");
  const { configVersion: _, ...unversioned } = posted();
  for (const [given, message] of [
    [null, /^not a trace: /],
    [{ log: {} }, /^not a trace: expected the JSON object of sluice explain --json/],
    [unversioned, /^the trace has no format version, expected version 2: record it again$/],
    [{ ...posted(), version: 3 }, /^the trace has version 3, expected version 2: record it again$/],
    [
      { ...posted(), steps: [{ step: "came" }] },
      /^trace\.steps\[0\]\.step is "came", expected one of hook, received, /,
    ],
  ] as const)
    await assert.rejects(guest.replay(given as object), { name: "TypeError", message });
  writeFileSync(join(directory, "broken.json"), "{");
  await assert.rejects(guest.replay(join(directory, "broken.json")), /broken\.json is not a trace: /);
});

test("a request with a malformed head is not replayed", async () => {
  const guest = await load("waits");
  const request = {
    method: "GET",
    authority: "a",
    target: "/",
    headers: [
      ["host", "a"],
      ["host", "b"],
    ],
  };
  const replayed = await guest.replay(trace("/", [call()], { request }));
  assert.match(replayed.skipped[0]!, /^request_head \(step 1\): invalid head: /);
});
