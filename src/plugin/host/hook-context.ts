/**
 * What host calls may ask for and change while a hook runs. The plugin host owns this interface; the exchange of `proxy/`
 * implements it, and small contexts of a connection, a health check and a tick do (`bare-context.ts`), which have no
 * request. An ABI reads and changes nothing but this, so that every ABI sees the same request.
 */
import type { Head } from "../../http/head.ts";
import type { Scheme } from "../../http/protocol.ts";
import type { ExchangeValue } from "../abi/exchange-value.ts";
import type { Kept } from "../abi/host-memory.ts";

/** What a hook is called for. Hooks that are called for nothing in particular (`configure`, `update` …) have none. */
export interface HookContext {
  /** The `exchange` argument of hooks: no other context of this worker has it at the same time. 0: there is none. */
  readonly id: number;
  /** The request and its response; null for a connection, a check and a tick. */
  readonly exchange: ExchangeContext | null;
  /** Continues when a suspended call has completed; null where none can be suspended. */
  caller: HookCaller | null;
  /** Attributes; empty or null where there is none. */
  readonly clientAddress: string;
  readonly listenerName: string;
  readonly clusterName: string;
  /** The endpoint tried last, or under check. */
  readonly endpoint: EndpointTarget | null;
  /** The request is a plugin's own: its failures are charged to no client. */
  readonly isSubrequest: boolean;
  /** When the time for it is over, as performance.now(); 0: never. */
  readonly deadline: number;
  readonly trace: HookTrace | null;

  /** Index into the plan's clusters that a plugin chose, or -1. */
  chosenCluster: number;
  /** The plugin that responded, rejected or failed; empty where none did. */
  respondedBy: string;
  /** Values that plugins keep from hook to hook, by plugin and key: `${plugin}\0${key}`. */
  values: Map<string, ExchangeValue> | null;
  /** What the host keeps for its plugins, by configuration; null: hardly anything. */
  kept: Kept[] | null;
  /** Instances whose remaining hooks are skipped (`onFailure: skip`), by index. */
  skipped: Set<number> | null;
  /** The version of a plugin chosen for it, by the number of the canary rollout. */
  canaryChoices: Map<number, VersionChoice> | null;

  /** A call of that hook is suspended: what is to be cancelled if the context ends before it. */
  suspend(hook: number, call: Suspension): void;
}

/** One request and its response. */
export interface ExchangeContext extends HookContext {
  readonly request: Head;
  /** The present response: the endpoint's, or a local one. */
  readonly response: Head;
  /** Bytes of both message heads as they were received. */
  readonly headBytes: number;
  requestTrailers: Head | null;
  responseTrailers: Head | null;
  /** The connection's, or what a trusted proxy says. */
  readonly scheme: Scheme;
  /** `request.parts` as the client sent them. */
  readonly original: Uint32Array;
  readonly routeName: string;
  /** Attempts begun. */
  readonly attempts: number;
  readonly error: { readonly code: string } | null;
  /** The last attempt: microseconds to the response headers or the failure, the status or 0, and whether it failed. */
  readonly attemptLatency: number;
  readonly attemptStatus: number;
  readonly attemptFailed: boolean;
  /** performance.now() at the first byte of the request, and at the response headers (0: none yet). */
  readonly startedAt: number;
  readonly respondedAt: number;
  readonly headSent: boolean;
  readonly bytesReceived: number;
  readonly bytesSent: number;

  /** The chunks that body hooks see. */
  readonly requestChunk: BodyChunk | null;
  readonly responseChunk: BodyChunk | null;
  /** The headers are held back until the body is complete: a body hook may still change them. */
  readonly requestBuffered: boolean;
  readonly responseBuffered: boolean;

  /** Index into the plan's strategy names that a plugin chose, or -1. */
  chosenStrategy: number;
  /** A local response: its status, 0 where there is none, and its body; its headers are `response`. */
  localStatus: number;
  localBody: Buffer | null;
  /** Fields that plugins add to the line of the access log. */
  logFields: Map<string, string> | null;

  /** Header names that plugins own; see `header_own`. */
  readonly owned: number;
  /** Returns how many fields of that name were removed. */
  ownHeader(name: Uint8Array, start: number, end: number): number;
  /** Owns no more than the first so many names again. */
  disown(count: number): void;
}

/** A chunk of a body on its way through the plugins of a chain. */
export interface BodyChunk {
  /** What the plugin sees is `bytes[start, end)`. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** Nothing follows. */
  readonly last: boolean;
  /** The bytes that would pass on now, and how many they are. */
  readonly made: Buffer;
  readonly size: number;
  /** Passes these on in place of the chunk; they belong to the chunk from now on. */
  replace(bytes: Buffer): void;
  /** Passes these on after the others. */
  append(bytes: Buffer, start: number, end: number): void;
  /** Drops what the present plugin made of it. */
  reject(): void;
}

export interface EndpointTarget {
  readonly address: string;
  readonly host: string;
  readonly port: number;
  /** Of a Unix socket; empty for TCP. */
  readonly path: string;
  /** A number that outlives reloads: its row in the shared columns. */
  readonly slot: number;
}

/** The endpoints that a strategy chooses from. */
export interface EndpointList {
  readonly count: number;
  /** The first `count` of them. */
  readonly list: readonly { readonly address: string; readonly zone: string }[];
  /** The value of one of COLUMN for the endpoint at `index`, which the caller has checked. */
  value(index: number, column: number): number;
  /** The values of a column, one for each endpoint. */
  read(column: number, target: Int32Array): void;
  /** The same endpoints, as a list that does not change. */
  clone(): EndpointList;
}

/** Which of two versions of a plugin a context has, for all hooks of all configurations of the plugin. */
export type VersionChoice = { readonly isCanary: boolean; failed: boolean };

export interface HookCaller {
  /** The suspended call of that hook has completed: one of OUTCOME. */
  resume(hook: number, context: HookContext, outcome: number): void;
}

/** A call of a plugin that is suspended. */
export interface Suspension {
  /** The context has no more use for it. */
  cancel(): void;
}

/** Records the calls of hooks. */
export interface HookTrace {
  enter(context: HookContext, hook: number, instance: { readonly plugin: string; readonly index: number }): TracedHook;
  /** The last call of that plugin's hook failed. */
  failed(hook: number, plugin: string, failure: { readonly reason: string; readonly message: string }): void;
  /** It was not made, since the plugin is in quarantine. */
  refused(hook: number, plugin: string): void;
}

/** What a traced call is told while it runs. */
export interface CallRecorder {
  /** Asynchronous host calls complete at once, and do nothing. */
  readonly instant: boolean;
  count(hostCall: string): void;
  log(level: string, text: string): void;
}

export interface TracedHook extends CallRecorder {
  /** The call has ended; `result` is null where it failed. */
  leave(context: HookContext, result: number | null, fuel: number): void;
}
