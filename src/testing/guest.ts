/** A plugin under test, run by the plugin host of the proxy; each method calls one hook. */
import type {
  BodyOptions,
  BodyResult,
  ConnectionInit,
  ConnectionResult,
  Cost,
  EndpointInit,
  Guest,
  HeadersInit,
  HealthCheckInit,
  HealthCheckResult,
  PickResult,
  PluginOptions,
  Replay,
  ReplayOptions,
  RequestInit,
  RequestResult,
  ResponseInit,
  ResponseResult,
  SaveResult,
  TestNamespace,
  TrailersResult,
} from "../../sdk/test.js";
import { HOOKS, type Hook, PROBLEM_KEY } from "../abi/abi.ts";
import { PART } from "../http/head.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import { BareContext } from "../plugin/host/bare-context.ts";
import type { HookContext } from "../plugin/host/hook-context.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import type { Exchange } from "../proxy/exchange.ts";
import { requestBody, responseBody } from "../proxy/filtered-body.ts";
import { captureState, compare } from "../trace/snapshot-diff.ts";
import { findFile } from "./caller.ts";
import { TestEndpoints } from "./endpoints.ts";
import { PLUGIN_NAME } from "./load.ts";
import { makeCheck, makeExchange, makeTrailers, readFields, readResponse, setResponse } from "./messages.ts";
import { readMetric } from "./metrics.ts";
import { replay } from "./replay.ts";
import { type Called, Runner } from "./runner.ts";
import { StoreView } from "./store.ts";
import { loadTrace } from "./trace-file.ts";

/** Preparation and evaluation of a hook call; the same for synchronous and asynchronous calls. */
type Prepared<Result> = {
  readonly hook: Hook;
  readonly context: HookContext;
  readonly read: (called: Called) => Result;
};

export class TestGuest implements Guest {
  readonly hooks: readonly string[];
  readonly #options: PluginOptions;
  readonly #path: string;
  readonly #runner: Runner;
  readonly #endpoints = new TestEndpoints();
  readonly #exchanges = new WeakMap<RequestResult, Exchange>();

  /** @throws PluginError if the plugin does not start. */
  constructor(module: ModulePlan, options: PluginOptions, path: string) {
    this.#options = options;
    this.#path = path;
    this.#runner = new Runner(module, options);
    this.hooks = HOOKS.filter((_, number) => ((module.info.hooks >>> number) & 1) === 1);
  }

  request(request?: RequestInit): RequestResult {
    return this.#run(this.#prepareRequest("request_head", request));
  }

  requestAsync(request?: RequestInit): Promise<RequestResult> {
    return this.#runAsync(this.#prepareRequest("request_head", request));
  }

  route(request?: RequestInit): RequestResult {
    this.#need("route");
    return this.#run(this.#prepareRequest("route", request));
  }

  response(response?: ResponseInit, request?: RequestInit | RequestResult): ResponseResult {
    return this.#run(this.#prepareResponse(response, request));
  }

  responseAsync(response?: ResponseInit, request?: RequestInit | RequestResult): Promise<ResponseResult> {
    return this.#runAsync(this.#prepareResponse(response, request));
  }

  requestBody(chunk: string | Uint8Array, options: BodyOptions = {}): BodyResult {
    return this.#run(this.#prepareBody("request_body", chunk, options));
  }

  requestBodyAsync(chunk: string | Uint8Array, options: BodyOptions = {}): Promise<BodyResult> {
    return this.#runAsync(this.#prepareBody("request_body", chunk, options));
  }

  responseBody(chunk: string | Uint8Array, options: BodyOptions = {}): BodyResult {
    return this.#run(this.#prepareBody("response_body", chunk, options));
  }

  responseBodyAsync(chunk: string | Uint8Array, options: BodyOptions = {}): Promise<BodyResult> {
    return this.#runAsync(this.#prepareBody("response_body", chunk, options));
  }

  requestTrailers(trailers: HeadersInit, request?: RequestInit | RequestResult): TrailersResult {
    this.#need("request_trailers");
    const exchange = this.#exchangeOf(request);
    exchange.requestTrailers = makeTrailers(trailers);
    return this.#callTrailers("request_trailers", exchange);
  }

  responseTrailers(
    trailers: HeadersInit,
    { request, response }: { request?: RequestInit | RequestResult; response?: ResponseInit } = {},
  ): TrailersResult {
    this.#need("response_trailers");
    const exchange = this.#exchangeOf(request);
    if (exchange.response.status === 0 || response !== undefined) setResponse(exchange, response);
    exchange.responseTrailers = makeTrailers(trailers);
    return this.#callTrailers("response_trailers", exchange);
  }

