/** A plugin under test, run by the plugin host of the proxy; each method calls one hook. */
import type * as kit from "../../sdk/test.js";
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

export class TestGuest implements kit.Guest {
  readonly hooks: readonly string[];
  readonly #options: kit.PluginOptions;
  readonly #path: string;
  readonly #runner: Runner;
  readonly #endpoints = new TestEndpoints();
  readonly #exchanges = new WeakMap<kit.RequestResult, Exchange>();

  /** @throws PluginError if the plugin does not start. */
  constructor(module: ModulePlan, options: kit.PluginOptions, path: string) {
    this.#options = options;
    this.#path = path;
    this.#runner = new Runner(module, options);
    this.hooks = HOOKS.filter((_, number) => ((module.info.hooks >>> number) & 1) === 1);
  }

  request(request?: kit.RequestInit): kit.RequestResult {
    return this.#run(this.#prepareRequest("request_head", request));
  }

  requestAsync(request?: kit.RequestInit): Promise<kit.RequestResult> {
    return this.#runAsync(this.#prepareRequest("request_head", request));
  }

  route(request?: kit.RequestInit): kit.RequestResult {
    this.#need("route");
    return this.#run(this.#prepareRequest("route", request));
  }

  response(response?: kit.ResponseInit, request?: kit.RequestInit | kit.RequestResult): kit.ResponseResult {
    return this.#run(this.#prepareResponse(response, request));
  }

  responseAsync(
    response?: kit.ResponseInit,
    request?: kit.RequestInit | kit.RequestResult,
  ): Promise<kit.ResponseResult> {
    return this.#runAsync(this.#prepareResponse(response, request));
  }

  requestBody(chunk: string | Uint8Array, options: kit.BodyOptions = {}): kit.BodyResult {
    return this.#run(this.#prepareBody("request_body", chunk, options));
  }

  requestBodyAsync(chunk: string | Uint8Array, options: kit.BodyOptions = {}): Promise<kit.BodyResult> {
    return this.#runAsync(this.#prepareBody("request_body", chunk, options));
  }

  responseBody(chunk: string | Uint8Array, options: kit.BodyOptions = {}): kit.BodyResult {
    return this.#run(this.#prepareBody("response_body", chunk, options));
  }

  responseBodyAsync(chunk: string | Uint8Array, options: kit.BodyOptions = {}): Promise<kit.BodyResult> {
    return this.#runAsync(this.#prepareBody("response_body", chunk, options));
  }

  requestTrailers(trailers: kit.HeadersInit, request?: kit.RequestInit | kit.RequestResult): kit.TrailersResult {
    this.#need("request_trailers");
    const exchange = this.#exchangeOf(request);
    exchange.requestTrailers = makeTrailers(trailers);
    return this.#callTrailers("request_trailers", exchange);
  }

  responseTrailers(
    trailers: kit.HeadersInit,
    { request, response }: { request?: kit.RequestInit | kit.RequestResult; response?: kit.ResponseInit } = {},
  ): kit.TrailersResult {
    this.#need("response_trailers");
    const exchange = this.#exchangeOf(request);
    if (exchange.response.status === 0 || response !== undefined) setResponse(exchange, response);
    exchange.responseTrailers = makeTrailers(trailers);
    return this.#callTrailers("response_trailers", exchange);
  }

  log(response?: kit.ResponseInit, request?: kit.RequestInit | kit.RequestResult): kit.Cost {
    this.#need("log");
    const exchange = this.#exchangeOf(request);
    if (exchange.response.status === 0 || response !== undefined) setResponse(exchange, response);
    return this.#runner.call("log", exchange).cost;
  }

  update(endpoints: readonly (string | kit.EndpointInit)[]): kit.Cost {
    const view = this.#endpoints.set(endpoints);
    return this.#runner.measure("update", (instance) => instance.update(view)).cost;
  }

  pick(options: { request?: kit.RequestInit | kit.RequestResult; without?: readonly string[] } = {}): kit.PickResult {
    this.#need("pick");
    const view = this.#endpoints.view(options.without);
    const exchange = this.#exchangeOf(options.request);
    const { result: index, cost } = this.#runner.measure("pick", (instance) => instance.pick(exchange, view));
    return { endpoint: index < 0 ? null : view.list[index]!.address, index, ...cost };
  }

  outcome(
    attempt: { endpoint: string; latency?: number; status?: number; failed?: boolean },
    request?: kit.RequestInit | kit.RequestResult,
  ): kit.Cost {
    this.#need("outcome");
    const exchange = this.#exchangeOf(request);
    exchange.endpoint = this.#endpoints.find(attempt.endpoint);
    exchange.attempt.latency = attempt.latency ?? 1000;
    exchange.attempt.failed = attempt.failed ?? false;
    exchange.attempt.status = attempt.status ?? (exchange.attempt.failed ? 0 : 200);
    return this.#runner.call("outcome", exchange).cost;
  }

  connection(connection?: kit.ConnectionInit): kit.ConnectionResult {
    return this.#run(this.#prepareConnection(connection));
  }

  async connectionAsync(connection?: kit.ConnectionInit): Promise<kit.ConnectionResult> {
    return this.#runAsync(this.#prepareConnection(connection));
  }

  healthCheck(check?: kit.HealthCheckInit): kit.HealthCheckResult {
    return this.#run(this.#prepareHealthCheck(check));
  }

