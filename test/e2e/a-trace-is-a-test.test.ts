/** a-trace-is-a-test: plugin tests replay a trace of the running proxy, one plugin at a time. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before } from "node:test";
import { plugin } from "../../src/testing/index.ts";
import type { TraceRecord } from "../../src/trace/record.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { AROUND, SOURCES } from "../fixtures/chain-of-three.ts";
import { startUpstream } from "./peers.ts";
import { type LiveTest, type Program, runSluice, startSluice, testInUsualMode, until } from "./program.ts";

const TOKEN = "a-token-that-nobody-guesses";

type Name = keyof typeof SOURCES;
const wasm: Record<string, Uint8Array> = {};
before(async () => {
  for (const [name, source] of Object.entries(SOURCES)) wasm[`${name}.wasm`] = await compileSource(source);
});

async function start(t: LiveTest): Promise<Program> {
  const headers = { "content-type": "text/plain", server: "hidden", "set-cookie": "id=1" };
  const listen = () => startUpstream(t, (_request, response) => void response.writeHead(203, headers).end("body"));
  const [one, two] = [await listen(), await listen()];
  const config = (ports: { web: number }) => `trace: { token: ${TOKEN} }
plugins:
  guard: { wasm: ./guard.wasm, allow: { share: [user] } }
  tenant: { wasm: ./tenant.wasm }
  last: { wasm: ./last.wasm }
  least: { wasm: ./least.wasm }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [guard, tenant]
    routes:
      - { name: post, match: { method: POST }, chain: [last], cluster: app }
      - { name: rest, chain: [last], cluster: app }
clusters:
  app: { strategy: least, endpoints: ["127.0.0.1:${one.port}", { address: "127.0.0.1:${two.port}", weight: 3 }] }
  canary: { strategy: least, endpoints: ["127.0.0.1:${two.port}", { address: "127.0.0.1:${one.port}", weight: 9 }] }
`;
  return startSluice(t, config, { files: wasm });
}

type Sent = { method?: string; body?: string; headers?: Record<string, string> };
const KNOWN = { authorization: "Bearer outer", "x-list": "two" };

async function traceOf(sluice: Program, path: string, init: Sent): Promise<TraceRecord> {
  const headers = { ...init.headers, "x-sluice-debug": TOKEN };
  const response = await fetch(`${sluice.url}${path}`, { ...init, headers });
  await response.arrayBuffer();
  const id = response.headers.get("x-sluice-trace");
  await until(async () => (await sluice.ask(`/api/v1/traces/${id}`)).status === 200, "the trace is there");
  return JSON.parse((await sluice.ask(`/api/v1/traces/${id}`)).text);
}

/** As `sluice explain … --json > FILE` makes it. */
async function explain(sluice: Program, ...args: string[]): Promise<TraceRecord> {
  const admin = `127.0.0.1:${sluice.ports.admin}`;
  const flags = ["-H", "authorization: Bearer outer", "-H", "x-list: two", "--json", "--admin", admin];
  const { code, stdout, stderr } = await runSluice("explain", ...args, ...flags);
  assert.deepEqual([code, stderr], [0, ""]);
  return JSON.parse(stdout);
}

const load = (sluice: Program, name: Name, options = {}) =>
  plugin(join(sluice.directory, `${name}.wasm`), { ...AROUND, ...options });

