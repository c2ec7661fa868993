/**
 * Tests of plugins, in TypeScript under `node:test`: `import { helpers, plugin } from "sluice/test"`.
 *
 * A plugin is loaded into the same host that the proxy runs it in, with the same metering, limits and checks; only the
 * network is left out. `sluice plugin test` finds and runs such tests.
 */

/** The configuration that the plugin is loaded with, and what it finds around it. */
export interface PluginOptions {
  /** What `config` says in sluice.yaml. */
  config?: unknown;
  /**
   * The clusters that exist; without it those of `sluice plugin test --clusters A,B`. A plugin that looks for another is
   * refused, as when a configuration is loaded.
   */
  clusters?: readonly string[];
  /** The names of the strategies that exist. */
  strategies?: readonly string[];
  /**
   * What `allow` says: clusters that it may choose (without it: any), whom it may send requests to (`cluster:auth`,
   * `https://keys.example.com`), header names that do not exist for it, key-value namespaces, and values that it may
   * share. A loaded plugin has a store of its own, empty at first.
   */
  allow?: {
    clusters?: readonly string[];
    fetch?: readonly string[];
    headers?: { hide?: readonly string[] };
    kv?: readonly string[];
    share?: readonly string[];
  };
  /**
   * What `limits` says: units of fuel for one hook call, memory (`"64MiB"`, or a number of bytes), and how long a call
   * may wait (`"5s"`, or a number of milliseconds).
   */
  limits?: { fuel?: number; memory?: number | string; time?: number | string };
  /** The time, in milliseconds since 1970; the real one without it. What the plugin waits for is added. */
  now?: () => number;
  /**
   * Answers a request of the plugin's own. `null`: nobody is there. Without it a test whose plugin sends one fails.
   *
   *     plugin("./plugin.ts", { allow: { fetch: ["cluster:auth"] }, fetch: ({ headers }) => ({ status: headers.cookie ? 200 : 401 }) })
   */
  fetch?: (request: FetchedRequest) => FetchAnswer | null | Promise<FetchAnswer | null>;
  /** Answers what the plugin says by `endpoint.probe`; null: nobody is there, undefined: silence. */
  probe?: (probe: ProbedEndpoint) => ProbeAnswer | Promise<ProbeAnswer>;
}

/** A request of the plugin's own. */
export interface FetchedRequest extends Fields {
  readonly method: string;
  /** As the plugin named it: `cluster:auth/check?path=/a`, `https://keys.example.com/jwks`. */
  readonly url: string;
  /** The body, as UTF-8 text and as bytes. */
  readonly body: string;
  readonly bytes: Uint8Array;
  /** Milliseconds that the plugin gives it. */
  readonly timeout: number;
}

export interface FetchAnswer extends ResponseInit {
  body?: string | Uint8Array;
  /** Milliseconds until it is there, as the plugin has the time: nobody really waits. More than its time-out: too late. */
  delay?: number;
}

/**
 * Loads a plugin: a `.ts`, which is compiled, or a `.wasm`. A relative path is relative to the file that calls.
 * Rejects when it does not compile, does not start, or refuses its configuration.
 */
export function plugin(file: string | URL, options?: PluginOptions): Promise<Guest>;

/**
 * Compiles a file of helpers by itself and hands out what it exports: `helpers.slug("A b")`. Numbers, `bool`, `i64`
 * (as bigint), `string` and arrays of numbers go in and out as their JavaScript counterparts. What calls the host, as
 * requests and headers do, cannot be called here: test it through `plugin`.
 */
export function helpers(file: string | URL): Promise<Record<string, (...values: HelperValue[]) => HelperValue>>;

export type HelperValue = number | bigint | boolean | string | null | undefined | readonly (number | bigint)[];

/** Names in any case with their values, or pairs where a name comes more than once. */
export type HeadersInit = Readonly<Record<string, string | readonly string[]>> | readonly (readonly [string, string])[];

export interface RequestInit {
  /** `GET` without it. */
  method?: string;
  /** Whole, or a path, or `*`: `http://localhost/` without it. */
  url?: string;
  headers?: HeadersInit;
  /** The client's address; `192.0.2.1` without it. */
  client?: string;
  /** The name of the rule that matched, for hooks after that. */
  route?: string;
  /** The listener's name; `test` without it. */
  listener?: string;
}

