/** `sluice/test`: results of hooks of a plugin. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { compile, type Succeeded, writeModule } from "../../../src/compiler/compile.ts";
import { helpers, PluginFailure, plugin } from "../../../src/testing/index.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-kit-"));
after(() => rmSync(directory, { recursive: true }));

function write(name: string, text: string): string {
  writeFileSync(join(directory, name), text);
  return join(directory, name);
}

const FILTER = `import { Config, Request, Response, cluster, log, now, strategy } from "sluice/sdk";
const header = Config.string("header", "x-tenant");
const canary = cluster("canary");
const busy = strategy("random");
export function onRequest(req: Request): void {
  if (req.pathIs("/fail")) divide(req.path.length - 5);
  if (req.pathIs("/throw")) throw new Error("not today");
  if (req.pathIs("/spin")) while (true) {}
  if (req.pathIs("/no")) return req.reject();
  if (req.pathIs("/large")) { const made = new Uint8Array(1 << 20); log.info(made.length.toString()); }
  if (req.pathIs("/teapot")) {
    const res = req.respond(418, "short");
    res.headers.set("x-pot", "tea");
    return;
  }
  if (req.headers.is("x-canary", "1")) { req.choose(canary); req.chooseStrategy(busy); }
  req.path = "/v1" + req.path;
  req.headers.set(header, req.host.split(".")[0]);
  req.headers.remove("x-old");
  req.set("seen", req.clientAddress + " " + req.scheme);
  log.warn("at " + now().toString());
}
export function onResponse(req: Request, res: Response): void {
  res.headers.set("x-seen", req.get("seen")!);
  if (res.status == 404) res.status = 410;
}
export function onLog(req: Request, res: Response): void { log.info(res.status.toString() + " " + req.method); }
let quotient = 0;
function divide(by: i32): void {
  quotient = 100 / by;
}
`;
const AROUND = { clusters: ["app", "canary"], strategies: ["round-robin", "random"] };

describe("a filter", () => {
  let file: string;
  before(async () => {
    file = join(directory, "filter.wasm");
    await writeModule((await compile(write("filter.ts", FILTER))) as Succeeded, file);
  });

  test("returns the resulting request, and each edit with the value before", async () => {
    const guest = await plugin(file, { ...AROUND, config: { header: "x-who" }, now: () => 1234 });
    assert.deepEqual(guest.hooks, ["request_head", "response_head", "log"]);
    const result = guest.request({
      method: "POST",
      url: "https://acme.example.com/a?b=1",
      headers: { "X-Old": ["1", "2"], accept: "*/*" },
      client: "2001:db8::1",
    });
    assert.equal(result.outcome, "continue");
    assert.deepEqual(
      [result.method, result.authority, result.path, result.query],
      ["POST", "acme.example.com", "/v1/a", "b=1"],
    );
    assert.deepEqual(result.headers, { host: "acme.example.com", accept: "*/*", "x-who": "acme" });
    assert.deepEqual(result.edits, [
      { of: "request", what: "path", before: ["/a"], after: ["/v1/a"] },
      { of: "request", what: "header x-old", before: ["1", "2"], after: [] },
      { of: "request", what: "header x-who", before: [], after: ["acme"] },
    ]);
    assert.deepEqual([result.response, result.cluster, result.strategy], [null, null, null]);
    assert.deepEqual(result.log, [{ level: "warn", text: "at 1234.0" }]);
    assert.ok(result.fuel > 10 && result.memory >= 65536);

    const response = guest.response({ status: 404, headers: [["server", "x"]] }, result);
    assert.equal(response.headers["x-seen"], "2001:db8::1 https", "it is the same exchange");
    assert.deepEqual([response.status, response.outcome], [410, "continue"]);
    assert.deepEqual(
      response.edits.map(({ what, before, after }) => [what, before, after]),
      [
        ["status", ["404"], ["410"]],
        ["header x-seen", [], ["2001:db8::1 https"]],
      ],
    );
    assert.deepEqual(guest.log(undefined, result).log, [{ level: "info", text: "410 POST" }]);
  });

  test("returns responses, rejections, and the selected cluster and strategy", async () => {
    const guest = await plugin(file, AROUND);
    const { outcome, response } = guest.request({ url: "/teapot" });
    assert.equal(outcome, "respond");
    assert.deepEqual([response?.status, response?.body, response?.headers["x-pot"]], [418, "short", "tea"]);
    assert.equal(guest.request({ url: "/no" }).outcome, "reject");
    const chosen = guest.request({ headers: { "x-canary": "1" } });
    assert.deepEqual([chosen.cluster, chosen.strategy], ["canary", "random"]);
    const { allocated, fuel } = guest.request({ url: "/large" });
    assert.ok(allocated >= 1 << 20, String(allocated));
    assert.ok(fuel > guest.request().fuel);
    assert.equal(guest.request().allocated, 0);
  });

  test("throws a failure with the plugin's own lines first, and serves the next call", async () => {
    const guest = await plugin(file, { ...AROUND, limits: { fuel: 5000 } });
    for (let i = 0; i < 3; i++)
      assert.throws(
        () => guest.request({ url: "/fail" }),
        (error: unknown) => {
          assert.ok(error instanceof PluginFailure);
          assert.deepEqual([error.hook, error.reason], ["request_head", "trap"]);
          assert.match(error.message, /divide by zero/);
          assert.match(error.frames, /filter\.ts:30:14/);
          assert.match(error.stack!, /^PluginFailure: .*\n {4}at .*filter\.ts:30:14/);
          return true;
        },
      );
    assert.throws(() => guest.request({ url: "/throw" }), { reason: "abort", message: /not today \(filter\.ts:7:/ });
    assert.throws(() => guest.request({ url: "/spin" }), { reason: "fuel" });
    assert.equal(guest.request().outcome, "continue");
  });

  test("has the permissions of its configuration, and accepts only requests that a client can send", async () => {
    const guest = await plugin(file, { ...AROUND, allow: { headers: { hide: ["X-Old"] } } });
    assert.equal(guest.request({ headers: { "x-old": "1" } }).headers["x-old"], "1");
    await assert.rejects(plugin(file, { clusters: ["app"] }), /cluster "canary": it is unknown/);
    await assert.rejects(plugin(file, { ...AROUND, config: { header: [] } }), /config header: expected a string/);
    assert.throws(() => guest.request({ headers: { "a b": "1" } }), TypeError);
    assert.throws(() => guest.request({ url: "ftp://x/" }), TypeError);
    assert.throws(() => guest.route(), /no hook route; its hooks are request_head, response_head, log/);
    assert.throws(() => guest.pick(), /no hook pick/);
  });
});

