/** What is measured of hooks: one call of each, and what is done before it. */

import { HOOK } from "../../src/abi/abi.ts";
import { EndpointColumns } from "../../src/cluster/columns.ts";
import { Endpoint } from "../../src/cluster/endpoint.ts";
import { EndpointView } from "../../src/cluster/endpoint-view.ts";
import { Head } from "../../src/http/head.ts";
import { scanRequest, scanResponse } from "../../src/http1/scan.ts";
import { OUTCOME } from "../../src/plugin/host/outcome.ts";
import type { PluginInstance } from "../../src/plugin/host/plugin-instance.ts";
import { Exchange } from "../../src/proxy/exchange.ts";
import { requestBody, responseBody } from "../../src/proxy/filtered-body.ts";
import { Mask } from "../../src/trace/mask.ts";
import { Trace } from "../../src/trace/trace.ts";
import { makeTracer } from "../../src/trace/tracer.ts";
import { startHookHost } from "./hook-host.ts";

/** Of a request or response body. */
export const CHUNK_BYTES = 64 * 1024;
const LIMITS = { head: 32 * 1024, target: 16 * 1024, headers: 100 };

export const REQUEST = Buffer.from(
  `GET /cart/items?page=2 HTTP/1.1
host: shop.example.com
user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
accept-language: en-US,en;q=0.5
accept-encoding: gzip, deflate, br
cookie: session=8f14e45fceea167a5a36dedd4bea2543
x-beta: 1

`.replaceAll("\n", "\r\n"),
);
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK
server: nginx
date: Fri, 20 Nov 2026 22:00:00 GMT
content-type: text/plain
content-length: 30
connection: keep-alive
x-powered-by: upstream

