/** Measures the cost of each hook of a plugin, called by the plugin host with a typical request of a browser. */
import { HOOK, HOOKS, type Hook, SUSPENDABLE_HOOKS } from "../abi/abi.ts";
import { scanRequest, scanResponse } from "../http1/scan.ts";
import { PLUGIN_CELLS } from "../observe/series.ts";
import type { Instance } from "../plugin/host/instance.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import { Exchange } from "../proxy/exchange.ts";
import { requestBody, responseBody } from "../proxy/filtered-body.ts";
import { TestEndpoints } from "../testing/endpoints.ts";
import { loadPlugin } from "../testing/load.ts";

export type Cost = {
  readonly hook: string;
  readonly nanoseconds: number;
  readonly fuel: number;
  /** Growth of the guest's memory in bytes, over all calls. */
  readonly grown: number;
};

export type CostOptions = {
  readonly memory: number;
  readonly config: unknown;
  readonly clusters: readonly string[];
  readonly namespaces: readonly string[];
  /** Request head; default: that of a browser. */
  readonly request?: string | undefined;
};

/** Calls per exchange; then it is reset, since edits accumulate. */
const BATCH = 50;
const BATCHES = 3000;
/** A hook whose calls take long, because they fail for example, is measured for that many ms, and by these batches at least. */
const LONGEST = 500;
const LEAST_BATCHES = 4;

const REQUEST = Buffer.from(
  [
    "GET /assets/app.js?v=17 HTTP/1.1",
    "Host: www.example.com",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Connection: keep-alive",
    "Cookie: session=4c7d2f0a9b",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "\r\n",
  ].join("\r\n"),
);
const RESPONSE = Buffer.from(
  "HTTP/1.1 200 OK\r\nServer: example\r\nContent-Type: text/html\r\nContent-Length: 5\r\nCache-Control: no-store\r\n\r\n",
);

/** Hooks that are not called for requests. */
const UNMEASURED: readonly Hook[] = ["configure", "tick", "save", "restore"];
const ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
const BODY = Buffer.alloc(1024, '{"a":1}\n');

/** @throws PluginError if the plugin does not start with that configuration. */
export function measureCosts(
  module: ModulePlan,
  { memory, config, clusters, namespaces, request }: CostOptions,
): Cost[] {
  const head = request === undefined ? REQUEST : Buffer.from(request, "latin1");
  const cells = new Float64Array(PLUGIN_CELLS.size);
  let problem = "";
  const { host, set } = loadPlugin(module, {
    cells,
    report: (level, message) => void (level === "error" && (problem = message)),
    configs: [config],
    clusters,
    namespaces,
    settings: { memory },
  });
  try {
    const instance = set.instances[0]!;
    return HOOKS.flatMap((hook, number) => {
      if (UNMEASURED.includes(hook) || ((instance.hooks >>> number) & 1) === 0) return [];
      // The duration of a suspended call is not its cost.
      if (module.info.suspends && (SUSPENDABLE_HOOKS as readonly string[]).includes(hook)) return [];
      const before = host.memory();
      const nanoseconds = measureHook(instance, number, head);
      if (problem !== "") throw new Error(problem);
      const calls = cells[PLUGIN_CELLS.calls + number]!;
      return [{ hook, nanoseconds, fuel: cells[PLUGIN_CELLS.fuel + number]! / calls, grown: host.memory() - before }];
    });
  } finally {
    set.dispose();
  }
}

/** Nanoseconds per call: the median of the second half of the batches, when the code is optimised. */
function measureHook(instance: Instance, hook: number, head: Buffer): number {
  const exchange = new Exchange();
  exchange.id = 1;
  exchange.clientAddress = "192.0.2.1";
  const view = new TestEndpoints().set(ENDPOINTS);
  const times: number[] = [];
  const end = performance.now() + LONGEST;
  for (let batch = 0; batch < BATCHES; batch++) {
    if (batch >= LEAST_BATCHES && performance.now() > end) break;
    const past = scanRequest(head, 0, head.length, exchange.request, { head: 65536, target: 16384, headers: 500 });
    if (past !== head.length) throw new Error(`invalid request: ${exchange.request.problem}`);
    exchange.keepOriginal();
    scanResponse(RESPONSE, 0, RESPONSE.length, exchange.response, false);
    exchange.endpoint = view.list[0]!;
    exchange.localStatus = 0;
    for (const { chunk } of [requestBody(exchange), responseBody(exchange)]) chunk.set(BODY, 0, BODY.length, true);
    const began = performance.now();
    for (let i = 0; i < BATCH; i++) {
      if (hook === HOOK.pick) instance.pick(exchange, view);
      else if (hook === HOOK.update) instance.update(view);
      else instance.call(hook, exchange);
    }
    times.push(((performance.now() - began) * 1e6) / BATCH);
  }
  const later = times.slice(times.length >> 1).sort((a, b) => a - b);
  return later[later.length >> 1]!;
}
