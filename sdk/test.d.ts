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
  /** The clusters that exist. A plugin that looks for another is refused, as when a configuration is loaded. */
  clusters?: readonly string[];
  /** The names of the strategies that exist. */
  strategies?: readonly string[];
  /**
   * What `allow` says: clusters that it may choose (without it: any), header names that do not exist for it, and
   * key-value namespaces. A loaded plugin has a store of its own, empty at first.
   */
  allow?: { clusters?: readonly string[]; headers?: { hide?: readonly string[] }; kv?: readonly string[] };
  /** What `limits` says: units of fuel for one hook call, bytes of memory. */
  limits?: { fuel?: number; memory?: number };
  /** The time, in milliseconds since 1970; the real one without it. */
  now?: () => number;
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
  /** Whole, or a path: `http://localhost/` without it. */
  url?: string;
  headers?: HeadersInit;
  /** The client's address; `192.0.2.1` without it. */
  client?: string;
  /** The name of the rule that matched, for hooks after that. */
  route?: string;
  /** The listener's name; `test` without it. */
  listener?: string;
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
  /** Lines that it wrote to the log. */
  readonly log: readonly { readonly level: "debug" | "info" | "warn" | "error"; readonly text: string }[];
}

/** One thing that a hook changed. `what` is `header x-a`, or `method`, `path`, `query`, `authority`, `status`. */
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

/** A plugin that runs. Each call of a hook throws PluginFailure when the plugin fails; the next one has a new guest. */
export interface Guest {
  /** The hooks that it exports, by their names in the ABI. */
  readonly hooks: readonly string[];
  /** `onRequest`. */
  request(request?: RequestInit): RequestResult;
  /** `route`; `cluster` of the result is null when it passes to the next rule. */
  route(request?: RequestInit): RequestResult;
  /** `onResponse`: for the request that was the first argument of `request`, or for the one of a result. */
  response(response?: ResponseInit, request?: RequestInit | RequestResult): ResponseResult;
  /** `onRequestBody`, for one piece; for all of it where the plugin holds the head back. */
  requestBody(piece: string | Uint8Array, options?: BodyOptions): BodyResult;
  /** `onResponseBody`, the same. */
  responseBody(piece: string | Uint8Array, options?: BodyOptions): BodyResult;
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
  /** `onTick`, at once, whatever the interval. */
  tick(): Cost;
  /** `onSave`. */
  save(): SaveResult;
  /** `onRestore`, with what another guest has saved: `next.restore(guest.save().state)`. */
  restore(state: Uint8Array): Cost;
}

/** How a plugin failed. Its `stack` begins with the plugin's own lines. */
export class PluginFailure extends Error {
  readonly hook: string;
  /** As in `sluice_plugin_failures_total`: `trap`, `abort`, `fuel`, `memory`, `stack`, `bad_result`, … */
  readonly reason: string;
  /** The plugin's stack, one `function (file:line:col)` a line. */
  readonly frames: string;
}
