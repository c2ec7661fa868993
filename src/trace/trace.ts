/** Records the steps of one traced request (`Exchange.trace`). Other requests have none and pay for a null check. */
import { isUtf8 } from "node:buffer";
import { HOOK, HOOKS } from "../abi/abi.ts";
import { PART } from "../http/head.ts";
import { VERSION, VERSION_NUMBERS } from "../http/protocol.ts";
import type { HookContext } from "../plugin/host/hook-context.ts";
import type { Exchange } from "../proxy/exchange.ts";
import type { ExchangeTrace, TracedAttempt } from "../proxy/exchange-trace.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import type { Mask } from "./mask.ts";
import {
  type Change,
  CUT,
  type FieldList,
  type HookStep,
  MAX_LISTED,
  MAX_STEPS,
  type Step,
  TRACE_VERSION,
  type TracedRoute,
  type TraceRecord,
} from "./record.ts";
import { applyChanges, captureState, compare, listFields, type MessageState } from "./snapshot-diff.ts";
import { emptyStep, TracedCall } from "./traced-call.ts";

/** Most characters of one trace, of one value, and of a body chunk. */
const MAX_TEXT = 128 * 1024;
const MAX_VALUE = 2048;
const MAX_CHUNK = 4096;

const ID_HEADER = Buffer.from("x-sluice-trace");
const CONNECTION = HOOKS[HOOK.connection]!;

export type TraceInit = {
  readonly id: string;
  readonly why: TraceRecord["why"];
  readonly mask: Mask;
  /** Nothing of the request is sent: its bodies may be recorded, and all that was considered. */
  readonly isDryRun?: boolean;
  /** Whether asynchronous host calls complete at once. */
  readonly instant?: boolean;
  /** The status of responses to subrequests, if they are not sent. */
  readonly fetchStatus?: number;
  /** Receives the record when the exchange ends. */
  readonly ended?: (record: TraceRecord) => void;
  /** Names of clusters and strategies, for an exchange that has no listener. */
  readonly names?: Names;
};

export type Names = { readonly clusters: readonly string[]; readonly strategies: readonly string[] };

export class Trace implements ExchangeTrace {
  readonly id: string;
  readonly mask: Mask;
  readonly instant: boolean;
  readonly #init: TraceInit;
  readonly #exchange: Exchange;
  readonly #snapshot: Snapshot | null;
  readonly #time = new Date();
  readonly #began = performance.now();
  readonly #steps: Step[] = [];
  #request: TraceRecord["request"];
  #remaining = MAX_TEXT;
  #cut = false;
  readonly #most: number;
  /** Routes evaluated since the last route step. */
  #routes: TracedRoute[] = [];
  /** The messages as of the last recorded change. */
  readonly #recorded: MessageState;
  readonly #unmasked = new WeakMap<HookStep, readonly Change[]>();
  /** By plugin: indexes of its instances, in order of first call. */
  readonly #uses = new Map<string, number[]>();

