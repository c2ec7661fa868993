/** Replays of traces in `sluice/test`: what is made again, what is told of it, and what no trace can do to the kit. */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { PluginFailure, plugin } from "../../../src/testing/index.ts";
import { readTrace } from "../../../src/testing/trace-file.ts";
import type { HookStep, Step, TraceRecord } from "../../../src/trace/trace.ts";
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
    const answer = new Fetch("cluster:auth/check").send();
    req.headers.set("x-fetched", answer.status.toString() + " " + answer.text());
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
  if (req.headers.has("x-hold")) res.hold();
  else res.status = res.status + 1;
}
export function onResponseBody(req: Request, res: Response, body: Body): void { res.headers.set("x-held", "yes"); }
`;
// Counts what it was told: a state that a second \`update\` would lose.
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

const JUDGES = `import { Connection, cluster } from "sluice/sdk";
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
  write("judges.wasm", await compileSource(JUDGES));
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
    time: "2026-01-31T12:00:00.000Z",
    client: "192.0.2.1",
    listener: "web",
    request: { method: "GET", authority: "a", target, headers: [["host", "a"], ...HEADERS] },
    steps,
    answer: { body: 0 },
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
      [2, "request_head", "hold"],
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

describe("which plugin is meant", () => {
  test("is told by its name, its file, its directory, its hooks, or an option", async () => {
    const steps = [call({ plugin: "other" }), call({ plugin: "third" })];
    const guest = await load("waits");
    await assert.rejects(guest.replay(trace("/", steps)), {
      name: "TypeError",
      message: "the trace holds calls of other, third: say by the option plugin which of them this is",
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
    await assert.rejects(guest.replay(trace("/", [])), /holds no call of a plugin/);
  });

  test("and with which configuration, where there is more than one", async () => {
    const steps = [call(), call({ use: 2, edits: [set("x-a", "1")] })];
    const guest = await load("waits");
    await assert.rejects(
      guest.replay(trace("/", steps)),
      /calls of waits with 2 configurations \(1: steps 1; 2: steps 2\): say by the option use which/,
    );
    assert.deepEqual((await guest.replay(trace("/", steps), { use: 1 })).differences, []);
    assert.deepEqual((await guest.replay(trace("/", steps), { use: 2 })).differences, [
      'request_head: header x-a: the trace has "1", now it stays as it is',
    ]);
  });
});

test("the clock is the trace's, what is waited for passes, and a clock of the test's own comes first", async () => {
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

test("what a plugin said to the connection is asked again", async () => {
  const guest = await load("judges");
  const judged = (over: Partial<HookStep>) => [call({ hook: "connection", plugin: "judges", ...over })];
  const replayed = await guest.replay(trace("/", judged({ cluster: "canary" })));
  assert.deepEqual([replayed.differences, replayed.skipped, replayed.calls.length], [[], [], 1]);
  const denied = trace("/", judged({ result: "reject" }), { client: "192.0.2.9" });
  assert.deepEqual((await guest.replay(denied)).differences, []);
  const { differences } = await guest.replay(trace("/", judged({ result: "reject" })));
  assert.deepEqual(differences.length, 2, differences.join("\n"));
});

test("values that are masked are equal to any, and are counted; they can be given", async () => {
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
  await assert.rejects(guest.replay(trace("/", [call()]), { values: { "x-a": "1\r\n" } }), /no field that a request/);
});

test("what the trace cut is not taken for whole", async () => {
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
  assert.deepEqual(cut.skipped, ["request_head (step 1): the trace was cut in header x-long"]);
  const given = await guest.replay(trace("/", [call()], { request, cut: true }), { values: { "x-long": "abcd" } });
  assert.deepEqual([given.skipped, given.differences], [[], []]);
  const edits = [{ of: "request" as const, what: "…", before: [], after: [] }];
  const later = await guest.replay(trace("/", [call({ plugin: "other", edits }), call()], { cut: true }));
  assert.deepEqual(later.skipped, ["request_head (step 2): the trace was cut before this"]);
  const ends = await guest.replay(
    trace(
      "/",
      Array.from({ length: 300 }, () => call()),
      { cut: true },
    ),
  );
  assert.deepEqual(ends.skipped, ["the trace was cut behind step 300: what followed is not in it"]);
  const long = await guest.replay(trace("/random", [call({ edits: [set("x-id", "…")] })], { cut: true }));
  assert.deepEqual([long.differences, long.masked], [[], 1]);
});

test("what was asked is answered by the test, or as a dry run did; else it is skipped", async () => {
  const steps = (answer: string) => [call({ calls: { fetch: 1 }, edits: [set("x-fetched", answer)] })];
  const real = await (await load("waits")).replay(trace("/fetch", steps("200 yes")));
  assert.deepEqual(real.skipped, [
    "request_head (step 1): the trace does not hold what its requests were answered: give plugin() a fetch",
  ]);
  const dry = await (await load("waits")).replay(trace("/fetch", steps("503 dry run"), { fetchAnswer: 503 }));
  assert.deepEqual([dry.skipped, dry.differences], [[], []]);
  const fetch = () => ({ status: 200, body: "yes" });
  const answered = await (await load("waits", { fetch })).replay(trace("/fetch", steps("200 yes")));
  assert.deepEqual([answered.skipped, answered.differences], [[], []]);
  await assert.rejects(async () => (await load("waits")).replay(trace("/fetch", [call()])), /was given no fetch/);
});

test("a call that did not end, or was not made, is skipped; a failure is compared by its reason", async () => {
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
    "request_head (step 1): it had not ended when the request did",
    "request_head (step 2): it was not called: the plugin was in quarantine",
    "request_body (step 4): the trace has the size of its piece of the body, not the bytes: a dry run has both",
  ]);
  assert.deepEqual(replayed.differences, ["log: the trace has a call, now the plugin has no such hook"]);
  const [, , failed] = replayed.calls;
  assert.deepEqual([failed!.now!.result, failed!.now!.failure!.reason], ["failed", "abort"]);
  const other = [call({ plugin: "tenant", result: "failed", failure: { reason: "fuel", message: "x" } })];
  assert.deepEqual((await guest.replay(trace("/", other))).differences, [
    'request_head: failure: the trace has "fuel", now "abort"',
  ]);
});

test("what came of the endpoint, trailers, and a held answer are there; what may differ is left out by name", async () => {
  const guest = await load("waits");
  const came = (...edits: { of: "request" | "response"; what: string; before: string[]; after: string[] }[]): Step => ({
    step: "came",
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
    came({ of: "request", what: "trailer x-sum", before: [], after: ["7"] }),
    call({ hook: "request_trailers", edits: [{ of: "request", what: "trailer x-sum", before: ["7"], after: ["7!"] }] }),
    came(status([], ["503"])),
    came(status(["503"], ["200"])),
    call({ hook: "response_head", edits: [status(["200"], ["201"])] }),
    call({ plugin: "other", edits: [set("x-hold", "1")] }),
    call({ hook: "response_head", result: "hold" }),
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

test("entries that the test puts into the store are found", async () => {
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

  test("is told its endpoints once, picks among those left, and hears of each attempt", async () => {
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
    assert.match((await guest.replay(trace("/", [other[0]!]))).skipped[0]!, /does not hold the endpoints/);
  });

  test("that draws lots need not draw the same again", async () => {
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

// ── Files that somebody sent ────────────────────────────────────────────────────────────────────────────────────

const at = (root: unknown, path: readonly string[]): unknown =>
  path.reduce<unknown>((value, key) => (value as Record<string, unknown> | null | undefined)?.[key], root);

test("what is wrong with a trace is told with its place", async () => {
  const guest = await load("tenant");
  const broken = (path: string, value: unknown): object => {
    const made = posted();
    const keys = path.split(".");
    const parent = at(made, keys.slice(0, -1)) as Record<string, unknown>;
    parent[keys.at(-1)!] = value;
    return made;
  };
  const first = posted().steps[0];
  const cases: [path: string, value: unknown, message: RegExp][] = [
    ["time", undefined, /^trace\.time is missing, expected a text$/],
    ["time", "yesterday", /^trace\.time is "yesterday", expected a time such as/],
    ["request", [], /^trace\.request is a list, expected an object$/],
    ["request.method", "GE T", /^trace\.request\.method is "GE T", expected/],
    ["request.headers.1", ["x"], /^trace\.request\.headers\[1\] is a list, expected a list of \[name, value\]$/],
    ["request.headers.1.1", "a\r\nb: c", /headers\[1\]\[1\] is "a\\r\\nb: c", expected a value/],
    ["request.headers.1.1", "☃", /headers\[1\]\[1\] is "☃", expected characters up to ÿ$/],
    ["steps", {}, /^trace\.steps is an object, expected a list$/],
    ["steps.2.step", "rule", /^trace\.steps\[2\]\.step is "rule", expected hook, came/],
    ["steps.0.hook", "tick", /^trace\.steps\[0\]\.hook is "tick", expected connection, /],
    ["steps.0.at", -1, /^trace\.steps\[0\]\.at is -1, expected a whole number/],
    ["steps.0.calls.fetch", 1.5, /^trace\.steps\[0\]\.calls\.fetch is 1\.5, expected a whole number/],
    ["steps.0.edits.0.what", "host", /^trace\.steps\[0\]\.edits\[0\]\.what is "host", expected method/],
    ["steps.0.edits.0.after", Array(1001).fill("a"), /edits\[0\]\.after has 1001 entries, expected at most 1000$/],
    ["steps.5.body.seen", "short", /^trace\.steps\[5\]\.body\.seen is "short", expected a text of 9 bytes/],
    ["steps", Array(301).fill(first), /^trace\.steps has 301 entries, expected at most 300$/],
    ["steps.8.candidates.0.weight", 0.5, /candidates\[0\]\.weight is 0\.5, expected a whole number up to 1000$/],
    ["answer", null, /^trace\.answer is null, expected an object$/],
  ];
  for (const [path, value, message] of cases)
    await assert.rejects(guest.replay(broken(path, value)), { name: "TypeError", message });
  assert.throws(() => readTrace(trace("/", [], { listener: "x".repeat(301) })), /301 characters, expected at most 300/);
  const many = Array.from({ length: 290 }, () => call({ edits: [set("a", "x".repeat(9000))] }));
  assert.throws(() => readTrace(trace("/", many)), /the trace has more than 2097152 characters/);
  const full = Array.from({ length: 60 }, () => call({ edits: Array(1000).fill(set("a", "")) }));
  assert.throws(() => readTrace(trace("/", full)), /the trace has more than 50000 entries/);

  writeFileSync(join(directory, "broken.json"), "{");
  await assert.rejects(guest.replay(join(directory, "broken.json")), /broken\.json is no trace: /);
  writeFileSync(join(directory, "large.json"), `"${"x".repeat(5 << 20)}"`);
  await assert.rejects(
    guest.replay(join(directory, "large.json")),
    /large\.json has 5242882 bytes, a trace has at most/,
  );
});

test("a request that no client can send makes no call", async () => {
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
  assert.match(replayed.skipped[0]!, /^request_head \(step 1\): no client or endpoint can send this head: /);
});

/** Every place in a value, as the keys that lead there. */
function placesOf(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [[...path]];
  return [[...path], ...Object.entries(value).flatMap(([key, inner]) => placesOf(inner, [...path, key]))];
}

test("a trace in which anything was changed is replayed, or refused: it neither breaks nor stops the kit", async () => {
  const guest = await load("tenant");
  const places = placesOf(posted()).slice(1);
  const odd = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(
      "",
      "***",
      "…",
      "a…",
      "\0",
      "\r\n",
      "x".repeat(70_000),
      -1,
      2 ** 53,
      1e308,
      null,
      {},
      [],
      "__proto__",
    ),
    fc.constantFrom("hold", "respond", "failed", "route", "response_body", "log", "header content-length", "status"),
    fc.string({ unit: "binary", maxLength: 20 }),
  );
  const mutation = fc.record({
    place: fc.constantFrom(...places),
    how: fc.constantFrom("set", "delete", "copy", "swap"),
    value: odd,
    other: fc.constantFrom(...places),
  });
  const mutate = (
    root: unknown,
    { place, how, value, other }: { place: string[]; how: string; value: unknown; other: string[] },
  ) => {
    const parent = at(root, place.slice(0, -1));
    const key = place.at(-1)!;
    if (typeof parent !== "object" || parent === null) return;
    const fields = parent as Record<string, unknown>;
    if (how === "delete") delete fields[key];
    else if (how === "set") fields[key] = value;
    else if (how === "copy") fields[key] = structuredClone(at(root, other)) ?? null;
    else if (Array.isArray(parent)) parent.splice(Number(key), 0, structuredClone(parent[Number(key)]));
  };
  await fc.assert(
    fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
      const root = posted();
      for (const one of mutations) mutate(root, one);
      try {
        const { calls, differences } = await guest.replay(root, { plugin: "tenant" });
        assert.ok(calls.length <= 300 && differences.every((line) => line.length < 4000));
      } catch (error) {
        assert.ok(error instanceof TypeError && !(error instanceof PluginFailure), String(error));
        assert.match(error.message, /^(the )?trace/);
        assert.ok(error.message.length < 4000, error.message);
      }
    }),
    { numRuns: 400 },
  );
  const again = await guest.replay(posted());
  assert.deepEqual([again.differences, again.skipped], [[], []]);
});
