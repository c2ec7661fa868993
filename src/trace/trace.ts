/**
 * What is told of one request whose way through the corridor is recorded: the steps in their order, as plain data. Only a
 * traced request has one (`Exchange.trace`); all others pay for a test whether it is there.
 */
import { isUtf8 } from "node:buffer";
import { HOOK, HOOKS } from "../abi/abi.ts";
import type { Candidate } from "../cluster/cluster.ts";
import { PART } from "../http/head.ts";
import type { HookContext, HookTrace } from "../plugin/host/hook-context.ts";
import type { Exchange } from "../proxy/exchange.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import type { Mask } from "./mask.ts";
import { applyChanges, type Change, compare, listFields, type Picture, takePicture } from "./snapshot-diff.ts";
import { emptyStep, TracedCall } from "./traced-call.ts";

export type FieldList = readonly (readonly [name: string, value: string])[];

/** One rule that was tried. */
export type TracedRule = {
  readonly rule: number;
  readonly name: string;
  /** The key of `match` that did not hold; empty when all did. */
  readonly failed: string;
};

export type HookStep = {
  readonly step: "hook";
  /** Microseconds since the request's head was there. */
  readonly at: number;
  readonly hook: string;
  readonly plugin: string;
  /** Which of the plugin's configurations: missing for the first that the request met, 2 for the second … */
  readonly use?: number;
  /** Microseconds of the call, with what it waited for. */
  took: number;
  fuel: number;
  /** Host calls by name. */
  calls: Record<string, number>;
  /** What the hook answered: `continue`, `respond` …, the endpoint's place in the list that `pick` saw; `failed`. */
  result: string;
  failure?: { readonly reason: string; readonly message: string };
  edits: readonly Change[];
  /** A cluster or strategy that it chose. */
  cluster?: string;
  strategy?: string;
  /** Values that it shared with other plugins (`shared_set`). */
  shared?: FieldList;
  /** The piece of the body that it saw, and what passed on. */
  body?: TracedPiece;
  log: { readonly level: string; readonly text: string }[];
};

export type TracedPiece = {
  /** Bytes that the hook saw, and that passed on. */
  readonly before: number;
  after: number;
  readonly last: boolean;
  /** Both as text, of a dry run alone, where they are UTF-8 and at most 4 KiB: whoever asks has given the body. */
  readonly seen?: string;
  passed?: string;
};

/** What changed since the hook before without a plugin: an answer came, trailers did, Sluice set a length. */
export type CameStep = {
  readonly step: "came";
  readonly at: number;
  readonly edits: readonly Change[];
};

export type RouteStep = {
  readonly step: "route";
  readonly at: number;
  /** Null: no rule is left, or the path is ambiguous. */
  readonly route: string | null;
  /** Another reading of the path selects something else; the answer's problem says what. */
  readonly ambiguous?: true;
  /** Those tried since the last such step; the last one is the one that was taken. */
  readonly rules: readonly TracedRule[];
};

export type ClusterStep = {
  readonly step: "cluster";
  readonly at: number;
  readonly cluster: string;
  /** What chose it: `rule`, `split`, or `plugin` with its name. */
  readonly by: "rule" | "split" | "plugin";
  readonly plugin?: string;
  /** It chose for the connection, before the request came. */
  readonly connection?: true;
};

export type PickStep = {
  readonly step: "pick";
  readonly at: number;
  readonly cluster: string;
  readonly strategy: string;
  readonly endpoint: string | null;
  /** `native`: the strategy did not answer, so the core chose the least loaded. */
  readonly by: "strategy" | "native" | "nobody";
  readonly candidates: readonly Candidate[];
};

export type AttemptStep = {
  readonly step: "attempt";
  readonly at: number;
  readonly endpoint: string;
  /** 0: there was no answer. */
  readonly status: number;
  readonly failed: boolean;
  /** Microseconds from the pick to the answer's head. */
  readonly took: number;
  /** On a connection that had served before. */
  readonly reused: boolean;
  readonly error?: string;
  readonly problem?: string;
};

export type Step = HookStep | CameStep | RouteStep | ClusterStep | PickStep | AttemptStep;