test("a router names a cluster, or passes", async () => {
  const source = `import { Cluster, Request, cluster } from "sluice/sdk";
const beta = cluster("beta");
export function route(req: Request): Cluster | null { return req.pathStartsWith("/b/") ? beta : null; }
`;
  const guest = await plugin(write("router.ts", source), { clusters: ["app", "beta"] });
  assert.equal(guest.route({ url: "/b/x" }).cluster, "beta");
  assert.equal(guest.route({ url: "/a" }).cluster, null);
});

test("a strategy gets endpoints with their load, picks, and adapts", async () => {
  const source = `import { Endpoints, Outcome, PerEndpoint, Request, log } from "sluice/sdk";
const failures = new PerEndpoint<i32>(0);
export function pick(endpoints: Endpoints, req: Request): i32 {
  let best = -1;
  for (let i = 0; i < endpoints.length; i++) {
    if (failures.get(i) > 0) continue;
    if (best < 0 || endpoints.latency(i) < endpoints.latency(best)) best = i;
  }
  return best;
}
export function onOutcome(outcome: Outcome, req: Request): void {
  if (outcome.failed) failures.setById(outcome.endpoint, 1);
}
`;
  const guest = await plugin(write("strategy.ts", source));
  guest.update([{ address: "a:1", latency: 300 }, { address: "b:1", latency: 100, zone: "z" }, "c:1"]);
  assert.deepEqual([guest.pick().endpoint, guest.pick().index], ["c:1", 2]);
  assert.equal(guest.pick({ without: ["c:1"] }).endpoint, "b:1");
  guest.outcome({ endpoint: "c:1", failed: true });
  assert.equal(guest.pick().endpoint, "b:1");
  guest.update(["c:1", { address: "b:1", latency: 100 }]);
  assert.equal(guest.pick().endpoint, "b:1", "an endpoint keeps its id");
  assert.equal(guest.pick({ without: ["b:1"] }).endpoint, null);
  assert.throws(() => guest.outcome({ endpoint: "d:1" }), /no endpoint d:1/);
});

