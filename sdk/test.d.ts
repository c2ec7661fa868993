/**
 * Tests of plugins in TypeScript, under `node:test`: `import { helpers, plugin } from "sluice/test"`.
 *
 * A plugin runs in the proxy's own plugin host, with the same fuel, limits and checks, but without a network.
 * `sluice plugin test` finds and runs files that end in `.test.ts`.
 */

/** The plugin's configuration and environment, as in sluice.yaml. */
export interface PluginOptions {
  /** `config` of the plugin. It is validated against the plugin's schema. */
  config?: unknown;
  /**
   * Names of the existing clusters; default: those of `sluice plugin test --clusters A,B`. A plugin that looks up another
   * one fails to load.
   */
  clusters?: readonly string[];
  /** Names of the existing strategies. */
  strategies?: readonly string[];
  /**
   * Permissions: clusters that it may select (default: any), targets of subrequests (`cluster:auth`,
   * `https://keys.example.com`), headers that are hidden from it, key-value namespaces, and names of values that it may
   * share. Each loaded plugin has its own key-value store, initially empty.
   */
  allow?: {
    clusters?: readonly string[];
    fetch?: readonly string[];
    headers?: { hide?: readonly string[] };
    kv?: readonly string[];
    share?: readonly string[];
  };
  /**
   * Limits: fuel per hook call in units, memory (`"64MiB"`, or bytes as a number), and the time of a call with asynchronous
   * host calls (`"5s"`, or milliseconds as a number).
   */
  limits?: { fuel?: number; memory?: number | string; time?: number | string };
  /** Extism plugins: the exports that are its hooks, by the names of hooks, as `hooks` in sluice.yaml. */
  hooks?: { readonly [hook: string]: string };
  /** The clock, in milliseconds since 1970; default: the real one. The time of asynchronous calls is added. */
  now?: () => number;
  /**
   * Responds to subrequests. `null`: the target is unreachable. Without it a subrequest fails the test.
   *
   *     plugin("./plugin.ts", { allow: { fetch: ["cluster:auth"] }, fetch: ({ headers }) => ({ status: headers.cookie ? 200 : 401 }) })
   */
  fetch?: (request: FetchRequest) => FetchResponse | null | Promise<FetchResponse | null>;
  /** Responds to `endpoint.probe`; null: unreachable, undefined: no response, so that the timeout expires. */
  probe?: (probe: ProbeRequest) => ProbeResponse | Promise<ProbeResponse>;
}

/** A subrequest of the plugin. */
export interface FetchRequest extends Fields {
  readonly method: string;
  /** The URL given to `Fetch`: `cluster:auth/check?path=/a`, `https://keys.example.com/jwks`. */
  readonly url: string;
  /** The body, as UTF-8 text and as bytes. */
  readonly body: string;
  readonly bytes: Uint8Array;
  /** Its timeout in milliseconds. */
  readonly timeout: number;
}

/** The response to a subrequest: status 200 without headers and body by default. */
export interface FetchResponse extends ResponseInit {
  body?: string | Uint8Array;
  /** Delay in milliseconds of the plugin's clock; the test does not wait. Above the timeout: the subrequest times out. */
  delay?: number;
}

/**
 * Loads a plugin from a `.ts` file, which is compiled, or a `.wasm`. A relative path is relative to the calling file.
 * Rejects if it does not compile or start, or if the configuration is invalid.
 */
export function plugin(file: string | URL, options?: PluginOptions): Promise<Guest>;

/**
 * Compiles a file of helper functions and returns its exports: `(await helpers("./text.ts")).slug("A b")`. Parameters and
 * results may be numbers, `bool`, `i64` (as bigint), `string` and arrays of numbers. A function that calls the host, for
 * example through `Request` or `Headers`, throws: test it through `plugin`.
 */
export function helpers(file: string | URL): Promise<Record<string, (...values: HelperValue[]) => HelperValue>>;

/** A parameter or result of a helper function. */
export type HelperValue = number | bigint | boolean | string | null | undefined | readonly (number | bigint)[];

/** Values by case-insensitive name, or pairs in order. */
export type HeadersInit = Readonly<Record<string, string | readonly string[]>> | readonly (readonly [string, string])[];

/** A request; all fields are optional. */
export interface RequestInit {
  /** Default: `GET`. */
  method?: string;
  /** An absolute URL, a path, or `*`. Default: `http://localhost/`. */
  url?: string;
  headers?: HeadersInit;
  /** The client's IP address. Default: `192.0.2.1`. */
  client?: string;
  /** Name of the matched route, for hooks after routing. */
  route?: string;
  /** The listener's name. Default: `test`. */
  listener?: string;
}