  log(response?: ResponseInit, request?: RequestInit | RequestResult): Cost {
    this.#need("log");
    const exchange = this.#exchangeOf(request);
    if (exchange.response.status === 0 || response !== undefined) setResponse(exchange, response);
    return this.#runner.call("log", exchange).cost;
  }

  update(endpoints: readonly (string | EndpointInit)[]): Cost {
    const view = this.#endpoints.set(endpoints);
    return this.#runner.measure("update", (instance) => instance.update(view)).cost;
  }

  pick(options: { request?: RequestInit | RequestResult; without?: readonly string[] } = {}): PickResult {
    this.#need("pick");
    const view = this.#endpoints.view(options.without);
    const exchange = this.#exchangeOf(options.request);
    const { result: index, cost } = this.#runner.measure("pick", (instance) => instance.pick(exchange, view));
    return { endpoint: index < 0 ? null : view.list[index]!.address, index, ...cost };
  }

  outcome(
    attempt: { endpoint: string; latency?: number; status?: number; failed?: boolean },
    request?: RequestInit | RequestResult,
  ): Cost {
    this.#need("outcome");
    const exchange = this.#exchangeOf(request);
    exchange.endpoint = this.#endpoints.find(attempt.endpoint);
    exchange.attempt.latency = attempt.latency ?? 1000;
    exchange.attempt.failed = attempt.failed ?? false;
    exchange.attempt.status = attempt.status ?? (exchange.attempt.failed ? 0 : 200);
    return this.#runner.call("outcome", exchange).cost;
  }

  connection(connection?: ConnectionInit): ConnectionResult {
    return this.#run(this.#prepareConnection(connection));
  }

  async connectionAsync(connection?: ConnectionInit): Promise<ConnectionResult> {
    return this.#runAsync(this.#prepareConnection(connection));
  }

  healthCheck(check?: HealthCheckInit): HealthCheckResult {
    return this.#run(this.#prepareHealthCheck(check));
  }

  healthCheckAsync(check?: HealthCheckInit): Promise<HealthCheckResult> {
    return this.#runAsync(this.#prepareHealthCheck(check));
  }

  tick(): Cost {
    this.#need("tick");
    return this.#runner.measure("tick", (instance) => instance.tick()).cost;
  }

  async tickAsync(): Promise<Cost> {
    this.#need("tick");
    return this.#runner.tickWaiting();
  }

  save(): SaveResult {
    this.#need("save");
    const { result: state, cost } = this.#runner.measure("save", (instance) => instance.save());
    return { state: Uint8Array.from(state?.content ?? []), ...cost };
  }

  restore(state: Uint8Array): Cost {
    this.#need("restore");
    const saved = new PendingBuffer();
    saved.append(Buffer.from(state), 0, state.length);
    return this.#runner.measure("restore", (instance) => instance.restore(saved)).cost;
  }