test("bodies are passed by chunk, or whole where buffered", async () => {
  const source = `import { Body, Request, Response } from "sluice/sdk";
export function onRequest(req: Request): void { if (req.methodIs("POST")) req.bufferBody(); }
export function onRequestBody(req: Request, body: Body): void {
  if (body.text().includes("forbidden")) { req.respond(403, "no"); return; }
  req.headers.set("x-size", body.size.toString());
}
export function onResponseBody(req: Request, res: Response, body: Body): void {
  body.replaceText(body.text().toUpperCase());
  if (body.last) body.appendText(".");
}
`;
  const guest = await plugin(write("body.ts", source));
  const request = guest.request({ method: "POST" });
  assert.equal(request.outcome, "buffer");
  const { edits, body, outcome } = guest.requestBody("héllo", { request });
  assert.deepEqual([outcome, body], ["continue", "héllo"]);
  assert.deepEqual(edits, [{ of: "request", what: "header x-size", before: [], after: ["6"] }]);
  const refused = guest.requestBody("forbidden", { request: { method: "POST" } });
  assert.deepEqual([refused.outcome, refused.response?.status, refused.response?.body], ["respond", 403, "no"]);
  assert.equal(guest.responseBody("abc", { last: false }).body, "ABC");
  assert.deepEqual(guest.responseBody(Buffer.from("d"), { response: { status: 201 } }).bytes, Buffer.from("D."));
});

test("a relative path is relative to the file that calls; compile errors are reported by their place", async () => {
  await assert.rejects(plugin("./none.ts"), /test\/unit\/testing\/none\.ts: cannot be read/);
  await assert.rejects(plugin(write("wrong.ts", "export function onReqest(): void {}")), /wrong\.ts:1:17: `onReqest`/);
});