/** A call of `endpoint.probe`. */
export interface ProbeRequest {
  /** The endpoint's address. */
  readonly address: string;
  /** The text that is sent, and the expected text, as UTF-8. */
  readonly send: string;
  readonly until: string;
  /** In milliseconds. */
  readonly timeout: number;
}

/** The received bytes; null: unreachable, undefined: no response. */
export type ProbeResponse = string | Uint8Array | null | undefined;

/** An accepted connection; all fields are optional. */
export interface ConnectionInit {
  /** The peer's IP address. Default: `192.0.2.1`. */
  client?: string;
  /** The listener's name. Default: `test`. */
  listener?: string;
}

/** The result of `onConnection`. */
export interface ConnectionResult extends Cost {
  /** Whether the connection is closed. */
  readonly denied: boolean;
  /** The initial cluster of its requests, or null. */
  readonly cluster: string | null;
}

/** A health check; all fields are optional. */
export interface HealthCheckInit {
  /** The endpoint's address. Default: `192.0.2.80:80`. */
  address?: string;
  /** Its cluster's name. Default: `app`. */
  cluster?: string;
  /** Timeout of the check in milliseconds. Default: 1000. */
  timeout?: number;
}

/** The result of `onHealthCheck`. */
export interface HealthCheckResult extends Cost {
  readonly healthy: boolean;
  /** The reason given by `endpoint.unhealthy`; empty without one. */
  readonly problem: string;
}

/** A response; all fields are optional. */
export interface ResponseInit {
  /** Default: 200. */
  status?: number;
  headers?: HeadersInit;
}

/** An endpoint with its load, as a strategy sees it. */
export interface EndpointInit {
  address: string;
  /** 1 to 1000. Default: 1. */
  weight?: number;
  zone?: string;
  /** Requests in flight, of all workers. Default: 0. */
  inFlight?: number;
  /** Weighted average of the time to the response head, in microseconds. Default: 0, no sample. */
  latency?: number;
  /** Milliseconds since the last response that updated the latency. Default: 0. */
  latencyAge?: number;
  /** Weighted share of failed attempts, in parts per million. Default: 0. */
  errorRate?: number;
}

/** Resources used and lines logged by a hook call. */
export interface Cost {
  /** Fuel, in units. */
  readonly fuel: number;
  /** Growth of the guest's memory during the call, in bytes. */
  readonly allocated: number;
  /** Size of the guest's memory after the call, in bytes. */
  readonly memory: number;
  /** Time of asynchronous host calls, in milliseconds of the plugin's clock. */
  readonly suspended: number;
  /** Lines written to the log. */
  readonly log: readonly { readonly level: "debug" | "info" | "warn" | "error"; readonly text: string }[];
  /** Access log fields set by the plugin so far for this request (`req.log.set`). */
  readonly logFields: Readonly<Record<string, string>>;
}

