/** A plugin in the proxy's own host, called hook by hook. */
import type {
  BodyOptions,
  BodyResult,
  Cost,
  EndpointInit,
  Guest,
  PickResult,
  PluginOptions,
  RequestInit,
  RequestResult,
  ResponseInit,
  ResponseResult,
  SaveResult,
} from "../../../sdk/test.js";
import { PART } from "../../http/head.ts";
import { PLUGIN_CELLS } from "../../observe/series.ts";
import { FUEL, HOOK, HOOKS, type Hook } from "../../plugin/abi.ts";
import type { ModulePlan } from "../../plugin/build.ts";
import { SavedState } from "../../plugin/calls-state.ts";
import { type InstanceSet, OUTCOME, type PluginHost } from "../../plugin/host.ts";
import type { PluginInstance } from "../../plugin/instance.ts";
import type { Report } from "../../plugin/report.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { Piece } from "../../proxy/piece.ts";
import { TestEndpoints } from "./endpoints.ts";
import { DEFAULT_MEMORY, loadPlugin } from "./load.ts";
import { answerExchange, compare, makeExchange, readAnswer, readFields, takePicture } from "./messages.ts";

export class PluginFailure extends Error {
  override readonly name = "PluginFailure";
  readonly hook: string;
  readonly reason: string;
  readonly frames: string;

  constructor(message: string, { hook, reason, frames }: { hook: string; reason: string; frames: string }) {
    super(message);
    this.hook = hook;
    this.reason = reason;
    this.frames = frames;
    const [, ...own] = (this.stack ?? "").split("\n");
    const lines = frames === "" ? [] : frames.split("\n").map((line) => `    at ${line}`);
    this.stack = [`${this.name}: ${message}`, ...lines, ...own].join("\n");
  }
}

const OUTCOME_NAMES: Readonly<Record<number, RequestResult["outcome"]>> = {
  [OUTCOME.respond]: "respond",
  [OUTCOME.reject]: "reject",
  [OUTCOME.hold]: "hold",
};

type Line = Cost["log"][number];
type Failure = { readonly message: string; readonly fields: Record<string, unknown> };

export class TestGuest implements Guest {
  readonly hooks: readonly string[];
  readonly #module: ModulePlan;
  readonly #options: PluginOptions;
  readonly #cells = new Float64Array(PLUGIN_CELLS.size);
  readonly #endpoints = new TestEndpoints();
  readonly #exchanges = new WeakMap<RequestResult, Exchange>();
  #host!: PluginHost;
  #set!: InstanceSet;
  #lines: Line[] = [];
  #failure: Failure | null = null;

  /** @throws PluginError when it does not start. */
  constructor(module: ModulePlan, options: PluginOptions) {
    this.#module = module;
    this.#options = options;
    this.hooks = HOOKS.filter((_, number) => ((module.info.hooks >>> number) & 1) === 1);
    this.#start();
  }

  request(request?: RequestInit): RequestResult {
    return this.#callRequest("request_head", makeExchange(request));
  }

  route(request?: RequestInit): RequestResult {
    this.#need("route");
    return this.#callRequest("route", makeExchange(request));
  }

  response(response?: ResponseInit, request?: RequestInit | RequestResult): ResponseResult {
    const exchange = this.#exchangeOf(request);
    answerExchange(exchange, response);
    const before = takePicture(exchange);
    const { outcome, cost } = this.#call("response_head", exchange);
    exchange.answerHeld = outcome === "hold";
    const edits = compare(before, takePicture(exchange)).filter(({ of }) => of === "response");
    return { outcome: outcome === "reject" ? "continue" : outcome, ...readAnswer(exchange), edits, ...cost };
  }

  requestBody(piece: string | Uint8Array, options: BodyOptions = {}): BodyResult {
    return this.#callBody("request_body", piece, options);
  }

  responseBody(piece: string | Uint8Array, options: BodyOptions = {}): BodyResult {
    return this.#callBody("response_body", piece, options);
  }

  log(response?: ResponseInit, request?: RequestInit | RequestResult): Cost {
    this.#need("log");
    const exchange = this.#exchangeOf(request);
    if (exchange.response.status === 0 || response !== undefined) answerExchange(exchange, response);
    return this.#call("log", exchange).cost;
  }

  update(endpoints: readonly (string | EndpointInit)[]): Cost {
    const view = this.#endpoints.set(endpoints);
    return this.#measure("update", (instance) => instance.update(view)).cost;
  }

  pick(options: { request?: RequestInit | RequestResult; without?: readonly string[] } = {}): PickResult {
    this.#need("pick");
    const view = this.#endpoints.view(options.without);
    const exchange = this.#exchangeOf(options.request);
    const { result: index, cost } = this.#measure("pick", (instance) => instance.pick(exchange, view));
    return { endpoint: index < 0 ? null : view.list[index]!.address, index, ...cost };
  }

  outcome(
    attempt: { endpoint: string; latency?: number; status?: number; failed?: boolean },
    request?: RequestInit | RequestResult,
  ): Cost {
    this.#need("outcome");
    const exchange = this.#exchangeOf(request);
    exchange.endpoint = this.#endpoints.find(attempt.endpoint);
    exchange.attemptLatency = attempt.latency ?? 1000;
    exchange.attemptFailed = attempt.failed ?? false;
    exchange.attemptStatus = attempt.status ?? (exchange.attemptFailed ? 0 : 200);
    return this.#call("outcome", exchange).cost;
  }