testInUsualMode("a replay of each plugin in a chain matches the trace of the running proxy", async (t) => {
  const sluice = await start(t);
  const traces = [
    await traceOf(sluice, "/a?b=1&token=s3cret", { headers: { ...KNOWN, "x-beta": "1" } }),
    await traceOf(sluice, "/a", { method: "POST", body: "text", headers: KNOWN }),
    await traceOf(sluice, "/a?fail", { headers: KNOWN }),
    await traceOf(sluice, "/a", {}),
    await explain(sluice, "GET", "http://acme.example.com/a?b=1&token=s3cret", "-H", "x-beta: 1"),
    await explain(sluice, "POST", "http://acme.example.com/a", "-d", "some text"),
    await explain(sluice, "GET", "/a?fail"),
  ];
  for (const [index, trace] of traces.entries()) {
    const text = JSON.stringify(trace);
    // None of them may consist of hexadecimal digits: a trace has an id of sixteen random ones.
    for (const secret of ["Bearer outer", "s3cret", "id=1"]) assert.ok(!text.includes(secret), `${index}: ${secret}`);
    const called = new Set(trace.steps.flatMap((step) => (step.step === "hook" ? [step.plugin] : [])));
    for (const name of called) {
      const guest = await load(sluice, name as Name);
      // The guard depends on its token's length, which a trace does not show.
      const replayed = await guest.replay(JSON.parse(text), { values: { authorization: "Bearer outer" } });
      assert.deepEqual(replayed.differences, [], `${index}, ${name}`);
      assert.equal(replayed.plugin, name);
      const own = trace.steps.filter((step) => step.step === "hook" && step.plugin === name);
      assert.equal(replayed.calls.length, own.length);
      const skips = name === "tenant" && index === 1;
      assert.deepEqual(
        replayed.skipped.map((line) => line.replace(/ \(step \d+\)/, "")),
        skips ? ["request_body: the trace has only the size of the chunk: a dry run records its bytes"] : [],
        `${index}, ${name}`,
      );
      for (const { now, trace: recorded, skipped } of replayed.calls)
        if (skipped === null) assert.deepEqual(now!.calls, recorded.calls, `${index}, ${name}`);
      if (name === "guard" && index !== 3) assert.ok(replayed.masked > 0);
    }
  }
  const posted = await (await load(sluice, "tenant")).replay(traces[5]!);
  const body = posted.calls.find(({ hook }) => hook === "request_body")!;
  assert.deepEqual([body.now!.body?.seen, body.now!.body?.passed], ["some text", "some text#ann@acme"]);
  const failed = await (await load(sluice, "last")).replay(traces[2]!);
  assert.deepEqual([failed.calls[0]!.now!.result, failed.calls[0]!.now!.failure!.reason], ["failed", "trap"]);
});

testInUsualMode("a replay of a changed plugin reports its differences from the trace", async (t) => {
  const sluice = await start(t);
  const trace = await explain(sluice, "GET", "http://acme.example.com/a?b=1", "-H", "x-beta: 1");
  const changed = async (name: Name, from: string, to: string): Promise<string[]> => {
    assert.ok(SOURCES[name].includes(from), from);
    const made = await compileSource(SOURCES[name].replace(from, to));
    writeFileSync(join(sluice.directory, "changed.wasm"), made);
    const guest = await plugin(join(sluice.directory, "changed.wasm"), AROUND);
    return [...(await guest.replay(trace, { plugin: name, values: { authorization: "Bearer outer" } })).differences];
  };
  assert.deepEqual(await changed("tenant", "@", "+"), [
    'request_head: header x-tenant: the trace has "ann@acme", now "ann+acme"',
  ]);
  assert.deepEqual(await changed("tenant", "req.choose(canary)", "return"), [
    'request_head: path: the trace has "/v1/a", now it stays as it is',
    'request_head: header x-list: the trace has "two", "three", now it stays as it is',
    'request_head: cluster: the trace has "canary", now none',
    'response_head: failure: the trace has none, now "abort"',
  ]);
  assert.deepEqual(await changed("guard", '"ann"', '"eve"'), [
    'request_head: shared user: the trace has "ann", now "eve"',
  ]);
  assert.deepEqual(await changed("guard", 'req.headers.remove("authorization")', 'req.headers.set("x-new", "1")'), [
    "request_head: header authorization: the trace has none, now it stays as it is",
    'request_head: header x-new: the trace leaves it as it is, now "1"',
  ]);
  assert.deepEqual(await changed("guard", "token == null", "token == null || token.length > 5"), [
    'request_head: result: the trace has "continue", now "respond"',
    "request_head: header authorization: the trace has none, now it stays as it is",
    'request_head: header x-session: the trace has "***", now it stays as it is',
    'request_head: response status: the trace leaves it as it is, now "401"',
    'request_head: response header www-authenticate: the trace leaves it as it is, now "Bearer"',
    'request_head: shared user: the trace has "ann", now none',
  ]);
  assert.deepEqual(await changed("last", '"none"', '"changed"'), [
    `response_head: response header x-last: the trace has "none", now "changed"`,
  ]);
  assert.deepEqual(await changed("last", "export function onResponse", "function later"), [
    "response_head: the trace has a call, now the plugin has no such hook",
  ]);
  const [picked, ...rest] = await changed("least", "load < least", "best < 0 || load > least");
  assert.match(picked!, /^pick: the trace has "127\.0\.0\.1:\d+", now "127\.0\.0\.1:\d+"$/);
  assert.deepEqual(rest, []);
});
