/**
 * What is told of one request whose way through the corridor is recorded: the steps in their order, as plain data. Only a
 * traced request has one (`Exchange.trace`); all others pay for a test whether it is there.
 */
import type { Candidate } from "../balance/cluster.ts";
import { PART } from "../http/head.ts";
import { HOOK, HOOKS, RESULT } from "../plugin/abi.ts";
import type { Exchange } from "./exchange.ts";
import type { Mask } from "./mask.ts";
import { type Change, compare, listFields, type Picture, takePicture } from "./picture.ts";

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
  /** Bytes of the piece of the body that it saw, and that passed on. */
  body?: { readonly before: number; after: number; readonly last: boolean };
  log: { readonly level: string; readonly text: string }[];
};

export type RouteStep = {
  readonly step: "route";
  readonly at: number;
  /** Null: no rule is left. */
  readonly route: string | null;
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

export type Step = HookStep | RouteStep | ClusterStep | PickStep | AttemptStep;

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
    readonly authority: string;
    readonly target: string;
    readonly headers: FieldList;
  };
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

/** Steps and characters of one trace, and of one value. */
const MAX_STEPS = 300;
const MAX_TEXT = 128 * 1024;
const MAX_VALUE = 2048;
const MAX_LINES = 50;
/** Rules and endpoints of one step, where the thread has others to serve. */
const MAX_LISTED = 200;

const TELLS = Buffer.from("x-sluice-trace");
/** Hooks that can change nothing of the heads. */
const SEES_ONLY =
  (1 << HOOK.pick) | (1 << HOOK.update) | (1 << HOOK.outcome) | (1 << HOOK.log) | (1 << HOOK.connection);
const CONNECTION = HOOKS[HOOK.connection]!;
const BODIES = (1 << HOOK.request_body) | (1 << HOOK.response_body);

export type TraceInit = {
  readonly id: string;
  readonly why: TraceRecord["why"];
  readonly mask: Mask;
  /** The request is only tried: what stands for the endpoint's answer; null for a real one. */
  readonly dry?: DryAnswer | null;
  /** Whether calls that wait are answered at once. */
  readonly instant?: boolean;
};

/** Stands for an endpoint when nothing is sent. */
export interface DryAnswer {
  /** Makes `x.response`, and the body, what an endpoint could have answered. */
  answer(x: Exchange): void;
}

export class Trace {
  readonly id: string;
  readonly mask: Mask;
  readonly dry: DryAnswer | null;
  readonly instant: boolean;
  readonly #why: TraceRecord["why"];
  readonly #time = new Date();
  readonly #began = performance.now();
  readonly #steps: Step[] = [];
  #request: TraceRecord["request"];
  #room = MAX_TEXT;
  #cut = false;
  readonly #most: number;
  /** Rules since the last route step. */
  #rules: TracedRule[] = [];

  constructor(x: Exchange, { id, why, mask, dry = null, instant = false }: TraceInit) {
    this.id = id;
    this.mask = mask;
    this.dry = dry;
    this.instant = instant;
    this.#why = why;
    this.#most = dry === null ? MAX_LISTED : Number.POSITIVE_INFINITY;
    const { request } = x;
    const [path, query] = [request.partText(PART.path), request.partText(PART.query)];
    this.#request = {
      method: request.partText(PART.method),
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
    return `${text.slice(0, length)}…`;
  }

  // ── Plugins ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** A hook is called; what it returns is told what comes of it. */
  enter(x: Exchange, hook: number, plugin: string): TracedCall {
    const call = new TracedCall(this, x, hook, plugin);
    this.#push(call.entry);
    return call;
  }