/** A change made by a hook. `what` is `header x-a`, `trailer x-a`, `method`, `path`, `query`, `authority` or `status`. */
export interface Edit {
  readonly of: "request" | "response";
  readonly what: string;
  /** Values before and after the hook; empty if absent. */
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** Headers or trailers. */
export interface Fields {
  /** By lower-case name; values of one name are joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** All fields in the order in which they are sent. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** A response. */
export interface TestResponse extends Fields {
  readonly status: number;
  readonly body: string;
}

/** The request after `onRequest` or `route`, and the decisions of the hook. */
export interface RequestResult extends Fields, Cost {
  /** `buffer`: continue when the whole body is buffered. */
  readonly outcome: "continue" | "respond" | "reject" | "buffer";
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  /** Without `?`; empty if there is none. */
  readonly query: string;
  readonly edits: readonly Edit[];
  /** The local response of `respond`, or null. */
  readonly response: TestResponse | null;
  /** The selected cluster, or null. */
  readonly cluster: string | null;
  /** The selected strategy, or null. */
  readonly strategy: string | null;
}

/** The response after `onResponse`. */
export interface ResponseResult extends TestResponse, Cost {
  readonly outcome: "continue" | "respond" | "buffer";
  readonly edits: readonly Edit[];
}

/** A body chunk after `onRequestBody` or `onResponseBody`. */
export interface BodyResult extends Cost {
  readonly outcome: "continue" | "respond" | "reject";
  /** The resulting chunk, as UTF-8 text and as bytes. */
  readonly body: string;
  readonly bytes: Uint8Array;
  /** Changes of heads, which are possible if the body is buffered. */
  readonly edits: readonly Edit[];
  /** The local response of `respond`, or null. */
  readonly response: TestResponse | null;
}

/** The trailers after `onRequestTrailers` or `onResponseTrailers`, as `headers` and `fields`. */
export interface TrailersResult extends Fields, Cost {
  readonly edits: readonly Edit[];
}

/** The state written by `onSave`; empty if there is none. */
export interface SaveResult extends Cost {
  readonly state: Uint8Array;
}

/** Context of a body chunk. */
export interface BodyOptions {
  /** Whether the chunk ends the body. Default: true. */
  last?: boolean;
  /** The message to which the chunk belongs. */
  request?: RequestInit | RequestResult;
  response?: ResponseInit;
}

/** The result of `pick`. */
export interface PickResult extends Cost {
  /** Address of the picked endpoint, or null for none. */
  readonly endpoint: string | null;
  /** Its index in the list, or -1. */
  readonly index: number;
}

/** Options of `Guest.replay`. */
export interface ReplayOptions {
  /**
   * The plugin's name in the trace. Default: the name of the plugin's file or directory, or else the only plugin whose
   * hooks fit.
   */
  plugin?: string;
  /** Which of its configurations, if the trace has calls of several: 1 for the first that was called. */
  use?: number;
  /**
   * Replacements for masked (`***`) and truncated (`…`) values, by the name of the header, query parameter or shared
   * value: `{ authorization: "Bearer test" }`. Without one the plugin sees `***`.
   */
  values?: Readonly<Record<string, string>>;
  /** False: picks are not compared. A pick that used `random` is never compared. */
  picks?: boolean;
  /** Parts that are not compared: `header x-request-id`, `query`, `shared user`, `body` … */
  ignore?: readonly string[];
}

/** The result of replaying the calls of one plugin. */
export interface Replay {
  /** The plugin's name in the trace. */
  readonly plugin: string;
  readonly calls: readonly ReplayedCall[];
  /** `request_head: header x-tenant: the trace has "a", now "b"`; empty if nothing differs. */
  readonly differences: readonly string[];
  /** Calls that could not be replayed, with the reason: `request_body (step 3): …`. */
  readonly skipped: readonly string[];
  /** Number of values that matched because they are masked or truncated in the trace. */
  readonly masked: number;
}

/** A recorded hook call and its replay. */
export interface ReplayedCall {
  /** Number of the step in the trace, from 1, as printed by `sluice explain`. */
  readonly step: number;
  readonly hook: string;
  /** The call as recorded. */
  readonly trace: TracedCall;
  /** The call as replayed; null if it was skipped or the plugin no longer has the hook. */
  readonly now: TracedCall | null;
  /** Why it was skipped; null if it was not. */
  readonly skipped: string | null;
}

/** A hook call in the form of a trace. */
export interface TracedCall {
  /** `continue`, `respond`, `reject`, `buffer` or `failed`; for `pick` the index of the endpoint. */
  readonly result: string;
  /** The failure, or null. */
  readonly failure: { readonly reason: string; readonly message: string } | null;
  /** Changes, including the local response. */
  readonly edits: readonly Edit[];
  /** Values shared with other plugins. */
  readonly shared: readonly (readonly [name: string, value: string])[];
  /** The selected cluster and strategy. */
  readonly cluster: string | null;
  readonly strategy: string | null;
  /** Address of the picked endpoint. */
  readonly choice: string | null;
  /** The body chunk: sizes before and after the hook in bytes, and both as text if the trace has them. */
  readonly body: {
    readonly before: number;
    readonly after: number;
    readonly last: boolean;
    readonly seen?: string;
    readonly passed?: string;
  } | null;
  /** Fuel, in units. */
  readonly fuel: number;
  /** Duration in microseconds. */
  readonly took: number;
  /** Number of host calls by name. */
  readonly calls: Readonly<Record<string, number>>;
  readonly log: readonly { readonly level: string; readonly text: string }[];
}

/** The entries of a key-value namespace, for the test to read and write. */
export interface TestNamespace {
  /** The value as UTF-8, a counter as decimal digits; null if there is none. */
  get(key: string): string | null;
  /** Sets a value. `ttl` is in milliseconds; 0, the default, means no expiry. */
  set(key: string, value: string | Uint8Array, ttl?: number): void;
  delete(key: string): void;
  /** All keys, sorted. */
  keys(): string[];
}

/**
 * A loaded plugin. Each method calls one hook, and throws a PluginFailure if the plugin fails. After a failure the next
 * call gets a new guest.
 *
 * Methods that end in `Async` also support asynchronous host calls (`sleep`, `Fetch`); call one at a time. Their time
 * passes at once, only the plugin's clock advances.
 */
export interface Guest {
  /** Names of the exported hooks in the ABI: `request_head`, `pick` … */
  readonly hooks: readonly string[];
  /** Calls `onRequest`. */
  request(request?: RequestInit): RequestResult;
  requestAsync(request?: RequestInit): Promise<RequestResult>;
  /** Calls `route`; `cluster` of the result is null if it passes to the next route. */
  route(request?: RequestInit): RequestResult;
  /** Calls `onResponse` for a request, or for that of an earlier result, whose exchange it continues. */
  response(response?: ResponseInit, request?: RequestInit | RequestResult): ResponseResult;
  responseAsync(response?: ResponseInit, request?: RequestInit | RequestResult): Promise<ResponseResult>;
  /** Calls `onRequestBody` for one chunk, or for the whole body if the plugin buffers it. */
  requestBody(chunk: string | Uint8Array, options?: BodyOptions): BodyResult;
  requestBodyAsync(chunk: string | Uint8Array, options?: BodyOptions): Promise<BodyResult>;
  /** Calls `onResponseBody`, likewise. */
  responseBody(chunk: string | Uint8Array, options?: BodyOptions): BodyResult;
  responseBodyAsync(chunk: string | Uint8Array, options?: BodyOptions): Promise<BodyResult>;
  /** Calls `onRequestTrailers`. */
  requestTrailers(trailers: HeadersInit, request?: RequestInit | RequestResult): TrailersResult;
  /** Calls `onResponseTrailers`. */
  responseTrailers(
    trailers: HeadersInit,
    options?: { request?: RequestInit | RequestResult; response?: ResponseInit },
  ): TrailersResult;
  /** Calls `onLog`. */
  log(response?: ResponseInit, request?: RequestInit | RequestResult): Cost;
  /** Calls `update` with a new list of endpoints. */
  update(endpoints: readonly (string | EndpointInit)[]): Cost;
  /** Calls `pick` with the endpoints of the last `update` except those in `without`, as in a retry. */
  pick(options?: { request?: RequestInit | RequestResult; without?: readonly string[] }): PickResult;
  /** Calls `onOutcome` for an attempt at one of the endpoints. `latency` is in microseconds; status 0: no response. */
  outcome(
    attempt: { endpoint: string; latency?: number; status?: number; failed?: boolean },
    request?: RequestInit | RequestResult,
  ): Cost;
  /** Calls `onConnection`. */
  connection(connection?: ConnectionInit): ConnectionResult;
  connectionAsync(connection?: ConnectionInit): Promise<ConnectionResult>;
  /** Calls `onHealthCheck`. The option `fetch` responds to subrequests to `endpoint/…`. */
  healthCheck(check?: HealthCheckInit): HealthCheckResult;
  healthCheckAsync(check?: HealthCheckInit): Promise<HealthCheckResult>;
  /** Calls `onTick` immediately, independent of the interval. */
  tick(): Cost;
  tickAsync(): Promise<Cost>;
  /** Calls `onSave`. */
  save(): SaveResult;
  /** Calls `onRestore` with the state saved by another guest: `next.restore(guest.save().state)`. */
  restore(state: Uint8Array): Cost;
  /**
   * Replays the plugin's calls in a trace, each with the messages as recorded, and compares the results: result, edits,
   * cluster, strategy, pick, shared values, body, failure. Time, fuel, host calls and log lines are reported, but not
   * compared. `trace` is the output of `sluice explain --json` or `GET /api/v1/traces/{id}`, or the path of such a file.
   *
   * The clock is that of the trace, unless the option `now` is set. State of earlier requests (globals, key-value entries)
   * is not in a trace: create it by calls before the replay.
   *
   * Rejects with a TypeError if it is not a trace or of another format version.
   */
  replay(trace: string | URL | object, options?: ReplayOptions): Promise<Replay>;
  /** The value of a metric of the plugin, summed over all series with these labels; for a histogram use `NAME_count` or `NAME_sum`. */
  metric(name: string, labels?: Readonly<Record<string, string>>): number;
  /** The entries of a namespace in `allow.kv`. */
  kv(namespace: string): TestNamespace;
}

/** A failure of a plugin. Its `stack` starts with the plugin's own lines. */
export class PluginFailure extends Error {
  /** The hook's name in the ABI. */
  readonly hook: string;
  /** As in `sluice_plugin_failures_total`: `trap`, `abort`, `fuel`, `memory`, `stack`, `bad_result`, … */
  readonly reason: string;
  /** The plugin's stack, one `function (file:line:col)` per line. */
  readonly frames: string;
}