`.replaceAll("\n", "\r\n"),
);

export type Bench = {
  readonly name: string;
  /** The base and the call that is measured. */
  readonly call: () => void;
  /** What is done before each call, and not counted. */
  readonly base: () => void;
  /** Sets the callback for the end of a suspended call. */
  readonly onEnd?: (resumed: () => void) => void;
  /** It takes longer than about a microsecond: fewer calls are measured. */
  readonly slow?: true;
};

type HeadHook = "request_head" | "response_head" | "route";
type BodyHook = "request_body" | "response_body";

const CALLS = ["kv get", "kv set", "kv increment", "metric", "digest", "hmac", "shared", "header"] as const;
const CALL_NAMES: Readonly<Record<(typeof CALLS)[number], string>> = {
  "kv get": "key-value get, 32 bytes",
  "kv set": "key-value set, 32 bytes",
  "kv increment": "key-value increment",
  metric: "add to a metric",
  digest: "SHA-256 of 64 bytes",
  hmac: "HMAC with SHA-256 of 64 bytes",
  shared: "read a value that a plugin has shared",
  header: "read one header",
};

/** The exchange that all hooks are called with, and what scans its heads anew. */
type Scene = { readonly x: Exchange; readonly request: () => void; readonly response: () => void };

const plugin = (name: string): string => `test/bench/plugins/${name}.ts`;

export async function makeBenches(): Promise<Bench[]> {
  const calls = CALLS.map((does) => [does, { file: plugin("calls"), config: { does } }] as const);
  const host = await startHookHost({
    noop: { file: plugin("every-hook") },
    choose: { file: plugin("choose") },
    edit: { file: plugin("edit") },
    ...Object.fromEntries(calls),
    hidden: { file: plugin("calls"), config: { does: "header" }, hidden: ["authorization", "cookie"] },
    read: { file: plugin("bodies"), config: { does: "read" } },
    replace: { file: plugin("bodies"), config: { does: "replace" } },
    stays: { file: plugin("waits"), config: { asks: false } },
    asks: { file: plugin("waits"), config: { asks: true } },
    "round-robin": { file: "plugins/round-robin.ts" },
  });
  const find = (name: string): PluginInstance => host.instances.get(name)!;
  const scene = setScene(find("kv get"));
  scene.x.caller = host;
  const head = (name: string, hook: HeadHook, what: string): Bench => headBench(scene, find(name), hook, what);
  const waiting = (name: string, what: string): Bench => ({
    ...waitingBench(scene, find(name), what),
    onEnd: (resumed) => {
      host.onResume = (outcome) => {
        expectOutcome(outcome, OUTCOME.continue, name);
        resumed();
      };
    },
  });
  return [
    head("noop", "request_head", "nothing"),
    head("noop", "response_head", "nothing"),
    ...otherHooks(scene, find("noop")),
    head("choose", "route", "read one header, choose a cluster"),
    head("edit", "request_head", "set one header"),
    head("edit", "response_head", "remove one header"),
    tracedBench(scene, find("edit")),
    untracedBench(scene),
    ...CALLS.map((does) => head(does, "request_head", CALL_NAMES[does])),
    head("hidden", "request_head", "read one header, two names hidden"),
    waiting("stays", "asynchronous, not suspended"),
    waiting("asks", "suspended once, result available"),
    ...(["request_body", "response_body"] as const).flatMap((hook) => [
      bodyBench(scene, find("noop"), hook, "untouched"),
      bodyBench(scene, find("read"), hook, "read"),
      bodyBench(scene, find("replace"), hook, "replaced"),
    ]),
    ...[3, 100, 1000].map((count) => pickBench(find("round-robin"), scene.x, count)),
    ...[3, 100, 1000].map((count) => updateBench(find("round-robin"), count)),
  ];
}

/** With a body chunk in each direction, trailers, and what the plugin `calls` reads. */
function setScene(calls: PluginInstance): Scene {
  const x = new Exchange();
  x.id = 1;
  const request = (): void => void scanRequest(REQUEST, 0, REQUEST.length, x.request, LIMITS);
  const response = (): void => void scanResponse(RESPONSE, 0, RESPONSE.length, x.response, false);
  request();
  response();
  for (const part of ["requestTrailers", "responseTrailers"] as const) {
    x[part] = new Head();
    x[part].add(Buffer.from("x-checksum"), Buffer.from("8f14e45fceea167a5a36dedd4bea2543"), 0);
  }
  expectOutcome(calls.call(HOOK.response_head, x), OUTCOME.continue, calls.plugin);
  return { x, request, response };
}

function headBench({ x, request, response }: Scene, instance: PluginInstance, hook: HeadHook, what: string): Bench {
  const base = hook === "response_head" ? response : request;
  const call = (): void => {
    base();
    expectOutcome(instance.call(HOOK[hook], x), OUTCOME.continue, instance.plugin);
  };
  return { name: `${hook}: ${what}`, call, base };
}

/** As a request that carries the debug token is. */
function tracedBench({ x, request }: Scene, instance: PluginInstance): Bench {
  const mask = new Mask([]);
  const call = (): void => {
    request();
    x.trace = new Trace(x, { id: "bench", why: "token", mask });
    expectOutcome(instance.call(HOOK.request_head, x), OUTCOME.continue, instance.plugin);
    x.trace = null;
  };
  return { name: "request_head: set one header, traced", call, base: request, slow: true };
}

/** The check of every request where a debug token is configured. */
function untracedBench({ x, request }: Scene): Bench {
  const tracer = makeTracer(
    {
      header: "x-sluice-debug",
      token: "8f14e45fceea167a5a36dedd4bea2543",
      sample: 0,
      mask: [],
    },
    () => {},
  )!;
  const call = (): void => {
    request();
    tracer.consider(x);
  };
  return { name: "no hook: a debug token looked for, and not there", call, base: request };
}

function waitingBench({ x, request }: Scene, instance: PluginInstance, what: string): Bench {
  const call = (): void => {
    request();
    expectOutcome(instance.call(HOOK.request_head, x), OUTCOME.suspended, instance.plugin);
  };
  return { name: `request_head: ${what}`, call, base: request, slow: true };
}

function bodyBench({ x }: Scene, instance: PluginInstance, hook: BodyHook, what: string): Bench {
  const bytes = Buffer.alloc(CHUNK_BYTES, "0123456789abcdef");
  const { chunk } = hook === "request_body" ? requestBody(x) : responseBody(x);
  const base = (): void => chunk.set(bytes, 0, CHUNK_BYTES, false);
  const call = (): void => {
    base();
    expectOutcome(instance.call(HOOK[hook], x), OUTCOME.continue, instance.plugin);
    chunk.accept();
  };
  return { name: `${hook}: 64 KiB ${what}`, call, base, slow: true };
}

function otherHooks({ x }: Scene, instance: PluginInstance): Bench[] {
  const hooks = ["connection", "health_check", "request_trailers", "response_trailers", "outcome", "log"] as const;
  const saved = instance.save()!;
  const base = (): void => {};
  return [
    ...hooks.map((hook) => {
      const call = (): void => expectOutcome(instance.call(HOOK[hook], x), OUTCOME.continue, instance.plugin);
      return { name: `${hook}: nothing`, call, base };
    }),
    { name: "tick: nothing", call: () => instance.tick(), base },
    { name: "save: four bytes", call: () => void instance.save(), base },
    { name: "restore: four bytes", call: () => instance.restore(saved), base },
  ];
}

function makeView(count: number): EndpointView {
  const view = new EndpointView(EndpointColumns.allocate(1));
  for (let slot = 0; slot < count; slot++) {
    const place = { host: "127.0.0.1", port: slot + 1, path: "", zone: "" };
    view.push(new Endpoint({ ...place, address: `127.0.0.1:${slot + 1}`, weight: 1, slot, cells: 0 }));
  }
  return view;
}

function pickBench(strategy: PluginInstance, x: Exchange, count: number): Bench {
  const view = makeView(count);
  let resumed = false;
  const call = (): void => {
    // An instance gets its endpoints when its bench starts: the last update counts.
    if (!resumed) resumed = strategy.update(view);
    if (strategy.pick(x, view) < 0) throw new Error(`round-robin picked none of ${count}`);
  };
  return { name: `pick: round robin over ${count}`, call, base: () => {} };
}

function updateBench(strategy: PluginInstance, count: number): Bench {
  const view = makeView(count);
  const call = (): void => {
    if (!strategy.update(view)) throw new Error(`round-robin failed with ${count} endpoints`);
  };
  return { name: `update: round robin over ${count}`, call, base: () => {}, slow: true };
}

function expectOutcome(outcome: number, wanted: number, plugin: string): void {
  if (outcome !== wanted) throw new Error(`${plugin} came to ${outcome}, not ${wanted}`);
}
