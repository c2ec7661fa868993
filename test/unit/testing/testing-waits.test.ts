/** `sluice/test` and asynchronous calls: time passes at once, and the test sends the responses. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { compile, type Succeeded, writeModule } from "../../../src/compiler/compile.ts";
import { PluginFailure, plugin } from "../../../src/testing/index.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-kit-waits-"));
const file = join(directory, "waits.wasm");

const SOURCE = `import { Body, Fetch, Headers, Request, Response, counter, counterBy, histogram, kv, log, now, sleep } from "sluice/sdk";
const asked = counter("asked_total", "Requests of its own.", ["by", "request"]);
const refused = counter("asked_total", "Requests of its own.", ["by", "nobody"]);
const paths = counterBy("path_total", "", "path", 1);
const sizes = histogram("response_bytes", "Sizes of responses.", [], [10, 100]);
const seen = kv("seen");
export function onRequest(req: Request): void {
  if (req.pathStartsWith("/sleep")) {
    const began = now();
    sleep(120000); sleep(30);
    log.info("slept " + (now() - began).toString());
  } else if (req.pathStartsWith("/ask")) {
    const response = new Fetch("cluster:auth/check?path=" + req.path).method("POST").header("x-user", "ann").text("who?").timeout(700).limit(100).send();
    paths.of(req.path).add();
    asked.add();
    if (response.timedOut) { req.respond(504, "late"); return; }
    if (response.status == 0) { req.respond(502, "nobody"); return; }
    sizes.observe(response.text().length);
    req.headers.set("x-role", response.status.toString() + " " + (response.header("x-role") || "") + " " + response.text());
    seen.increment("asked", 1, 60000);
  } else if (req.pathStartsWith("/other")) new Fetch("https://elsewhere.example/").send();
  else if (req.pathStartsWith("/fail")) { sleep(1); throw new Error("after a wait"); }
}
export function onResponse(req: Request, res: Response): void { sleep(5); res.headers.set("x-after", "1"); }
export function onRequestBody(req: Request, body: Body): void { sleep(5); body.replaceText(body.text().toUpperCase()); }
export function onResponseBody(req: Request, res: Response, body: Body): void { sleep(5); body.appendText("!"); }
export function onRequestTrailers(req: Request, trailers: Headers): void { trailers.set("x-sum", "checked " + (trailers.get("x-sum") || "")); }
export function onResponseTrailers(req: Request, res: Response, trailers: Headers): void { trailers.remove("x-inner"); }
export function onTick(): void { sleep(250); seen.set("ticked", now().toString()); }
export function onLog(): void {}
`;
const ALLOW = { fetch: ["cluster:auth"], kv: ["other", "seen"] };

before(async () => {
  writeFileSync(join(directory, "waits.ts"), SOURCE);
  await writeModule((await compile(join(directory, "waits.ts"))) as Succeeded, file);
});
after(() => rmSync(directory, { recursive: true }));

test("minutes of sleep take no time, and advance the plugin's clock", async () => {
  const guest = await plugin(file, { allow: ALLOW, limits: { time: 600_000 }, now: () => 1000 });
  const { outcome, suspended, log, allocated, fuel } = await guest.requestAsync({ url: "/sleep" });
  assert.deepEqual([outcome, suspended, log[0]?.text], ["continue", 120_030, "slept 120030.0"]);
  assert.ok(allocated === 0 && fuel > 20);
  assert.equal((await guest.requestAsync({ url: "/" })).suspended, 0);
});

test("a call suspended for too long fails by limits.time, and the next one is served", async () => {
  const guest = await plugin(file, { allow: ALLOW });
  for (let i = 0; i < 2; i++)
    await assert.rejects(guest.requestAsync({ url: "/sleep" }), { name: "PluginFailure", reason: "timeout" });
  await assert.rejects(guest.requestAsync({ url: "/fail" }), (error: unknown) => {
    assert.ok(error instanceof PluginFailure);
    assert.deepEqual([error.hook, error.reason], ["request_head", "abort"]);
    assert.match(error.message, /after a wait \(waits\.ts:/);
    return true;
  });
  assert.equal((await guest.requestAsync()).outcome, "continue");
});

test("a connection is decided after a suspension, and has its cluster", async () => {
  const decides = join(directory, "decides.ts");
  writeFileSync(
    decides,
    `import { cluster, Connection, Fetch } from "sluice/sdk";
const canary = cluster("canary");
export function onConnection(connection: Connection): void {
  const response = new Fetch("cluster:auth/" + connection.clientAddress).send();
  if (response.status == 403) connection.deny();
  else connection.choose(canary);
}
`,
  );
  const guest = await plugin(decides, {
    allow: ALLOW,
    clusters: ["auth", "canary"],
    fetch: ({ url }) => ({ status: url.endsWith(".9") ? 403 : 200, delay: 20 }),
  });
  const { denied, cluster, suspended } = await guest.connectionAsync();
  assert.deepEqual([denied, cluster, suspended], [false, "canary", 20]);
  const other = await guest.connectionAsync({ client: "192.0.2.9" });
  assert.deepEqual([other.denied, other.cluster], [true, null]);
  assert.throws(() => guest.connection(), /use connectionAsync/);
});

test("the test responds to the plugin's subrequests", async () => {
  const requests: unknown[] = [];
  const guest = await plugin(file, {
    allow: ALLOW,
    fetch: ({ method, url, headers, body, bytes, timeout }) => {
      requests.push({ method, url, headers, body, size: bytes.length, timeout });
      return { status: 203, headers: { "X-Role": "admin" }, body: "hello" };
    },
  });
  const { headers } = await guest.requestAsync({ url: "/ask" });
  assert.equal(headers["x-role"], "203 admin hello");
  assert.deepEqual(requests, [
    {
      method: "POST",
      url: "cluster:auth/check?path=/ask",
      headers: { host: "auth", "x-user": "ann" },
      body: "who?",
      size: 4,
      timeout: 700,
    },
  ]);
});

test("responses can be late, too large, absent, or made in real time", async () => {
  const responses: Record<string, () => ReturnType<NonNullable<Parameters<typeof plugin>[1]>["fetch"] & {}>> = {
    "/ask/late": () => ({ delay: 701 }),
    "/ask/just": () => ({ delay: 699, body: "just" }),
    "/ask/large": () => ({ body: Buffer.alloc(101) }),
    "/ask/none": () => null,
    "/ask/slow": () => new Promise((resolve) => setImmediate(() => setImmediate(() => resolve({ body: "slow" })))),
  };
  const guest = await plugin(file, { allow: ALLOW, fetch: ({ url }) => responses[url.split("=")[1]!]!() });
  const ask = (path: string) => guest.requestAsync({ url: path });
  const late = await ask("/ask/late");
  assert.deepEqual([late.response?.status, late.suspended], [504, 700]);
  const just = await ask("/ask/just");
  assert.deepEqual([just.headers["x-role"], just.suspended], ["200  just", 699]);
  assert.equal((await ask("/ask/large")).response?.status, 502);
  assert.equal((await ask("/ask/none")).response?.status, 502);
  const slow = await ask("/ask/slow");
  assert.deepEqual([slow.headers["x-role"], slow.suspended], ["200  slow", 0]);
});

test("a subrequest without a response fails the test; one that is not allowed fails the plugin", async () => {
  const mute = await plugin(file, { allow: ALLOW });
  await assert.rejects(mute.requestAsync({ url: "/ask" }), {
    name: "TypeError",
    message: /sends POST cluster:auth\/check\?path=\/ask, and plugin\(\) has no option fetch/,
  });
  const broken = await plugin(file, {
    allow: ALLOW,
    fetch: () => {
      throw new Error("a slip in the test");
    },
  });
  await assert.rejects(broken.requestAsync({ url: "/ask" }), /a slip in the test/);
  await assert.rejects(broken.requestAsync({ url: "/other" }), { name: "PluginFailure", message: /elsewhere/ });
  assert.equal((await broken.requestAsync()).outcome, "continue");
});

test("response and body hooks suspend too; a hook that can suspend has an asynchronous call, one at a time", async () => {
  const guest = await plugin(file, { allow: ALLOW });
  const request = await guest.requestAsync();
  const response = await guest.responseAsync({ status: 201 }, request);
  assert.deepEqual([response.headers["x-after"], response.suspended], ["1", 5]);
  assert.equal((await guest.requestBodyAsync("abc", { request })).body, "ABC");
  assert.equal((await guest.responseBodyAsync("abc", { request })).body, "abc!");
  assert.throws(() => guest.request(), /may suspend in request_head: use requestAsync and await it/);
  assert.throws(() => guest.responseBody("a"), /use responseBodyAsync/);
  const first = guest.requestAsync({ url: "/sleep" }).catch(() => null);
  await assert.rejects(guest.requestAsync(), /another call of this plugin is in progress/);
  assert.throws(() => guest.log(), /another call of this plugin is in progress/);
  await first;
  assert.equal(guest.log().suspended, 0);
});

test("trailers are read and changed", async () => {
  const guest = await plugin(file, { allow: ALLOW });
  const request = await guest.requestAsync();
  const { headers, edits } = guest.requestTrailers({ "X-Sum": "7" }, request);
  assert.equal(headers["x-sum"], "checked 7");
  assert.deepEqual(edits, [{ of: "request", what: "trailer x-sum", before: ["7"], after: ["checked 7"] }]);
  const { fields } = guest.responseTrailers({ "x-inner": "a", "x-outer": "b" }, { request });
  assert.deepEqual(fields, [["x-outer", "b"]]);
  assert.throws(() => guest.requestTrailers({ "content-length": "1" }), /invalid trailers/);
});

test("a tick can suspend", async () => {
  const guest = await plugin(file, { allow: ALLOW, now: () => 1000 });
  for (const at of ["1250.0", "1500.0"]) {
    assert.equal((await guest.tickAsync()).suspended, 250);
    assert.equal(guest.kv("seen").get("ticked"), at);
  }
  assert.throws(() => guest.tick(), /use tickAsync/);
});

test("metrics and entries can be read, and entries written", async () => {
  const guest = await plugin(file, { allow: ALLOW, fetch: () => ({ body: "hello" }) });
  const seen = guest.kv("seen");
  seen.set("asked", "40");
  for (let i = 0; i < 2; i++) await guest.requestAsync({ url: "/ask" });
  assert.equal(guest.metric("asked_total"), 2);
  assert.equal(guest.metric("asked_total", { by: "nobody" }), 0);
  assert.deepEqual([guest.metric("response_bytes_count"), guest.metric("response_bytes_sum")], [2, 10]);
  assert.equal(guest.metric("path_total", { path: "/ask" }), 2);
  assert.equal(guest.metric("path_total", { path: "/unseen" }), 0);
  assert.throws(() => guest.metric("asked_total", { by: "me" }), /no metric asked_total with \{"by":"me"\}/);
  assert.equal(seen.get("asked"), "42");
  seen.set("b", Buffer.from("x"), 1000);
  assert.deepEqual(seen.keys(), ["asked", "b"]);
  assert.deepEqual(guest.kv("other").keys(), []);
  seen.delete("asked");
  assert.equal(seen.get("asked"), null);
  assert.throws(() => guest.kv("none"), /may not use the namespace none/);
});
