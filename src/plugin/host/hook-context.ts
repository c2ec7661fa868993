/**
 * The object that a hook is called for, as host calls read and change it. Implemented by the exchange (`proxy/`), and by
 * contexts without a request for connections and health checks (`bare-context.ts`). ABIs access requests only through
 * this interface, so that all ABIs show the same request.
 */
import { HOOK } from "../../abi/abi.ts";
import type { Head } from "../../http/head.ts";
import type { Scheme } from "../../http/protocol.ts";
import type { Proxied } from "../../net/proxy-protocol.ts";
import type { TlsClientOptions } from "../../net/tls-client.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import type { ExchangeValue } from "../abi/exchange-value.ts";
import type { ExchangeMemory } from "../abi/host-memory.ts";

/** The context of a hook call. Hooks such as `configure`, `update` and `tick` have none. */
export interface HookContext {
  /** The `exchange` argument of hooks, unique among the current contexts of the worker; never 0. */
  readonly id: number;
  /** The request and its response; null for a connection and a health check. */
  readonly exchange: ExchangeContext | null;
  /** Called when a suspended call has completed; null if calls cannot be suspended. */
  caller: HookCaller | null;
  /** Attributes; empty if absent. */
  readonly clientAddress: string;
  readonly listenerName: string;
  /** Of the client's connection; null without a PROXY protocol header. */
  readonly proxied: Proxied | null;
  readonly clusterName: string;
  /** The endpoint tried last, or under check. */
  readonly endpoint: EndpointTarget | null;
  /** The request is a subrequest of a plugin. */
  readonly isSubrequest: boolean;
  /** The deadline of a health check, as performance.now(); 0: none. */
  readonly deadline: number;
  readonly trace: HookTrace | null;

  /** Index into the plan's clusters that a plugin chose, or -1. */
  chosenCluster: number;
  /** The plugin that responded, rejected or failed; empty: none. */
  respondedBy: string;
  /** Values of `exchange_set` by `${plugin}\0${key}`, and of `shared_set` by `\0${name}`. */
  values: Map<string, ExchangeValue> | null;
  /** The memory that the host uses for the plugins of this context, by configuration; null: almost none. */
  pluginMemory: ExchangeMemory[] | null;
  /** Instances whose remaining hooks are skipped (`onFailure: skip`), by index. */
  skipped: Set<number> | null;
  /** The version of a plugin chosen for it, by the number of the canary rollout. */
  canaryChoices: Map<number, VersionChoice> | null;

  /** A call of that hook was suspended. The context cancels it if it ends before the call. */
  suspend(hook: number, call: Suspension): void;
}

/** One request and its response. */
export interface ExchangeContext extends HookContext {
  readonly request: Head;
  /** The current response: of the endpoint, or a local one. */
  readonly response: Head;
  /** Bytes of both message heads as they were received. */
  readonly headBytes: number;
  requestTrailers: Head | null;
  responseTrailers: Head | null;
  /** The connection's, or the one reported by a trusted proxy. */
  readonly scheme: Scheme;
  /** Of the client's connection; null for a plain one. */
  readonly tls: TlsFacts | null;
  /** `request.parts` as the client sent them. */
  readonly original: Uint32Array;
  readonly routeName: string;
  /** Number of attempts that were started. */
  readonly attempts: number;
  readonly error: { readonly code: string } | null;
  /** The last attempt. */
  readonly attempt: AttemptContext;
  /** performance.now() at the first byte of the request. */
  readonly startedAt: number;
  readonly headSent: boolean;
  readonly bytesReceived: number;
  readonly bytesSent: number;

  /** The bodies, where plugins filter or buffer them. */
  readonly requestBody: BodyContext | null;
  readonly responseBody: BodyContext | null;

  /** Index into the plan's strategy names that a plugin chose, or -1. */
  chosenStrategy: number;
  /** The local response: its status (0: none) and body; its headers are `response`. */
  localStatus: number;
  localBody: Buffer | null;
  /** Fields that plugins add to the request's access log entry. */
  logFields: Map<string, string> | null;