export type TraceRecord = {
  readonly id: string;
  /** When the request's head was there, in ISO 8601. */
  readonly time: string;
  /** Why it was recorded. */
  readonly why: "token" | "sample" | "explain";
  readonly version: number;
  readonly listener: string;
  readonly route: string;
  readonly cluster: string;
  readonly client: string;
  readonly request: {
    readonly method: string;
    /** Where the client named it. */
    readonly scheme?: string;
    /** Where it is not `1.1`. */
    readonly protocol?: "1.0";
    readonly authority: string;
    readonly target: string;
    readonly headers: FieldList;
  };
  /** The status that answered what plugins asked, where none of it was sent. */
  readonly fetchAnswer?: number;
  readonly steps: readonly Step[];
  readonly answer: {
    readonly status: number;
    /** `nobody`: the connection was closed, so there is none, and the status is 0. */
    readonly by: "endpoint" | "plugin" | "sluice" | "nobody";
    readonly error?: string;
    readonly problem?: string;
    readonly headers: FieldList;
    readonly body: number;
  };
  /** Microseconds from the request's head to the end. */
  readonly took: number;
  /** It was too long: values are cut, or steps are missing. */
  readonly cut: boolean;
};

/** Steps and characters of one trace, of one value, and of a piece of a body. */
export const MAX_STEPS = 300;
const MAX_TEXT = 128 * 1024;
const MAX_VALUE = 2048;
const MAX_PIECE = 4096;
/** At the end of a value that was cut. No byte of a head is this character. */
export const CUT = "…";
/** Rules and endpoints of one step, where the thread has others to serve. */
export const MAX_LISTED = 200;

const TELLS = Buffer.from("x-sluice-trace");
const CONNECTION = HOOKS[HOOK.connection]!;

export type TraceInit = {
  readonly id: string;
  readonly why: TraceRecord["why"];
  readonly mask: Mask;
  /** The request is only tried: what stands for the endpoint's answer; null for a real one. */
  readonly dry?: DryAnswer | null;
  /** Whether calls that wait are answered at once. */
  readonly instant?: boolean;
  /** The status that answers what plugins ask, where it is not sent. */
  readonly fetchAnswer?: number;
  /** How clusters and strategies are called, of an exchange that has no listener. */
  readonly names?: Names;
};

export type Names = { readonly clusters: readonly string[]; readonly strategies: readonly string[] };

/** Stands for an endpoint when nothing is sent. */
export interface DryAnswer {
  /** Makes `x.response`, and the body, what an endpoint could have answered. */
  answer(x: Exchange): void;
}

export class Trace implements HookTrace {
  readonly id: string;
  readonly mask: Mask;
  readonly dry: DryAnswer | null;
  readonly instant: boolean;
  readonly #why: TraceRecord["why"];
  readonly #fetchAnswer: number | null;
  readonly #names: Names | null;
  readonly #snapshot: Snapshot | null;
  readonly #time = new Date();
  readonly #began = performance.now();
  readonly #steps: Step[] = [];
  #request: TraceRecord["request"];
  #room = MAX_TEXT;
  #cut = false;
  readonly #most: number;
  /** Rules since the last route step. */
  #rules: TracedRule[] = [];
  /** The exchange as the request, the hooks and what came between them have made it, as far as it is told. */
  readonly #seen: Picture;
  readonly #own = new WeakMap<HookStep, readonly Change[]>();
  /** By plugin: its instances that were called, in the order in which they first were. */
  readonly #uses = new Map<string, number[]>();

