/** The guide's examples compile unchanged and work; every call of the SDK does what its comment says. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import type { HOOK } from "../../../src/abi/abi.ts";
import { PART } from "../../../src/http/head.ts";
import { OUTCOME } from "../../../src/plugin/host/host.ts";
import type { Exchange } from "../../../src/proxy/exchange.ts";
import {
  call,
  compileSource,
  Endpoints,
  exchange,
  type Loaded,
  type LoadOptions,
  load,
} from "../../contract/plugin-harness.ts";

const open: Loaded[] = [];
after(() => {
  for (const loaded of open) loaded.dispose();
});

async function start(source: string, options: LoadOptions = {}): Promise<Loaded> {
  const loaded = load(await compileSource(source), options);
  open.push(loaded);
  return loaded;
}

function run(loaded: Loaded, hook: keyof typeof HOOK, on: Exchange, expected: number = OUTCOME.continue): Exchange {
  assert.equal(call(loaded, hook, on), expected, loaded.reports.join("\n"));
  return on;
}

const get = (host: string, path = "/", more = "") => exchange(`GET ${path} HTTP/1.1\nHost: ${host}${more}`);

describe("the three kinds", () => {
  const FILTER = `
import { Request, Response, Config } from "sluice/sdk";
const header = Config.string("header", "x-tenant");
export function onRequest(req: Request): void {
  const tenant = req.host.split(".")[0];
  if (tenant == "www") req.respond(400, "no tenant in the host name");
  else req.headers.set(header, tenant);
}
export function onResponse(req: Request, res: Response): void { res.headers.remove("server"); }`;

  test("a filter reads its configuration, edits headers, and responds", async () => {
    const loaded = await start(FILTER);
    assert.equal(run(loaded, "request_head", get("acme.example.com:80")).request.get("x-tenant"), "acme");
    const refused = run(loaded, "request_head", get("www.example.com"), OUTCOME.respond);
    assert.equal(refused.localStatus, 400);
    assert.equal(String(refused.localBody), "no tenant in the host name");
    const responded = exchange("GET / HTTP/1.1\nHost: a", "HTTP/1.1 200 OK\nServer: x\nA: b");
    run(loaded, "response_head", responded);
    assert.equal(responded.response.get("server"), undefined);
    assert.equal(responded.response.get("a"), "b");
    const other = await start(FILTER, { configs: [{ header: "x-other" }] });
    assert.equal(run(other, "request_head", get("b.example.com")).request.get("x-other"), "b");
  });

  const ROUTER = `
import { Request, Cluster, cluster } from "sluice/sdk";
const stable = cluster("app"), beta = cluster("canary");      // an unknown name is refused at start
export function route(req: Request): Cluster {
  return req.headers.is("x-beta", "1") || req.pathStartsWith("/next/") ? beta : stable;
}`;

  test("a router names a cluster", async () => {
    const loaded = await start(ROUTER, { clusters: ["app", "canary"] });
    assert.equal(run(loaded, "route", get("a")).chosenCluster, 0);
    assert.equal(run(loaded, "route", get("a", "/next/x")).chosenCluster, 1);
    assert.equal(run(loaded, "route", get("a", "/", "\nX-BETA: 1")).chosenCluster, 1);
    assert.equal(run(loaded, "route", get("a", "/", "\nX-BETA: 10")).chosenCluster, 0);
  });

  test("an unknown or forbidden cluster is rejected at start", async () => {
    const wasm = await compileSource(ROUTER);
    assert.throws(() => load(wasm, { clusters: ["app"] }), { message: /start: cluster "canary": it is unknown/ });
    const denied: LoadOptions = { clusters: ["app", "canary"], allowed: ["app"] };
    assert.throws(() => load(wasm, denied), {
      message: /cluster "canary": the plugin's configuration does not allow it/,
    });
  });

  test("a router that returns null passes to the next route", async () => {
    const loaded = await start(
      `import { Request, Cluster, cluster } from "sluice/sdk";
export function route(req: Request): Cluster | null { return req.pathIs("/a") ? cluster("app") : null; }`,
      { clusters: ["app"] },
    );
    assert.equal(run(loaded, "route", get("a", "/a")).chosenCluster, 0);
    assert.equal(run(loaded, "route", get("a", "/b")).chosenCluster, -1);
  });

  test("a strategy picks", async () => {
    const loaded = await start(`
import { Endpoints } from "sluice/sdk";
export function pick(endpoints: Endpoints): i32 {
  let best = -1, least = Infinity;
  for (let i = 0; i < endpoints.length; i++) {
    const load = <f64>(endpoints.inFlight(i) + 1) / endpoints.weight(i);
    if (load < least) { least = load; best = i; }
  }
  return best;
}`);
    for (const size of [3, 30]) {
      const endpoints = Endpoints.ofWeights(Array.from({ length: size }, () => 2));
      for (let i = 0; i < size; i++) endpoints.setInFlight(i, 9);
      endpoints.setInFlight(size - 2, 3);
      assert.ok(loaded.instances[0]!.update(endpoints.view()));
      assert.equal(loaded.instances[0]!.pick(get("a"), endpoints.view()), size - 2);
    }
  });

  test("the README's and the guide's examples compile", async () => {
    for (const name of ["README.md", "docs/plugins.md"]) {
      const text = readFileSync(join(import.meta.dirname, "../../..", name), "utf8");
      const plugins = [...text.matchAll(/```ts\n([^`]*?from "sluice\/sdk"[\s\S]*?)```/g)];
      assert.ok(plugins.length > 0, `${name} has no example`);
      for (const [, source] of plugins) assert.ok((await compileSource(source!)).length > 0);
    }
  });
});

describe("a request", () => {
  test("has its attributes", async () => {
    const loaded = await start(`import { Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  req.set("seen", [req.method, req.scheme, req.authority, req.host, req.path, req.query, req.target, req.clientAddress,
    req.listener, req.route, req.cluster, req.attempt.toString()].join("|"));
  if (!req.methodIs("GET") || req.methodIs("GE") || req.methodIs("GETT")) throw new Error("methodIs");
  if (!req.pathIs("/a/b") || req.pathIs("/a") || !req.pathStartsWith("/a/") || req.pathStartsWith("/a/b/")) throw new Error("path");
  req.headers.set("x-seen", req.get("seen")!);
}`);
    const on = get("Example.com:81", "/a/b?c=d");
    on.listenerName = "web";
    run(loaded, "request_head", on);
    assert.equal(on.request.get("x-seen"), "GET|http|Example.com:81|Example.com|/a/b|c=d|/a/b?c=d|192.0.2.1|web|||0");
    const v6 = get("[::1]:81");
    run(
      await start(`import { Request } from "sluice/sdk";
export function onRequest(req: Request): void { req.headers.set("x-host", req.host); }`),
      "request_head",
      v6,
    );
    assert.equal(v6.request.get("x-host"), "[::1]");
  });

  test("can be changed", async () => {
    const loaded = await start(`import { Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  req.method = "PUT";
  if (req.pathIs("/target")) { req.target = "/t?u"; return; }
  req.path = "/p";
  req.query = req.path + "=1";
}`);
    const parts = (on: Exchange) => [PART.method, PART.path, PART.query].map((part) => on.request.partText(part));
    assert.deepEqual(parts(run(loaded, "request_head", get("a", "/x?y"))), ["PUT", "/p", "/p=1"]);
    assert.deepEqual(parts(run(loaded, "request_head", get("a", "/target"))), ["PUT", "/t", "u"]);
  });

  test("can be rejected, get a response with headers and bytes, and a strategy", async () => {
    const loaded = await start(
      `import { Request, cluster, strategy } from "sluice/sdk";
const fast = strategy("fast"), app = cluster("app");
export function onRequest(req: Request): void {
  if (req.pathIs("/reject")) req.reject();
  else if (req.pathIs("/both")) { req.respond(403, "Grüße"); req.reject(); }
  else if (req.pathIs("/answer")) {
    const res = req.respond(401);
    res.headers.set("www-authenticate", "Basic");
    res.headers.add("set-cookie", "a=1");
    res.headers.add("set-cookie", "b=2");
  } else { req.choose(app); req.chooseStrategy(fast); }
}`,
      { clusters: ["other", "app"], strategies: ["slow", "fast"] },
    );
    run(loaded, "request_head", get("a", "/reject"), OUTCOME.reject);
    assert.equal(String(run(loaded, "request_head", get("a", "/both"), OUTCOME.respond).localBody), "Grüße");
    const responded = run(loaded, "request_head", get("a", "/answer"), OUTCOME.respond);
    assert.equal(responded.response.get("www-authenticate"), "Basic");
    const name = Buffer.from("set-cookie");
    assert.ok(responded.response.find(name, 0, name.length, 1) >= 0);
    const chosen = run(loaded, "request_head", get("a"));
    assert.deepEqual([chosen.chosenCluster, chosen.chosenStrategy], [1, 1]);
  });

  test("keeps values from hook to hook, any text", async () => {
    const loaded = await start(`import { Request, Response } from "sluice/sdk";
export function onRequest(req: Request): void { req.set("käse", "Grüße, 世界 \\u0000"); }
export function onResponse(req: Request, res: Response): void {
  if (req.get("none") !== null) throw new Error("a value from nowhere");
  res.headers.set("x-same", (req.get("käse") == "Grüße, 世界 \\u0000").toString());
}`);
    const on = exchange("GET / HTTP/1.1\nHost: a", "HTTP/1.1 200 OK\nA: b");
    run(loaded, "request_head", on);
    run(loaded, "response_head", on);
    assert.equal(on.response.get("x-same"), "true");
  });
});

describe("headers", () => {
  test("are read without regard to case, in order, with every value", async () => {
    const loaded = await start(`import { Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  const h = req.headers;
  const out: string[] = [h.getAll("x-a").join("+"), h.get("X-A")!, h.nth("x-a", 1)!, (h.nth("x-a", 2) === null).toString(),
    (h.get("none") === null).toString(), h.has("x-A").toString(), h.has("x-").toString(), h.is("x-a", "1").toString(),
    h.is("x-a", "").toString(), h.is("none", "").toString(), h.startsWith("x-b", "lo").toString(), h.count.toString(), h.nameAt(1), h.valueAt(2),
    h.nameAt(99), h.remove("x-a").toString(), h.remove("x-a").toString(), h.has("x-a").toString()];
  h.set("x-out", out.join("|"));
}`);
    const on = run(
      loaded,
      "request_head",
      exchange("GET / HTTP/1.1\nHost: a\nX-A: 1\nx-a: 2\nX-B: long enough for a vector"),
    );
    assert.equal(
      on.request.get("x-out"),
      "1+2|1|2|true|true|true|false|true|false|false|true|4|X-A|2||true|false|false",
    );
  });

  test("round-trip every byte", async () => {
    const loaded = await start(`import { Request } from "sluice/sdk";
export function onRequest(req: Request): void { req.headers.set("x-back", req.headers.get("x-bytes")!); }`);
    const bytes = Buffer.from(Array.from({ length: 223 }, (_, i) => i + 33).filter((b) => b !== 127)).toString(
      "latin1",
    );
    for (const value of [bytes, "é", "12345678", "123456789", bytes.repeat(200)])
      assert.equal(run(loaded, "request_head", get("a", "/", `\nX-Bytes: ${value}`)).request.get("x-back"), value);
  });

  test("that cannot be set cause an error with the reason, and earlier edits are discarded", async () => {
    const wasm = await compileSource(`import { Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  req.headers.set("x-first", "1");
  if (req.pathIs("/crlf")) req.headers.set("x-a", "a\\r\\nb: c");
  if (req.pathIs("/name")) req.headers.add("a b", "c");
  if (req.pathIs("/framing")) req.headers.set("transfer-encoding", "chunked");
  if (req.pathIs("/wide")) req.headers.set("x-a", "12345678 €");
  if (req.pathIs("/long")) req.headers.set("x-a", "a".repeat(70000));
}`);
    const reasons: [path: string, reason: RegExp][] = [
      ["/crlf", /cannot set header "x-a": the value is not allowed/],
      ["/name", /cannot add header "a b": the value is not allowed/],
      ["/framing", /cannot set header "transfer-encoding": the value is not allowed/],
      ["/wide", /"12345678 €" contains a character above U\+00FF/],
      ["/long", /a text of 70000 is over the limit of 65536/],
    ];
    for (const [path, reason] of reasons) {
      const loaded = load(wasm);
      const on = run(loaded, "request_head", get("a", path), OUTCOME.failed);
      assert.equal(on.request.get("x-first"), undefined);
      assert.match(loaded.reports.join("\n"), reason);
      loaded.dispose();
    }
  });
});

describe("configuration", () => {
  test("is read by path, with fallbacks", async () => {
    const source = `import { Config, Request } from "sluice/sdk";
const out: string[] = [Config.string("s"), Config.string("n"), Config.string("none", "fallback"), Config.int("n").toString(),
  Config.int("none", 7).toString(), Config.int("quoted").toString(), Config.float("f").toString(), Config.float("none", 0.5).toString(),
  Config.bool("b").toString(), Config.bool("none", true).toString(), Config.has("s").toString(), Config.has("none").toString(),
  Config.has("nothing").toString(), Config.string("nothing", "null"), Config.count("list").toString(), Config.list("list").join("+"),
  Config.list("s").join("+"), Config.keys("map").join("+"), Config.key("map", 1), Config.int("list.1").toString(),
  Config.string("map.deep.x"), Config.string("long").length.toString()];
const result = out.join("|");
export function onRequest(req: Request): void { req.set("r", result); req.headers.set("x-out", result.substring(0, 200)); }`;
    const config = {
      s: "text",
      n: 42,
      quoted: "8",
      f: 1.5,
      b: true,
      nothing: null,
      list: [1, 2, "c"],
      map: { a: 1, deep: { x: "found" } },
      long: "ü".repeat(70_000),
    };
    const on = run(await start(source, { configs: [config] }), "request_head", get("a"));
    assert.equal(
      on.request.get("x-out"),
      "text|42|fallback|42|7|8|1.5|0.5|true|true|true|false|false|null|3|1+2+c|text|a+deep|deep|2|found|70000",
    );
  });

  test("that is invalid is rejected with its path, the expected and the actual value", async () => {
    const wasm = await compileSource(`import { Config, Request } from "sluice/sdk";
const what = Config.string("what");
if (what == "string") Config.string("v");
if (what == "int") Config.int("v");
if (what == "float") Config.float("v");
if (what == "bool") Config.bool("v");
if (what == "list") Config.list("v");
if (what == "keys") Config.keys("v");
if (what == "allow") Config.allow("v", ["a", "b"]);
export function onRequest(req: Request): void {}`);
    const refusals: [config: Record<string, unknown>, message: RegExp][] = [
      [{}, /config what: expected a string, found nothing/],
      [{ what: "string", v: [1] }, /config v: expected a string, found a list/],
      [{ what: "string", v: null }, /config v: expected a string, found null/],
      [{ what: "int", v: 1.5 }, /config v: expected a whole number, found "1.5"/],
      [{ what: "int", v: "ten" }, /config v: expected a whole number, found "ten"/],
      [{ what: "int", v: 1e12 }, /config v: expected a whole number, found "1000000000000"/],
      [{ what: "int" }, /config v: expected a whole number, found nothing/],
      [{ what: "float", v: true }, /config v: expected a number, found "true"/],
      [{ what: "bool", v: 1 }, /config v: expected true or false, found "1"/],
      [{ what: "list", v: { a: 1 } }, /config v: expected a list, found a map/],
      [{ what: "keys", v: "x" }, /config v: expected a map, found "x"/],
      [{ what: "allow", v: { a: 1, c: 2 } }, /config v\.c: unknown key, expected one of a, b/],
    ];
    for (const [config, message] of refusals) assert.throws(() => load(wasm, { configs: [config] }), { message });
  });

  test("of a plugin that serves many is not read at the top of the file", async () => {
    const wasm = await compileSource(`import { Config, Request } from "sluice/sdk";
export const servesMany = true;
const x = Config.string("x", "");
export function onRequest(req: Request): void { req.headers.set("x", x); }`);
    assert.throws(() => load(wasm), {
      message: /must read the configuration in configure\(\), not at the top of the file/,
    });
  });
});

describe("the rest of the SDK", () => {
  test("logs lines at their levels, and truncates long ones", async () => {
    const loaded = await start(`import { Request, log } from "sluice/sdk";
export function onRequest(req: Request): void {
  log.debug("d"); log.info("Grüße"); log.warn("w"); log.error("e"); log.info("x".repeat(10000));
}`);
    run(loaded, "request_head", get("a"));
    assert.deepEqual(loaded.reports.slice(0, 4), ["debug: d", "info: Grüße", "warn: w", "error: e"]);
    assert.match(loaded.reports[4]!, /^info: x{1000,4096}$/);
  });

  test("returns time and random numbers", async () => {
    const loaded = await start(`import { Request, now, random, randomBelow } from "sluice/sdk";
export function onRequest(req: Request): void {
  let same = true;
  const first = random();
  for (let i = 0; i < 20; i++) {
    if (random() != first) same = false;
    if (randomBelow(10) >= 10 || randomBelow(1) != 0) throw new Error("out of bounds");
  }
  req.headers.set("x-now", now().toString());
  req.headers.set("x-same", same.toString());
}`);
    const on = run(loaded, "request_head", get("a"));
    assert.ok(Math.abs(Number(on.request.get("x-now")) - Date.now()) < 60_000);
    assert.equal(on.request.get("x-same"), "false");
  });

  test("changes a response, or replaces it", async () => {
    const loaded = await start(`import { Request, Response } from "sluice/sdk";
export function onResponse(req: Request, res: Response): void {
  if (res.status == 404) res.respond(200, "found").headers.set("x-new", "1");
  else res.status = res.status + 1;
}`);
    const on = exchange("GET / HTTP/1.1\nHost: a", "HTTP/1.1 200 OK\nX: y");
    run(loaded, "response_head", on);
    assert.equal(on.response.status, 201);
    const missing = exchange("GET / HTTP/1.1\nHost: a", "HTTP/1.1 404 Not Found\nX: y");
    run(loaded, "response_head", missing, OUTCOME.respond);
    assert.deepEqual(
      [missing.localStatus, missing.response.get("x"), missing.response.get("x-new")],
      [200, undefined, "1"],
    );
  });

  test("passes endpoints, whose ids are stable when the list changes", async () => {
    const loaded = await start(`import { Endpoints, Outcome, PerEndpoint, Request, log } from "sluice/sdk";
const picks = new PerEndpoint<i32>(100), failures = new PerEndpoint<f64>(0);
export function update(endpoints: Endpoints): void {
  for (let i = 0; i < endpoints.length; i++) log.info(\`\${endpoints.address(i)} \${endpoints.id(i)} \${endpoints.weight(i)} \${picks.get(i)} \${failures.get(i)}\`);
}
export function pick(endpoints: Endpoints, req: Request): i32 {
  const last = endpoints.length - 1;
  picks.set(last, picks.get(last) + 1);
  return req.pathIs("/first") ? 0 : last;
}
export function onOutcome(outcome: Outcome): void {
  if (outcome.failed) failures.setById(outcome.endpoint, failures.getById(outcome.endpoint) + <f64>outcome.latency);
}`);
    const instance = loaded.instances[0]!;
    const endpoints = Endpoints.ofWeights([1, 2, 3]);
    const [a, b, c] = endpoints.all;
    instance.update(endpoints.view());
    assert.equal(instance.pick(get("a"), endpoints.view()), 2);
    assert.equal(instance.pick(get("a", "/first"), endpoints.view()), 0);
    assert.equal(instance.pick(get("a"), endpoints.view([a!, b!])), 1);
    const on = get("a");
    on.endpoint = b!;
    on.attempt.failed = true;
    on.attempt.latency = 1500;
    run(loaded, "outcome", on);
    loaded.reports.length = 0;
    instance.update(endpoints.view([c!, b!]));
    instance.update(endpoints.view([a!, b!, c!]));
    assert.deepEqual(loaded.reports, [
      "info: 10.0.0.2:80 102 3 102 0.0",
      "info: 10.0.0.1:80 101 2 101 1500.0",
      "info: 10.0.0.0:80 100 1 100 0.0",
      "info: 10.0.0.1:80 101 2 101 1500.0",
      "info: 10.0.0.2:80 102 3 102 0.0",
    ]);
  });
});

for (const runtime of ["arena", "gc"])
  test(`${runtime}: patterns, masks and sets that were made at the top of the file run in every call`, async () => {
    const loaded = await start(`
// runtime: ${runtime === "gc" ? "gc" : "arena"}
import { fromUtf8, Glob, IpSet, Json, JsonMask, JsonWriter, Query, Regex, Request, toUtf8 } from "sluice/sdk";
const version = new Regex("^/v([0-9]+)/"), scripts = new Glob("/v*/**/*.js"), mask = new JsonMask(["**.secret"]), inner = new IpSet();
inner.add("192.0.2.0/24");
export function onRequest(req: Request): void {
  const match = version.exec(req.path), json = Json.parseText('{"a":[{"secret":1}]}')!;
  const text = new JsonWriter().beginObject()
    .key("version").string(match ? match.group(1) : null)
    .key("script").bool(req.pathMatches(scripts)).key("again").bool(req.pathMatches(version))
    .key("masked").raw(mask.apply(json.raw())!)
    .key("inner").bool(inner.has(req.clientAddress))
    .key("q").string(new Query(req.query).get("q")).endObject().toString();
  req.respond(200, fromUtf8(toUtf8(text)));
}`);
    for (let i = 0; i < 300; i++) {
      const on = run(loaded, "request_head", get("a", `/v${i}/x/e.js?q=a+b`), OUTCOME.respond);
      const expected = {
        version: `${i}`,
        script: true,
        again: true,
        masked: { a: [{ secret: "***" }] },
        inner: true,
        q: "a b",
      };
      assert.deepEqual(JSON.parse(String(on.localBody)), expected);
      const other = run(loaded, "request_head", get("a", "/x"), OUTCOME.respond);
      assert.deepEqual(JSON.parse(String(other.localBody)), {
        ...expected,
        version: null,
        script: false,
        again: false,
        q: null,
      });
    }
  });