export interface ProbedEndpoint {
  /** The endpoint's address. */
  readonly address: string;
  /** What is sent, and what is waited for, as UTF-8. */
  readonly send: string;
  readonly until: string;
  readonly timeout: number;
}

export type ProbeAnswer = string | Uint8Array | null | undefined;

export interface ConnectionInit {
  /** The peer's address; `192.0.2.1` without it. */
  client?: string;
  /** The listener's name; `test` without it. */
  listener?: string;
}

export interface ConnectionResult extends Cost {
  /** It is closed. */
  readonly denied: boolean;
  /** The cluster that its requests begin with. */
  readonly cluster: string | null;
}

export interface HealthCheckInit {
  /** The endpoint's address; `192.0.2.80:80` without it. */
  address?: string;
  /** Its cluster's name; `app` without it. */
  cluster?: string;
  /** Milliseconds that the check may take; 1000 without it. */
  timeout?: number;
}

export interface HealthCheckResult extends Cost {
  readonly healthy: boolean;
  /** What the plugin says is wrong; empty where it says nothing. */
  readonly problem: string;
}

export interface ResponseInit {
  /** 200 without it. */
  status?: number;
  headers?: HeadersInit;
}

export interface EndpointInit {
  address: string;
  /** 1 to 1000; 1 without it. */
  weight?: number;
  zone?: string;
  /** Requests in flight over all threads. */
  inFlight?: number;
  /** Decaying average to the answer's head, in microseconds. */
  latency?: number;
  /** Milliseconds since the response that moved the latency last; 0 without it. */
  latencyAge?: number;
  /** Decaying average of failed attempts, in parts per million. */
  errorRate?: number;
}

/** What one call of a hook took and said. */
export interface Cost {
  /** Units of fuel. */
  readonly fuel: number;
  /** Bytes of memory that the guest grew by in this call: 0 when what it has was enough. */
  readonly allocated: number;
  /** Bytes of memory that the guest has now. */
  readonly memory: number;
  /** Milliseconds that it waited, by its own time. */
  readonly waited: number;
  /** Lines that it wrote to the log. */
  readonly log: readonly { readonly level: "debug" | "info" | "warn" | "error"; readonly text: string }[];
  /** Fields of the request's line in the access log that it has set, in this call or, with the same request, before. */
  readonly logFields: Readonly<Record<string, string>>;
}

/** One thing that a hook changed. `what` is `header x-a`, `trailer x-a`, or `method`, `path`, `query`, `authority`, `status`. */
export interface Edit {
  readonly of: "request" | "response";
  readonly what: string;
  /** The values before and after; empty where there was or is none. */
  readonly before: readonly string[];
  readonly after: readonly string[];
}