  constructor(x: Exchange, init: TraceInit) {
    const { id, why, mask, dry = null, instant = false, fetchAnswer = null, names = null } = init;
    this.id = id;
    this.mask = mask;
    this.dry = dry;
    this.instant = instant;
    this.#why = why;
    this.#fetchAnswer = fetchAnswer;
    this.#names = names;
    this.#snapshot = x.listener?.snapshot ?? null;
    this.#seen = takePicture(x);
    this.#most = dry === null ? MAX_LISTED : Number.POSITIVE_INFINITY;
    const { request } = x;
    const [path, query] = [request.partText(PART.path), request.partText(PART.query)];
    const scheme = request.partText(PART.scheme);
    this.#request = {
      method: request.partText(PART.method),
      ...(scheme === "" ? {} : { scheme }),
      ...(request.minor === 0 ? { protocol: "1.0" } : {}),
      authority: this.text(request.partText(PART.authority)),
      target: this.text(query === "" ? path : `${path}?${mask.query(query)}`),
      headers: this.#fields(listFields(request)),
    };
  }

  /** Microseconds since it began. */
  now(): number {
    return Math.round((performance.now() - this.#began) * 1000);
  }

  /** As much of a text as there is room for. */
  text(text: string): string {
    const length = Math.min(text.length, MAX_VALUE, this.#room);
    this.#room -= length;
    if (length === text.length) return text;
    this.#cut = true;
    return `${text.slice(0, length)}${CUT}`;
  }

  // ── Plugins ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** A hook of that instance is called; what it returns is told what comes of it. */
  enter(context: HookContext, hook: number, { plugin, index }: { plugin: string; index: number }): TracedCall {
    const { exchange } = context;
    const before: Picture = exchange === null ? new Map() : takePicture(exchange);
    const came = exchange === null ? [] : compare(this.#seen, before);
    if (came.length > 0) {
      applyChanges(this.#seen, came);
      this.#push({ step: "came", at: this.now(), edits: this.#show(came) });
    }
    const call = new TracedCall(this, { context, hook, plugin, before, use: this.#useOf(plugin, index) });
    this.#push(call.entry);
    return call;
  }

  /** The hook has changed that: how it is told. */
  changed(entry: HookStep, changes: readonly Change[]): Change[] {
    this.#own.set(entry, changes);
    applyChanges(this.#seen, changes);
    return this.#show(changes);
  }

  /** The last call of that plugin's hook failed: what it changed is dropped. `reason`: as metrics have it. */
  failed(hook: number, plugin: string, failure: { readonly reason: string; readonly message: string }): void {
    const entry = this.#steps.findLast(
      (step) => step.step === "hook" && step.hook === HOOKS[hook] && step.plugin === plugin,
    ) as HookStep | undefined;
    if (entry === undefined) return;
    applyChanges(this.#seen, this.#own.get(entry) ?? [], true);
    entry.result = "failed";
    entry.failure = { reason: failure.reason, message: this.text(failure.message) };
    entry.edits = [];
    delete entry.cluster;
    delete entry.strategy;
    delete entry.shared;
  }

  /** It is not called, for it has failed too often. */
  refused(hook: number, plugin: string): void {
    this.#push({ ...emptyStep(this.now(), hook, plugin), result: "quarantined" });
  }

  #show(found: readonly Change[]): Change[] {
    const changes: Change[] = [];
    for (const { of, what, before, after } of found) {
      if (this.#room <= 0) {
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

  /** Values that a hook has shared: how they are told. */
  shared(values: FieldList): FieldList {
    return this.#fields(values);
  }

  /** A piece of a body of a dry run, if it is a short text and there is room for it. */
  piece(bytes: Buffer): string | undefined {
    if (this.dry === null || bytes.length > Math.min(MAX_PIECE, this.#room) || !isUtf8(bytes)) return undefined;
    this.#room -= bytes.length;
    return bytes.toString("utf8");
  }

  clusterNamed(index: number): string {
    return this.#names?.clusters[index] ?? this.#snapshot?.clusters[index]?.plan.name ?? "";
  }

  strategyNamed(index: number): string {
    return this.#names?.strategies[index] ?? this.#snapshot?.strategyNames[index] ?? "";
  }

  /** The calls so far, and the rest. */
  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** A plugin stands in a chain once for each of its configurations. */
  #useOf(plugin: string, index: number): number {
    const known = this.#uses.get(plugin) ?? [];
    if (!known.includes(index)) this.#uses.set(plugin, [...known, index]);
    const place = known.indexOf(index);
    return place < 0 ? known.length + 1 : place + 1;
  }

  // ── Choices ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** The rules in `[from, to)` do not match; `to` does, unless there is none (-1). */
  rules(x: Exchange, from: number, to: number): void {
    const { router, routes } = x.listener!;
    const end = to < 0 ? routes.length : to + 1;
    const first = Math.max(from, end - this.#most);
    if (first > from) this.#cut = true;
    for (let rule = first; rule < end; rule++) {
      const failed = rule === to ? "" : router.explain(x.request, rule);
      this.#rules.push({ rule, name: routes[rule]!.name, failed });
    }
  }

  /** Null: no rule is left, or the path is ambiguous. */
  routed(route: string | null, ambiguous = false): void {
    const rules = this.#rules;
    this.#rules = [];
    this.#push({ step: "route", at: this.now(), route, ...(ambiguous ? { ambiguous } : {}), rules });
  }

  clusterTaken(x: Exchange): void {
    const last = this.#steps.findLast((step) => step.step === "cluster");
    if (last?.step === "cluster" && last.cluster === x.clusterName) return;
    const at = this.now();
    if (x.chosenCluster < 0) {
      const by = x.route!.action.kind === "split" ? "split" : "rule";
      this.#push({ step: "cluster", at, cluster: x.clusterName, by });
      return;
    }
    const step = { step: "cluster", at, cluster: x.clusterName, by: "plugin" } as const;
    const chooser = this.#steps.findLast((step) => step.step === "hook" && step.cluster !== undefined) as HookStep;
    if (chooser !== undefined && chooser.hook !== CONNECTION) this.#push({ ...step, plugin: chooser.plugin });
    else if (x.connectionChoice === null) this.#push(step);
    else this.#push({ ...step, plugin: x.connectionChoice.plugin, connection: true });
  }

  picked(x: Exchange, strategy: number, endpoint: string | null): void {
    const cluster = x.cluster!;
    const candidates = cluster.candidates(x);
    if (candidates.length > this.#most) this.#cut = true;
    const last = this.#steps.at(-1);
    const answered = last?.step === "hook" && last.hook === "pick" && /^\d+$/.test(last.result);
    this.#push({
      step: "pick",
      at: this.now(),
      cluster: cluster.plan.name,
      strategy: cluster.plan.strategies[strategy]?.name ?? "",
      endpoint,
      by: endpoint === null ? "nobody" : answered ? "strategy" : "native",
      candidates: candidates.slice(0, this.#most),
    });
  }

  /** An attempt has ended; before its strategy hears of it. */
  attempted(x: Exchange, endpoint: string, status: number, failed: boolean): void {
    const { attempt, error, problem } = x;
    this.#push({
      step: "attempt",
      at: this.now(),
      endpoint,
      status,
      failed,
      took: Math.round(((status === 0 ? performance.now() : x.answeredAt) - attempt.startedAt) * 1000),
      reused: attempt.reused,
      ...(error === null || status !== 0 ? {} : { error: error.type, problem: this.text(problem) }),
    });
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Who sent the token is told under which number the trace is found. */
  tell(x: Exchange): void {
    if (this.#why === "token") x.response.add(TELLS, Buffer.from(this.id), 0);
  }

  record(x: Exchange): TraceRecord {
    const { error, response } = x;
    const by = error !== null ? "sluice" : x.localStatus === 0 ? "endpoint" : this.#localBy();
    return {
      ...this.#recordRequest(x),
      answer: {
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

  /** A response that is not the endpoint's is a plugin's, or says the methods to an OPTIONS request that goes no further. */
  #localBy(): "plugin" | "sluice" {
    const responded = this.#steps.some((step) => step.step === "hook" && step.result === "respond");
    return responded || this.#cut ? "plugin" : "sluice";
  }

  /** Of a request that never came, since its connection was closed. */
  recordDenied(x: Exchange, problem: string): TraceRecord {
    const answer = { status: 0, by: "nobody", problem, headers: [], body: 0 } as const;
    return { ...this.#recordRequest(x), answer, took: this.now(), cut: this.#cut };
  }

  #recordRequest(x: Exchange): Omit<TraceRecord, "answer" | "took" | "cut"> {
    return {
      id: this.id,
      time: this.#time.toISOString(),
      why: this.#why,
      version: x.listener!.snapshot.version,
      listener: x.listenerName,
      route: x.routeName,
      cluster: x.clusterName,
      client: x.clientAddress,
      request: this.#request,
      ...(this.#fetchAnswer === null ? {} : { fetchAnswer: this.#fetchAnswer }),
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