  async replay(trace: string | URL | object, options?: ReplayOptions): Promise<Replay> {
    const isFile = typeof trace === "string" || trace instanceof URL;
    const given = isFile ? loadTrace(findFile(trace)) : trace;
    const parts = { runner: this.#runner, endpoints: this.#endpoints, options: this.#options, hooks: this.hooks };
    return replay({ ...parts, path: this.#path }, given, options);
  }

  metric(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return readMetric(this.#runner.metrics ?? [], this.#runner.cells, { name, labels });
  }

  kv(namespace: string): TestNamespace {
    const { allow } = this.#options;
    const number = allow?.kv?.indexOf(namespace) ?? -1;
    if (number < 0) throw new TypeError(`the plugin may not use the namespace ${namespace}: name it in allow.kv`);
    return new StoreView(this.#runner.store, number, this.#runner.now);
  }

  #prepareConnection({ client = "192.0.2.1", listener = "test" }: ConnectionInit = {}): Prepared<ConnectionResult> {
    this.#need("connection");
    const context = new BareContext();
    context.id = 1;
    context.clientAddress = client;
    context.listenerName = listener;
    const read = ({ outcome, cost }: Called): ConnectionResult => ({
      denied: outcome === "reject",
      cluster: this.#options.clusters?.[context.chosenCluster] ?? null,
      ...cost,
    });
    return { hook: "connection", context, read };
  }

  #prepareRequest(hook: Hook, init: RequestInit | undefined): Prepared<RequestResult> {
    const exchange = makeExchange(init);
    const before = captureState(exchange);
    const read = ({ outcome, cost }: Called): RequestResult => {
      requestBody(exchange).buffered = outcome === "buffer";
      const { request, chosenCluster, chosenStrategy } = exchange;
      const { clusters = [], strategies = [] } = this.#options;
      const result: RequestResult = {
        outcome,
        method: request.partText(PART.method),
        authority: request.partText(PART.authority),
        path: request.partText(PART.path),
        query: request.partText(PART.query),
        ...readFields(request),
        edits: compare(before, captureState(exchange)).filter(({ of }) => of === "request"),
        response: outcome === "respond" ? readResponse(exchange) : null,
        cluster: clusters[chosenCluster] ?? null,
        strategy: strategies[chosenStrategy] ?? null,
        ...cost,
      };
      this.#exchanges.set(result, exchange);
      return result;
    };
    return { hook, context: exchange, read };
  }

  #prepareResponse(
    response: ResponseInit | undefined,
    request: RequestInit | RequestResult | undefined,
  ): Prepared<ResponseResult> {
    const exchange = this.#exchangeOf(request);
    setResponse(exchange, response);
    const before = captureState(exchange);
    const read = ({ outcome, cost }: Called): ResponseResult => {
      responseBody(exchange).buffered = outcome === "buffer";
      const edits = compare(before, captureState(exchange)).filter(({ of }) => of === "response");
      return { outcome: outcome === "reject" ? "continue" : outcome, ...readResponse(exchange), edits, ...cost };
    };
    return { hook: "response_head", context: exchange, read };
  }

  #prepareHealthCheck(check?: HealthCheckInit): Prepared<HealthCheckResult> {
    this.#need("health_check");
    const context = makeCheck(check);
    const read = ({ outcome, cost }: Called): HealthCheckResult => {
      const healthy = outcome !== "reject";
      const said = healthy ? null : context.values?.get(`${PLUGIN_NAME}\0${PROBLEM_KEY}`)?.current;
      return { healthy, problem: said ? Buffer.from(said.bytes).toString() : "", ...cost };
    };
    return { hook: "health_check", context, read };
  }

  #prepareBody(
    hook: Hook,
    bytes: string | Uint8Array,
    { last = true, request, response }: BodyOptions,
  ): Prepared<BodyResult> {
    this.#need(hook);
    const exchange = this.#exchangeOf(request);
    if (hook === "response_body" && (exchange.response.status === 0 || response !== undefined))
      setResponse(exchange, response);
    const content = Buffer.from(bytes as string);
    const { chunk } = hook === "request_body" ? requestBody(exchange) : responseBody(exchange);
    chunk.set(content, 0, content.length, last);
    const before = captureState(exchange);
    const read = ({ outcome, cost }: Called): BodyResult => {
      chunk.accept();
      const passed = Buffer.from(chunk.bytes.subarray(chunk.start, chunk.end));
      return {
        outcome: outcome === "buffer" ? "continue" : outcome,
        body: passed.toString("utf8"),
        bytes: passed,
        edits: compare(before, captureState(exchange)),
        response: outcome === "respond" ? readResponse(exchange) : null,
        ...cost,
      };
    };
    return { hook, context: exchange, read };
  }

  #callTrailers(hook: "request_trailers" | "response_trailers", exchange: Exchange): TrailersResult {
    const before = captureState(exchange);
    const { cost } = this.#runner.call(hook, exchange);
    const left = hook === "request_trailers" ? exchange.requestTrailers : exchange.responseTrailers;
    const fields = left === null ? { headers: {}, fields: [] } : readFields(left);
    return { ...fields, edits: compare(before, captureState(exchange)), ...cost };
  }

  #run<Result>({ hook, context, read }: Prepared<Result>): Result {
    return read(this.#runner.call(hook, context));
  }

  async #runAsync<Result>({ hook, context, read }: Prepared<Result>): Promise<Result> {
    return read(await this.#runner.callWaiting(hook, context));
  }

  /** Returns the exchange of an earlier result, or creates one. */
  #exchangeOf(request: RequestInit | RequestResult = {}): Exchange {
    return this.#exchanges.get(request as RequestResult) ?? makeExchange(request as RequestInit);
  }

  #need(hook: Hook): void {
    if (!this.hooks.includes(hook))
      throw new TypeError(`the plugin has no hook ${hook}; its hooks are ${this.hooks.join(", ")}`);
  }
}