  /** The last call of that plugin's hook failed: what it changed is dropped. `reason`: as metrics have it. */
  failed(hook: number, plugin: string, failure: { readonly reason: string; readonly message: string }): void {
    const entry = this.#steps.findLast(
      (step) => step.step === "hook" && step.hook === HOOKS[hook] && step.plugin === plugin,
    ) as HookStep | undefined;
    if (entry === undefined) return;
    entry.result = "failed";
    entry.failure = { reason: failure.reason, message: this.text(failure.message) };
    entry.edits = [];
    delete entry.cluster;
    delete entry.strategy;
  }

  /** It is not called, for it has failed too often. */
  refused(hook: number, plugin: string): void {
    this.#push({ ...emptyStep(this.now(), hook, plugin), result: "quarantined" });
  }

  changes(before: Picture, after: Picture): Change[] {
    const changes: Change[] = [];
    for (const { of, what, before: from, after: to } of compare(before, after)) {
      if (this.#room <= 0) {
        this.#cut = true;
        break;
      }
      const name = what.slice(what.indexOf(" ") + 1);
      const show = (value: string) =>
        this.text(what === "query" ? this.mask.query(value) : this.mask.value(name, value));
      changes.push({ of, what: this.text(what), before: from.map(show), after: to.map(show) });
    }
    return changes;
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

  /** Null: no rule is left. */
  routed(route: string | null): void {
    const rules = this.#rules;
    this.#rules = [];
    this.#push({ step: "route", at: this.now(), route, rules });
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
    const by = error !== null ? "sluice" : x.localStatus !== 0 ? "plugin" : "endpoint";
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

/** One call of a hook, while it runs. */
export class TracedCall {
  readonly entry: HookStep;
  readonly #trace: Trace;
  readonly #began = performance.now();
  readonly #before: Picture | null;
  readonly #cluster: number;
  readonly #strategy: number;

  constructor(trace: Trace, x: Exchange, hook: number, plugin: string) {
    this.#trace = trace;
    this.entry = emptyStep(trace.now(), hook, plugin);
    this.#before = ((SEES_ONLY >>> hook) & 1) === 1 ? null : takePicture(x);
    this.#cluster = x.chosenCluster;
    this.#strategy = x.chosenStrategy;
    if (((BODIES >>> hook) & 1) === 0) return;
    const piece = hook === HOOK.request_body ? x.requestPiece : x.answerPiece;
    if (piece !== null) this.entry.body = { before: piece.size, after: piece.size, last: piece.last };
  }

  /** Whether calls that wait are answered at once. */
  get instant(): boolean {
    return this.#trace.instant;
  }

  count(call: string): void {
    this.entry.calls[call] = (this.entry.calls[call] ?? 0) + 1;
  }

  log(level: string, text: string): void {
    if (this.entry.log.length < MAX_LINES) this.entry.log.push({ level, text: this.#trace.text(text) });
  }

  /** It ended, by a result or by a failure (null), of which more is told (`Trace.failed`). */
  leave(x: Exchange, result: number | null, fuel: number): void {
    const { entry } = this;
    entry.took = Math.round((performance.now() - this.#began) * 1000);
    entry.fuel = fuel;
    entry.result = result === null ? "failed" : describeResult(entry.hook, result);
    // Of an exchange that has ended meanwhile nothing is there to compare.
    if (result === null || x.trace !== this.#trace) return;
    if (this.#before !== null) entry.edits = this.#trace.changes(this.#before, takePicture(x));
    const { clusters, strategyNames } = x.listener!.snapshot;
    if (x.chosenCluster >= 0 && x.chosenCluster !== this.#cluster)
      entry.cluster = clusters[x.chosenCluster]?.plan.name ?? "";
    if (x.chosenStrategy >= 0 && x.chosenStrategy !== this.#strategy)
      entry.strategy = strategyNames[x.chosenStrategy] ?? "";
    if (entry.body === undefined) return;
    const piece = entry.hook === HOOKS[HOOK.request_body] ? x.requestPiece : x.answerPiece;
    if (piece !== null) entry.body.after = piece.size;
  }
}

function emptyStep(at: number, hook: number, plugin: string): HookStep {
  return {
    step: "hook",
    at,
    hook: HOOKS[hook]!,
    plugin,
    took: 0,
    fuel: 0,
    calls: {},
    result: "unfinished",
    edits: [],
    log: [],
  };
}

function describeResult(hook: string, result: number): string {
  if (hook === "pick") return String(result);
  return Object.entries(RESULT).find(([, value]) => value === result)?.[0] ?? String(result);
}