  /** Number of header names owned by plugins (`header_own`). */
  readonly owned: number;
  /** Owns a header name; returns the number of removed headers. */
  ownHeader(name: Uint8Array, start: number, end: number): number;
  /** Keeps only the first `count` owned names. */
  disown(count: number): void;
}

/** An attempt to get a response from an endpoint. */
export interface AttemptContext {
  /** Microseconds to the response head or the failure. */
  readonly latency: number;
  /** 0 without a response head. */
  readonly status: number;
  readonly failed: boolean;
  /** performance.now() at the response head; 0: none yet. */
  readonly respondedAt: number;
}

/** The body of one direction. */
export interface BodyContext {
  /** What body hooks process. */
  readonly chunk: BodyChunk;
  /** The head is buffered until the body is complete: a body hook may still change it. */
  readonly buffered: boolean;
}

/** The chunk that a body hook processes; null for other hooks. */
export function chunkOf(hook: number, exchange: ExchangeContext | null): BodyChunk | null {
  if (exchange === null) return null;
  const body =
    hook === HOOK.request_body ? exchange.requestBody : hook === HOOK.response_body ? exchange.responseBody : null;
  return body === null ? null : body.chunk;
}

/** A body chunk as a body hook processes it. */
export interface BodyChunk {
  /** The input is `bytes[start, end)`. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** The chunk ends the body. */
  readonly last: boolean;
  /** The current output: the input, or its replacement; and its size. */
  readonly made: Buffer;
  readonly size: number;
  /** Replaces the output. The chunk owns the bytes from now on. */
  replace(bytes: Buffer): void;
  /** Appends a copy to the output. */
  append(bytes: Buffer, start: number, end: number): void;
  /** Reverts the changes of the current hook. */
  reject(): void;
}

export interface EndpointTarget {
  readonly address: string;
  readonly host: string;
  readonly port: number;
  /** Path of a Unix socket; empty for TCP. */
  readonly path: string;
  /** Its row in the shared columns; unchanged by reloads. */
  readonly slot: number;
  /** TLS of its cluster; null: plain. */
  readonly tls: TlsClientOptions | null;
  /** The PROXY protocol header of connections that are not a client's; null: none. */
  readonly proxyHeader: Buffer | null;
}

/** The endpoints that a strategy chooses from. */
export interface EndpointList {
  readonly count: number;
  /** The endpoints are the first `count` entries. */
  readonly list: readonly { readonly address: string; readonly zone: string }[];
  /** The value of a COLUMN for the endpoint at `index`; both must be in range. */
  value(index: number, column: number): number;
  /** Copies a column, one value per endpoint. */
  read(column: number, target: Int32Array): void;
  /** Returns an immutable copy. */
  clone(): EndpointList;
}

/** The version of a plugin that a context uses during a canary rollout, for all hooks and configurations. */
export type VersionChoice = { readonly isCanary: boolean; failed: boolean };

export interface HookCaller {
  /** The suspended call of that hook has completed; `outcome`: one of OUTCOME. */
  resume(hook: number, context: HookContext, outcome: number): void;
}

/** A suspended call. */
export interface Suspension {
  /** Cancels the call; `resume` is not called. */
  cancel(): void;
}

/** Records the calls of hooks. */
export interface HookTrace {
  enter(context: HookContext, hook: number, instance: { readonly plugin: string; readonly index: number }): TracedHook;
  /** The last call of that plugin's hook failed. */
  failed(hook: number, plugin: string, failure: { readonly reason: string; readonly message: string }): void;
  /** A call was not made: the plugin is in quarantine, or the client is blocked. */
  refused(hook: number, plugin: string): void;
}

/** Records the host calls of a traced hook call. */
export interface CallRecorder {
  /** Asynchronous host calls complete at once without effect. */
  readonly instant: boolean;
  count(hostCall: string): void;
  log(level: string, text: string): void;
}

export interface TracedHook extends CallRecorder {
  /** The call has ended; `result` is null if it failed. */
  leave(context: HookContext, result: number | null, fuel: number): void;
}