export interface Fields {
  /** By lower-case name; values of one name are joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** Every field in order, as it would be sent. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** An answer that a plugin gave. */
export interface Answer extends Fields {
  readonly status: number;
  readonly body: string;
}

/** The request after `onRequest` or `route`. */
export interface RequestResult extends Fields, Cost {
  /** `hold`: go on when the body is whole. */
  readonly outcome: "continue" | "respond" | "reject" | "hold";
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  /** Without its `?`; empty when there is none. */
  readonly query: string;
  readonly edits: readonly Edit[];
  /** The plugin's own answer, where it gave one. */
  readonly response: Answer | null;
  /** The cluster that it chose. */
  readonly cluster: string | null;
  /** The strategy that it chose. */
  readonly strategy: string | null;
}

/** The answer after `onResponse`. */
export interface ResponseResult extends Answer, Cost {
  readonly outcome: "continue" | "respond" | "hold";
  readonly edits: readonly Edit[];
}

/** A piece of a body after `onRequestBody` or `onResponseBody`. */
export interface BodyResult extends Cost {
  readonly outcome: "continue" | "respond" | "reject";
  /** What passes on, as UTF-8 text and as bytes. */
  readonly body: string;
  readonly bytes: Uint8Array;
  /** What the hook changed in heads: a plugin that holds one back may. */
  readonly edits: readonly Edit[];
  /** The plugin's own answer, where it gave one. */
  readonly response: Answer | null;
}

/** The trailers after `onRequestTrailers` or `onResponseTrailers`, as `headers` and `fields`. */
export interface TrailersResult extends Fields, Cost {
  readonly edits: readonly Edit[];
}

/** What `onSave` handed over; empty when it was nothing. */
export interface SaveResult extends Cost {
  readonly state: Uint8Array;
}

export interface BodyOptions {
  /** Whether nothing follows this piece; true without it. */
  last?: boolean;
  /** What the piece belongs to. */
  request?: RequestInit | RequestResult;
  response?: ResponseInit;
}

export interface PickResult extends Cost {
  /** The address picked, or null for none. */
  readonly endpoint: string | null;
  /** Its place in the list, or -1. */
  readonly index: number;
}

/** How a trace is replayed. */
export interface ReplayOptions {
  /**
   * The plugin's name in the trace. Without it: the one that is called as the plugin's file or directory, or the only one
   * that can be meant.
   */
  plugin?: string;
  /** Which of its configurations, where the trace holds calls of more than one: 1 for the first that the request met. */
  use?: number;
  /**
   * What stands for values that the trace masks (`***`) or cuts (`…`), by the name of the field, query parameter or
   * shared value: `{ authorization: "Bearer test" }`. Without it the plugin sees `***`.
   */
  values?: Readonly<Record<string, string>>;
  /** False: what a strategy picks is not compared. What it draws by chance (`random`) never is. */
  picks?: boolean;
  /** What is not compared: `header x-request-id`, `query`, `shared user`, `body` … */
  ignore?: readonly string[];
}

/** What came of the calls of one plugin that a trace holds. */
export interface Replay {
  /** By its name in the trace. */
  readonly plugin: string;
  readonly calls: readonly ReplayedCall[];
  /** `request_head: header x-tenant: the trace has "a", now "b"`; empty when all is as the trace has it. */
  readonly differences: readonly string[];
  /** Calls that were not made again, and why: `request_body (step 3): …`. */
  readonly skipped: readonly string[];
  /** Values that were taken for equal because the trace masks or cuts them. */
  readonly masked: number;
}

export interface ReplayedCall {
  /** Its place among the trace's steps, as `sluice explain` numbers them. */
  readonly step: number;
  readonly hook: string;
  /** As the trace tells it. */
  readonly trace: TracedCall;
  /** As it is now; null when it was not made, or the plugin has no such hook any more. */
  readonly now: TracedCall | null;
  /** Why it was not made again; null when it was. */
  readonly skipped: string | null;
}

/** A call of a hook, as a trace tells it. */
export interface TracedCall {
  /** `continue`, `respond`, `reject`, `hold`, `failed`; of `pick` the place of the endpoint. */
  readonly result: string;
  /** Why it failed. */
  readonly failure: { readonly reason: string; readonly message: string } | null;
  /** What it changed, and the answer that it gave itself. */
  readonly edits: readonly Edit[];
  /** Values that it shared with other plugins. */
  readonly shared: readonly (readonly [name: string, value: string])[];
  /** The cluster and the strategy that it chose. */
  readonly cluster: string | null;
  readonly strategy: string | null;
  /** The endpoint that it picked. */
  readonly choice: string | null;
  /** The piece of a body that it saw: its bytes before and after; both as text where the trace has them. */
  readonly body: {
    readonly before: number;
    readonly after: number;
    readonly last: boolean;
    readonly seen?: string;
    readonly passed?: string;
  } | null;
  readonly fuel: number;
  /** Microseconds. */
  readonly took: number;
  /** Host calls by name. */
  readonly calls: Readonly<Record<string, number>>;
  readonly log: readonly { readonly level: string; readonly text: string }[];
}

/** The entries of a key-value namespace. */
export interface TestNamespace {
  /** The value as UTF-8, a counter as its digits; null when it is not there. */
  get(key: string): string | null;
  /** `ttl` is in milliseconds; 0, or without it: no end. */
  set(key: string, value: string | Uint8Array, ttl?: number): void;
  delete(key: string): void;
  /** All keys, sorted. */
  keys(): string[];
}

/**
 * A plugin that runs. Each call of a hook throws PluginFailure when the plugin fails; the next one has a new guest.
 *
 * The hooks of a plugin that waits (`sleep`, `Fetch`) are called by the names that end in `Async`, one at a time; those
 * work for every plugin. The time that it waits is passed over.
 */
export interface Guest {
  /** The hooks that it exports, by their names in the ABI. */
  readonly hooks: readonly string[];
  /** `onRequest`. */
  request(request?: RequestInit): RequestResult;
  requestAsync(request?: RequestInit): Promise<RequestResult>;
  /** `route`; `cluster` of the result is null when it passes to the next rule. */
  route(request?: RequestInit): RequestResult;
  /** `onResponse`: for the request that was the first argument of `request`, or for the one of a result. */
  response(response?: ResponseInit, request?: RequestInit | RequestResult): ResponseResult;
  responseAsync(response?: ResponseInit, request?: RequestInit | RequestResult): Promise<ResponseResult>;
  /** `onRequestBody`, for one piece; for all of it where the plugin holds the head back. */
  requestBody(piece: string | Uint8Array, options?: BodyOptions): BodyResult;
  requestBodyAsync(piece: string | Uint8Array, options?: BodyOptions): Promise<BodyResult>;
  /** `onResponseBody`, the same. */
  responseBody(piece: string | Uint8Array, options?: BodyOptions): BodyResult;
  responseBodyAsync(piece: string | Uint8Array, options?: BodyOptions): Promise<BodyResult>;
  /** `onRequestTrailers`, for fields that came after the body. */
  requestTrailers(trailers: HeadersInit, request?: RequestInit | RequestResult): TrailersResult;
  /** `onResponseTrailers`, the same. */
  responseTrailers(
    trailers: HeadersInit,
    options?: { request?: RequestInit | RequestResult; response?: ResponseInit },
  ): TrailersResult;
  /** `onLog`, when the exchange is over. */
  log(response?: ResponseInit, request?: RequestInit | RequestResult): Cost;
  /** `update`: tells a strategy its endpoints. */
  update(endpoints: readonly (string | EndpointInit)[]): Cost;
  /** `pick`, among the endpoints of the last `update` but those `without`, which a retry leaves out. */
  pick(options?: { request?: RequestInit | RequestResult; without?: readonly string[] }): PickResult;
  /** `onOutcome`, of an attempt on one of the endpoints. `latency` is in microseconds; status 0: no answer. */
  outcome(
    attempt: { endpoint: string; latency?: number; status?: number; failed?: boolean },
    request?: RequestInit | RequestResult,
  ): Cost;
  /** `onConnection`. */
  connection(connection?: ConnectionInit): ConnectionResult;
  connectionAsync(connection?: ConnectionInit): Promise<ConnectionResult>;
  /** `onHealthCheck`. What it fetches from `endpoint/…` the option `fetch` answers. */
  healthCheck(check?: HealthCheckInit): HealthCheckResult;
  healthCheckAsync(check?: HealthCheckInit): Promise<HealthCheckResult>;
  /** `onTick`, at once, whatever the interval. */
  tick(): Cost;
  tickAsync(): Promise<Cost>;
  /** `onSave`. */
  save(): SaveResult;
  /** `onRestore`, with what another guest has saved: `next.restore(guest.save().state)`. */
  restore(state: Uint8Array): Cost;
  /**
   * Makes the plugin's calls of a trace again, each on the heads that it saw then, and compares what comes of them:
   * result, edits, cluster, strategy, pick, shared values, body, failure. Time, fuel, host calls and log lines are told, not
   * compared. `trace` is what `sluice explain --json` or `GET /api/v1/traces/{id}` gives, or the path of such a file.
   *
   * The clock is the trace's, if `now` is not given. What the proxy had kept from earlier requests (globals, key-value
   * entries, endpoints of earlier picks) is not in a trace: put it there by calls before the replay.
   *
   * Rejects with a TypeError that names the place, when the trace is none.
   */
  replay(trace: string | URL | object, options?: ReplayOptions): Promise<Replay>;
  /** The present value of a metric that it has defined, over all series with these labels; of a histogram `NAME_count` or `NAME_sum`. */
  metric(name: string, labels?: Readonly<Record<string, string>>): number;
  /** Entries of a namespace that `allow.kv` names, to look at or to put there. */
  kv(namespace: string): TestNamespace;
}

/** How a plugin failed. Its `stack` begins with the plugin's own lines. */
export class PluginFailure extends Error {
  readonly hook: string;
  /** As in `sluice_plugin_failures_total`: `trap`, `abort`, `fuel`, `memory`, `stack`, `bad_result`, … */
  readonly reason: string;
  /** The plugin's stack, one `function (file:line:col)` a line. */
  readonly frames: string;
}