  constructor(x: Exchange, init: TraceInit) {
    this.id = init.id;
    this.mask = init.mask;
    this.instant = init.instant === true;
    this.#init = init;
    this.#exchange = x;
    this.#snapshot = x.listener?.snapshot ?? null;
    this.#recorded = captureState(x);
    this.#most = init.isDryRun ? Number.POSITIVE_INFINITY : MAX_LISTED;
    const { request } = x;
    const [path, query] = [request.partText(PART.path), request.partText(PART.query)];
    this.#request = {
      method: request.partText(PART.method),
      ...(x.scheme === "http" ? {} : { scheme: x.scheme }),
      ...(request.version === VERSION.http11 ? {} : { protocol: VERSION_NUMBERS[request.version]! }),
      authority: this.text(request.partText(PART.authority)),
      target: this.text(query === "" ? path : `${path}?${this.mask.query(query)}`),
      headers: this.#fields(listFields(request)),
    };
  }

  /** Microseconds since the request head was received. */
  now(): number {
    return Math.round((performance.now() - this.#began) * 1000);
  }

  /** Truncates a text to the limits of a value and of the trace. */
  text(text: string): string {
    const length = Math.min(text.length, MAX_VALUE, this.#remaining);
    this.#remaining -= length;
    if (length === text.length) return text;
    this.#cut = true;
    return `${text.slice(0, length)}${CUT}`;
  }

  // ── Plugins ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Records the start of a hook call; the caller reports its end to the returned object. */
  enter(context: HookContext, hook: number, { plugin, index }: { plugin: string; index: number }): TracedCall {
    const { exchange } = context;
    const before: MessageState = exchange === null ? new Map() : captureState(exchange);
    const received = exchange === null ? [] : compare(this.#recorded, before);
    if (received.length > 0) {
      applyChanges(this.#recorded, received);
      this.#push({ step: "received", at: this.now(), edits: this.#mask(received) });
    }
    const call = new TracedCall(this, { context, hook, plugin, before, use: this.#useOf(plugin, index) });
    this.#push(call.entry);
    return call;
  }

  /** Records the changes of a hook; returns them masked. */
  changed(entry: HookStep, changes: readonly Change[]): Change[] {
    this.#unmasked.set(entry, changes);
    applyChanges(this.#recorded, changes);
    return this.#mask(changes);
  }

  /** The plugin's last call of that hook failed and its changes were discarded. `reason`: the metric label. */
  failed(hook: number, plugin: string, failure: { readonly reason: string; readonly message: string }): void {
    const entry = this.#steps.findLast(
      (step) => step.step === "hook" && step.hook === HOOKS[hook] && step.plugin === plugin,
    ) as HookStep | undefined;
    if (entry === undefined) return;
    applyChanges(this.#recorded, this.#unmasked.get(entry) ?? [], true);
    entry.result = "failed";
    entry.failure = { reason: failure.reason, message: this.text(failure.message) };
    entry.edits = [];
    delete entry.cluster;
    delete entry.strategy;
    delete entry.shared;
  }

  /** The hook was not called: its plugin is in quarantine. */
  refused(hook: number, plugin: string): void {
    this.#push({ ...emptyStep(this.now(), hook, plugin), result: "quarantined" });
  }

  #mask(found: readonly Change[]): Change[] {
    const changes: Change[] = [];
    for (const { of, what, before, after } of found) {
      if (this.#remaining <= 0) {
        this.#cut = true;
        changes.push({ of, what: CUT, before: [], after: [] });
        break;
      }
      const name = what.slice(what.indexOf(" ") + 1);
      const show = (value: string) =>
        this.text(what === "query" ? this.mask.query(value) : this.mask.value(name, value));
      changes.push({ of, what: this.text(what), before: before.map(show), after: after.map(show) });
    }
    return changes;
  }

  /** Masks values that a hook has shared. */
  shared(values: FieldList): FieldList {
    return this.#fields(values);
  }

  /** A dry run's body chunk as text; undefined for live traffic, or if it is not UTF-8 or too long. */
  chunkText(bytes: Buffer): string | undefined {
    if (!this.#init.isDryRun || bytes.length > Math.min(MAX_CHUNK, this.#remaining) || !isUtf8(bytes)) return undefined;
    this.#remaining -= bytes.length;
    return bytes.toString("utf8");
  }

  clusterNamed(index: number): string {
    return this.#init.names?.clusters[index] ?? this.#snapshot?.clusters[index]?.plan.name ?? "";
  }

  strategyNamed(index: number): string {
    return this.#init.names?.strategies[index] ?? this.#snapshot?.strategyNames[index] ?? "";
  }

  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** A chain may contain a plugin several times, once per configuration: 1 for the first that was called. */
  #useOf(plugin: string, index: number): number {
    const known = this.#uses.get(plugin) ?? [];
    if (!known.includes(index)) this.#uses.set(plugin, [...known, index]);
    const place = known.indexOf(index);
    return place < 0 ? known.length + 1 : place + 1;
  }

  // ── Decisions ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** The routes in `[from, to)` do not match; `to` does. -1: no route from `from` on matches. */
  routesEvaluated(from: number, to: number): void {
    const x = this.#exchange;
    const { router, routes } = x.listener!;
    const end = to < 0 ? routes.length : to + 1;
    const first = Math.max(from, end - this.#most);
    if (first > from) this.#cut = true;
    for (let index = first; index < end; index++) {
      const failed = index === to ? "" : router.explain(x, index);
      this.#routes.push({ index, name: routes[index]!.name, failed });
    }
  }

  /** `route`: null if none matches or the path is ambiguous. */
  routed(route: string | null, ambiguous = false): void {
    const routes = this.#routes;
    this.#routes = [];
    this.#push({ step: "route", at: this.now(), route, ...(ambiguous ? { ambiguous } : {}), routes });
  }

  clusterTaken(): void {
    const x = this.#exchange;
    const last = this.#steps.findLast((step) => step.step === "cluster");
    if (last?.step === "cluster" && last.cluster === x.clusterName) return;
    const at = this.now();
    if (x.chosenCluster < 0) {
      const by = x.route!.action.kind === "split" ? "split" : "route";
      this.#push({ step: "cluster", at, cluster: x.clusterName, by });
      return;
    }
    const step = { step: "cluster", at, cluster: x.clusterName, by: "plugin" } as const;
    const chooser = this.#steps.findLast((step) => step.step === "hook" && step.cluster !== undefined) as HookStep;
    if (chooser !== undefined && chooser.hook !== CONNECTION) this.#push({ ...step, plugin: chooser.plugin });
    else if (x.connectionChoice === null) this.#push(step);
    else this.#push({ ...step, plugin: x.connectionChoice.plugin, connection: true });
  }

  picked(strategy: number, endpoint: string | null): void {
    const cluster = this.#exchange.cluster!;
    const candidates = cluster.candidates(this.#exchange);
    if (candidates.length > this.#most) this.#cut = true;
    const last = this.#steps.at(-1);
    const isFromHook = last?.step === "hook" && last.hook === "pick" && /^\d+$/.test(last.result);
    this.#push({
      step: "pick",
      at: this.now(),
      cluster: cluster.plan.name,
      strategy: cluster.plan.strategies[strategy]?.name ?? "",
      endpoint,
      by: endpoint === null ? "none" : isFromHook ? "strategy" : "native",
      candidates: candidates.slice(0, this.#most),
    });
  }

  /** An attempt ended. Called before the strategy's `outcome` hook. */
  attempted(attempt: TracedAttempt, status: number, failed: boolean): void {
    const exchange = this.#exchange;
    const { endpoint, respondedAt, startedAt, reused } = attempt;
    const { error, problem } = attempt.error === null ? exchange : attempt;
    this.#push({
      step: "attempt",
      at: this.now(),
      endpoint: endpoint!.address,
      status,
      failed,
      took: Math.round(((status === 0 ? performance.now() : respondedAt) - startedAt) * 1000),
      reused,
      ...(attempt.version === VERSION.http2 ? { protocol: VERSION_NUMBERS[VERSION.http2] } : {}),
      ...(exchange.upgrade === null ? {} : { upgrade: exchange.upgrade.text.toString("latin1") }),
      ...(error === null || status !== 0 ? {} : { error: error.type, problem: this.text(problem) }),
    });
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Adds the trace's id to the response, if the request carried the debug token. */
  addIdHeader(): void {
    if (this.#init.why === "token") this.#exchange.response.add(ID_HEADER, Buffer.from(this.id), 0);
  }

  finish(): void {
    this.#init.ended?.(this.#record());
  }

  #record(): TraceRecord {
    const x = this.#exchange;
    const { error, response } = x;
    const by = error !== null ? "sluice" : x.localStatus === 0 ? "endpoint" : this.#localBy();
    return {
      ...this.#recordRequest(),
      response: {
        status: response.status,
        by,
        ...(error === null ? {} : { error: error.type, problem: this.text(x.problem) }),
        headers: this.#fields(listFields(response)),
        body: x.bytesSent,
      },
      took: this.now(),
      cut: this.#cut,
    };
  }

  /** The origin of a local response without an error: a plugin, or the proxy for an OPTIONS that reached Max-Forwards 0. */
  #localBy(): "plugin" | "sluice" {
    const responded = this.#steps.some((step) => step.step === "hook" && step.result === "respond");
    return responded || this.#cut ? "plugin" : "sluice";
  }

  /** The record of a connection that was closed before its request was received. */
  recordDenied(problem: string): TraceRecord {
    const response = { status: 0, by: "none", problem, headers: [], body: 0 } as const;
    return { ...this.#recordRequest(), response, took: this.now(), cut: this.#cut };
  }

  #recordRequest(): Omit<TraceRecord, "response" | "took" | "cut"> {
    const x = this.#exchange;
    const { why, fetchStatus } = this.#init;
    return {
      version: TRACE_VERSION,
      id: this.id,
      time: this.#time.toISOString(),
      why,
      configVersion: x.listener!.snapshot.version,
      listener: x.listenerName,
      route: x.routeName,
      cluster: x.clusterName,
      client: x.clientAddress,
      // A route for connections is known only after the request of a dry run.
      request: x.request.version === VERSION.tcp ? { ...this.#request, protocol: "tcp" } : this.#request,
      ...(fetchStatus === undefined ? {} : { fetchStatus }),
      steps: this.#steps,
    };
  }

  #fields(fields: FieldList): FieldList {
    return fields.map(([name, value]) => [this.text(name), this.text(this.mask.value(name, value))] as const);
  }

  #push(step: Step): void {
    if (this.#steps.length < MAX_STEPS) this.#steps.push(step);
    else this.#cut = true;
  }
}