test("helpers are called by name", async () => {
  const source = `import { Request } from "sluice/sdk";
export function slug(text: string, dash: string = "-"): string { return text.toLowerCase().replaceAll(" ", dash); }
export function isEven(n: i32): bool { return n % 2 == 0; }
export function maybe(text: string): string | null { return text.length ? text : null; }
export function big(n: u64): u64 { return n * 2; }
export function sum(list: i32[]): f64 { let all: f64 = 0; for (let i = 0; i < list.length; i++) all += list[i]; return all; }
export function range(n: i32): u8[] { const all: u8[] = []; for (let i = 0; i < n; i++) all.push(<u8>i); return all; }
export function fails(): void { throw new Error("out of order"); }
export function method(): string { return new Request().method; }
export function given(req: Request): void {}
`;
  const called = await helpers(write("text.ts", source));
  const { slug, isEven, maybe, big, sum, range, fails, method, given } = called;
  assert.deepEqual(Object.keys(called).length, 9);
  assert.equal(slug!("A b C"), "a-b-c");
  assert.equal(slug!("A b", "_"), "a_b");
  assert.deepEqual([isEven!(4), isEven!(5)], [true, false]);
  assert.deepEqual([maybe!("x"), maybe!("")], ["x", null]);
  assert.equal(big!(2n ** 63n - 1n), 2n ** 64n - 2n);
  assert.equal(sum!([1, 2, 3]), 6);
  assert.deepEqual(range!(3), [0, 1, 2]);
  assert.throws(() => fails!(), /out of order/);
  assert.throws(() => method!(), /is the host's, and a helper by itself has none/);
  assert.throws(() => given!(1), /a value of Request cannot be handed in/);
  assert.throws(() => isEven!(1, 2), /isEven takes 1 arguments, not 2/);
});

test("a connection is decided by its peer and its listener", async () => {
  const file = write(
    "decides.ts",
    `import { Connection, log } from "sluice/sdk";
export function onConnection(connection: Connection): void {
  if (connection.clientAddress.startsWith("198.51.100.") || connection.listener == "closed") connection.deny();
  else log.info(connection.id);
}
`,
  );
  const guest = await plugin(file);
  assert.deepEqual(
    [{}, { client: "198.51.100.9" }, { listener: "closed" }].map((init) => guest.connection(init).denied),
    [false, true, true],
  );
  assert.equal(guest.connection().log.length, 1);
  assert.equal(guest.connection().cluster, null);
  assert.throws(() => guest.tick(), /has no hook tick; its hooks are connection/);
});

test("a health check returns the state and the problem; an asynchronous one is awaited", async () => {
  const file = write(
    "checks.ts",
    `import { Endpoint, log } from "sluice/sdk";
export function onHealthCheck(endpoint: Endpoint): bool {
  log.info(endpoint.cluster + " " + endpoint.address + " " + endpoint.id);
  if (endpoint.cluster == "down") return false;
  return endpoint.address == "10.0.0.1:80" ? true : endpoint.unhealthy("ist überlastet");
}
`,
  );
  const guest = await plugin(file);
  const decide = ({ address = "10.0.0.1:80", cluster = "app" } = {}) => {
    const { healthy, problem } = guest.healthCheck({ address, cluster });
    return [healthy, problem];
  };
  assert.deepEqual(decide(), [true, ""]);
  assert.deepEqual(decide({ cluster: "down" }), [false, ""]);
  assert.deepEqual(decide({ address: "10.0.0.2:80" }), [false, "ist überlastet"]);
  assert.match(guest.healthCheck().log[0]!.text, /^app 192\.0\.2\.80:80 \d+$/);
  assert.equal((await guest.healthCheckAsync({ address: "10.0.0.1:80" })).healthy, true);
  assert.throws(() => guest.tick(), /has no hook tick; its hooks are health_check/);
  const asks = write(
    "asks.ts",
    `import { Endpoint, sleep } from "sluice/sdk";
export function onHealthCheck(endpoint: Endpoint): bool {
  const response = endpoint.fetch("/z?a=1").header("x-a", "b").timeout(5000).send();
  if (response.timedOut) sleep(3600000);
  return response.ok;
}
`,
  );
  const seen: string[] = [];
  let delay = 0;
  const asking = await plugin(asks, {
    allow: { fetch: ["endpoint"] },
    limits: { time: 3_600_000 },
    fetch: ({ method, url, headers, timeout }) => {
      seen.push(`${method} ${url} ${headers.host} ${headers["x-a"]} ${timeout <= 800}`);
      return { status: 204, delay };
    },
  });
  const check = { address: "10.0.0.1:80", timeout: 800 };
  assert.equal((await asking.healthCheckAsync(check)).healthy, true);
  assert.deepEqual(seen, ["GET endpoint/z?a=1 10.0.0.1:80 b true"]);
  assert.throws(() => asking.healthCheck(), /use healthCheckAsync/);
  delay = 2000;
  await assert.rejects(asking.healthCheckAsync(check), { reason: "timeout", message: /\(the check's timeout\)/ });
});

test("the test responds to the requests of a health check", async () => {
  const file = write(
    "pings.ts",
    `import { Endpoint } from "sluice/sdk";
export function onHealthCheck(endpoint: Endpoint): bool {
  const response = endpoint.probe("PING\\r\\n", "\\r\\n");
  if (!response.ok) return endpoint.unhealthy(response.timedOut ? "silent" : "away");
  return response.text() == "+PONG\\r\\n";
}
`,
  );
  let response: string | null | undefined = "+PONG\r\n";
  const seen: string[] = [];
  const guest = await plugin(file, {
    probe: ({ address, send, until }) => {
      seen.push(JSON.stringify([address, send, until]));
      return response;
    },
  });
  const check = async () => {
    const { healthy, problem } = await guest.healthCheckAsync({ address: "10.0.0.1:6379" });
    return [healthy, problem];
  };
  assert.deepEqual(await check(), [true, ""]);
  assert.deepEqual(seen, ['["10.0.0.1:6379","PING\\r\\n","\\r\\n"]']);
  response = "-ERR";
  assert.deepEqual(await check(), [false, ""]);
  response = null;
  assert.deepEqual(await check(), [false, "away"]);
  response = undefined;
  assert.deepEqual(await check(), [false, "silent"]);
});

test("a plugin's ticks are called at once, and its saved state is restored in another guest", async () => {
  const file = write(
    "ticks.ts",
    `import { Request, State, log, tickEvery } from "sluice/sdk";
tickEvery(60000);
let ticks: i32 = 0;
export function onRequest(req: Request): void { req.respond(200, ticks.toString()); }
export function onTick(): void { log.info("tick " + (++ticks).toString()); }
export function onSave(state: State): void { state.writeI32(ticks); }
export function onRestore(state: State): void { ticks = state.readI32(); }
`,
  );
  const [before, after] = [await plugin(file), await plugin(file)];
  for (let i = 1; i <= 40; i++) assert.deepEqual(before.tick().log, [{ level: "info", text: `tick ${i}` }]);
  const { state } = before.save();
  assert.deepEqual([...state], [40, 0, 0, 0]);
  after.restore(state);
  assert.equal(after.request().response?.body, "40");
  assert.throws(() => after.restore(new Uint8Array(3)), /3 bytes left, 4 were requested/);
  assert.equal(after.request().response?.body, "0", "a new guest");
});