  tick(): Cost {
    this.#need("tick");
    return this.#measure("tick", (instance) => instance.tick()).cost;
  }

  save(): SaveResult {
    this.#need("save");
    const { result: state, cost } = this.#measure("save", (instance) => instance.save());
    return { state: Uint8Array.from(state?.bytes.subarray(0, state.length) ?? []), ...cost };
  }

  restore(state: Uint8Array): Cost {
    this.#need("restore");
    const saved = new SavedState();
    saved.append(Buffer.from(state), 0, state.length);
    return this.#measure("restore", (instance) => instance.restore(saved)).cost;
  }

  #callRequest(hook: Hook, exchange: Exchange): RequestResult {
    const before = takePicture(exchange);
    const { outcome, cost } = this.#call(hook, exchange);
    exchange.requestHeld = outcome === "hold";
    const { request, chosenCluster, chosenStrategy } = exchange;
    const { clusters = [], strategies = [] } = this.#options;
    const result: RequestResult = {
      outcome,
      method: request.partText(PART.method),
      authority: request.partText(PART.authority),
      path: request.partText(PART.path),
      query: request.partText(PART.query),
      ...readFields(request),
      edits: compare(before, takePicture(exchange)).filter(({ of }) => of === "request"),
      response: outcome === "respond" ? readAnswer(exchange) : null,
      cluster: clusters[chosenCluster] ?? null,
      strategy: strategies[chosenStrategy] ?? null,
      ...cost,
    };
    this.#exchanges.set(result, exchange);
    return result;
  }

  #callBody(hook: Hook, bytes: string | Uint8Array, { last = true, request, response }: BodyOptions): BodyResult {
    this.#need(hook);
    const exchange = this.#exchangeOf(request);
    if (hook === "response_body" && (exchange.response.status === 0 || response !== undefined))
      answerExchange(exchange, response);
    const content = Buffer.from(bytes as string);
    const piece = (exchange.requestPiece ??= new Piece());
    exchange.answerPiece = piece;
    piece.set(content, 0, content.length, last);
    const before = takePicture(exchange);
    const { outcome, cost } = this.#call(hook, exchange);
    piece.accept();
    const passed = Buffer.from(piece.bytes.subarray(piece.start, piece.end));
    return {
      outcome: outcome === "hold" ? "continue" : outcome,
      body: passed.toString("utf8"),
      bytes: passed,
      edits: compare(before, takePicture(exchange)),
      response: outcome === "respond" ? readAnswer(exchange) : null,
      ...cost,
    };
  }

  /** The exchange of a result goes on where it was. */
  #exchangeOf(request: RequestInit | RequestResult = {}): Exchange {
    return this.#exchanges.get(request as RequestResult) ?? makeExchange(request as RequestInit);
  }

  #need(hook: Hook): void {
    if (!this.hooks.includes(hook))
      throw new TypeError(`the plugin has no hook ${hook}; its hooks are ${this.hooks.join(", ")}`);
  }

  #call(hook: Hook, exchange: Exchange): { outcome: RequestResult["outcome"]; cost: Cost } {
    const { result, cost } = this.#measure(hook, (instance) => instance.call(HOOK[hook], exchange));
    return { outcome: OUTCOME_NAMES[result] ?? "continue", cost };
  }

  #measure<T>(hook: Hook, run: (instance: PluginInstance) => T): { result: T; cost: Cost } {
    const cell = PLUGIN_CELLS.fuel + HOOK[hook];
    const fuel = this.#cells[cell]!;
    const memory = this.#host.memory();
    this.#lines = [];
    this.#failure = null;
    const result = run(this.#set.instances[0]!);
    this.#throwFailure();
    const now = this.#host.memory();
    return {
      result,
      cost: { fuel: this.#cells[cell]! - fuel, allocated: now - memory, memory: now, log: this.#lines },
    };
  }

  #throwFailure(): void {
    const failure = this.#failure as Failure | null;
    if (failure === null) return;
    // A host that has seen a plugin fail is slow to start it again, which is no matter of a test's.
    this.#set.dispose();
    this.#start();
    const { hook, reason, stack } = failure.fields;
    throw new PluginFailure(failure.message, {
      hook: String(hook),
      reason: String(reason),
      frames: typeof stack === "string" ? stack : "",
    });
  }

  #start(): void {
    const { config = null, clusters, strategies, allow, limits, now } = this.#options;
    const report: Report = (level, message, fields) => {
      if ("reason" in fields) this.#failure ??= { message, fields };
      else this.#lines.push({ level, text: message });
    };
    const { host, set } = loadPlugin(this.#module, {
      cells: this.#cells,
      report,
      configs: [config],
      clusters,
      strategies,
      now,
      namespaces: allow?.kv,
      settings: {
        fuel: limits?.fuel ?? FUEL.default,
        memory: limits?.memory ?? DEFAULT_MEMORY,
        clusters: allow?.clusters ?? null,
        hidden: (allow?.headers?.hide ?? []).map((name) => name.toLowerCase()),
      },
    });
    this.#host = host;
    this.#set = set;
  }
}