  healthCheckAsync(check?: kit.HealthCheckInit): Promise<kit.HealthCheckResult> {
    return this.#runAsync(this.#prepareHealthCheck(check));
  }

  tick(): kit.Cost {
    this.#need("tick");
    return this.#runner.measure("tick", (instance) => instance.tick()).cost;
  }

  async tickAsync(): Promise<kit.Cost> {
    this.#need("tick");
    return this.#runner.tickWaiting();
  }

  save(): kit.SaveResult {
    this.#need("save");
    const { result: state, cost } = this.#runner.measure("save", (instance) => instance.save());
    return { state: Uint8Array.from(state?.content ?? []), ...cost };
  }

  restore(state: Uint8Array): kit.Cost {
    this.#need("restore");
    const saved = new PendingBuffer();
    saved.append(Buffer.from(state), 0, state.length);
    return this.#runner.measure("restore", (instance) => instance.restore(saved)).cost;
  }

  async replay(trace: string | URL | object, options?: kit.ReplayOptions): Promise<kit.Replay> {
    const isFile = typeof trace === "string" || trace instanceof URL;
    const given = isFile ? loadTrace(findFile(trace)) : trace;
    const parts = { runner: this.#runner, endpoints: this.#endpoints, options: this.#options, hooks: this.hooks };
    return replay({ ...parts, path: this.#path }, given, options);
  }

  metric(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return readMetric(this.#runner.metrics ?? [], this.#runner.cells, { name, labels });
  }

  kv(namespace: string): kit.TestNamespace {
    const { allow } = this.#options;
    const number = allow?.kv?.indexOf(namespace) ?? -1;
    if (number < 0) throw new TypeError(`the plugin may not use the namespace ${namespace}: name it in allow.kv`);
    return new StoreView(this.#runner.store, number, this.#runner.now);
  }

  #prepareConnection({
    client = "192.0.2.1",
    listener = "test",
  }: kit.ConnectionInit = {}): Prepared<kit.ConnectionResult> {
    this.#need("connection");
    const context = new BareContext();
    context.id = 1;
    context.clientAddress = client;
    context.listenerName = listener;
    const read = ({ outcome, cost }: Called): kit.ConnectionResult => ({
      denied: outcome === "reject",
      cluster: this.#options.clusters?.[context.chosenCluster] ?? null,
      ...cost,
    });
    return { hook: "connection", context, read };
  }

  #prepareRequest(hook: Hook, init: kit.RequestInit | undefined): Prepared<kit.RequestResult> {
    const exchange = makeExchange(init);
    const before = captureState(exchange);
    const read = ({ outcome, cost }: Called): kit.RequestResult => {
      requestBody(exchange).buffered = outcome === "buffer";
      const { request, chosenCluster, chosenStrategy } = exchange;
      const { clusters = [], strategies = [] } = this.#options;
      const result: kit.RequestResult = {
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
    response: kit.ResponseInit | undefined,
    request: kit.RequestInit | kit.RequestResult | undefined,
  ): Prepared<kit.ResponseResult> {
    const exchange = this.#exchangeOf(request);
    setResponse(exchange, response);
    const before = captureState(exchange);
    const read = ({ outcome, cost }: Called): kit.ResponseResult => {
      responseBody(exchange).buffered = outcome === "buffer";
      const edits = compare(before, captureState(exchange)).filter(({ of }) => of === "response");
      return { outcome: outcome === "reject" ? "continue" : outcome, ...readResponse(exchange), edits, ...cost };
    };
    return { hook: "response_head", context: exchange, read };
  }

  #prepareHealthCheck(check?: kit.HealthCheckInit): Prepared<kit.HealthCheckResult> {
    this.#need("health_check");
    const context = makeCheck(check);
    const read = ({ outcome, cost }: Called): kit.HealthCheckResult => {
      const healthy = outcome !== "reject";
      const said = healthy ? null : context.values?.get(`${PLUGIN_NAME}\0${PROBLEM_KEY}`)?.current;
      return { healthy, problem: said ? Buffer.from(said.bytes).toString() : "", ...cost };
    };
    return { hook: "health_check", context, read };
  }

  #prepareBody(
    hook: Hook,
    bytes: string | Uint8Array,
    { last = true, request, response }: kit.BodyOptions,
  ): Prepared<kit.BodyResult> {
    this.#need(hook);
    const exchange = this.#exchangeOf(request);
    if (hook === "response_body" && (exchange.response.status === 0 || response !== undefined))
      setResponse(exchange, response);
    const content = Buffer.from(bytes as string);
    const { chunk } = hook === "request_body" ? requestBody(exchange) : responseBody(exchange);
    chunk.set(content, 0, content.length, last);
    const before = captureState(exchange);
    const read = ({ outcome, cost }: Called): kit.BodyResult => {
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

  #callTrailers(hook: "request_trailers" | "response_trailers", exchange: Exchange): kit.TrailersResult {
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
  #exchangeOf(request: kit.RequestInit | kit.RequestResult = {}): Exchange {
    return this.#exchanges.get(request as kit.RequestResult) ?? makeExchange(request as kit.RequestInit);
  }

  #need(hook: Hook): void {
    if (!this.hooks.includes(hook))
      throw new TypeError(`the plugin has no hook ${hook}; its hooks are ${this.hooks.join(", ")}`);
  }
}
