/**
 * Canary rollouts of plugins: selects the versions of each plugin for the next plan, and evaluates the figures that
 * workers count. A promotion or a rollback is another plan, made from the same files with another selection.
 */
import { createHash } from "node:crypto";
import type { RolloutState, RolloutStatus, VersionStatus } from "../admin/api.ts";
import type { Config, PluginConfig } from "../config/schema.ts";
import type { Counters } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import { ROLLOUT_CELLS } from "../observe/series.ts";
import { listUses, type PluginVersions, type WasmFiles } from "../plan/modules.ts";
import type { Plan } from "../plan/plan.ts";
import type { PluginEvent } from "../plugin/host/report.ts";
import { type Decision, decide, type Figures, type RolloutPolicy, type VersionFigures } from "./canary-decision.ts";

/** Contents of a `.wasm` file, and its SHA-256 in hexadecimal. */
type Source = { readonly hash: string; readonly bytes: Uint8Array };
type Canary = Source & { readonly number: number; readonly share: number; readonly policy: RolloutPolicy };
type Result = { readonly state: RolloutState; readonly reason: string };

/** The versions of one plugin in the next plan. */
type Entry = PluginVersions & {
  readonly baseline: Source;
  readonly canary: Canary | null;
  /** Hash of a version that was rolled back, while it is still the content of the file. */
  readonly rolledBack: string | null;
  /** Result of the current rollout, if the next plan ends it. */
  readonly result: Result | null;
};

export type Selection = {
  /** By plugin. */
  readonly versions: ReadonlyMap<string, Entry>;
  /** Equal for two selections of the same versions. */
  readonly identity: string;
};

/** A rollout in progress. `canary`: its policy is that of the configuration in service. */
type Rollout = {
  readonly plugin: string;
  readonly baseline: Source;
  canary: Canary;
  readonly since: Date;
  /** On the clock `now`. */
  readonly startedAt: number;
  /** First of ROLLOUT_CELLS. */
  readonly cells: number;
  /** Workers in which the canary version is in quarantine. */
  readonly quarantined: Set<number>;
  lastFailure: PluginEvent["failure"];
  figures: Figures;
  decision: Decision;
};

export type CanaryRolloutsOptions = {
  readonly counters: Pick<Counters, "sum">;
  readonly log: Pick<Log, "info" | "warn">;
  /** Makes a new plan from the files of the current one, with a new selection. */
  readonly rebuild: (reason: string) => Promise<unknown>;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
  /** Milliseconds between two checks. */
  readonly every?: number;
};

const NO_FIGURES: VersionFigures = { requests: 0, failures: 0, fuel: 0, time: 0 };
const RESULT_STATES = { promote: "promoted", "roll back": "rolled back" } as const;

export class CanaryRollouts {
  readonly #options: CanaryRolloutsOptions;
  readonly #now: () => number;
  /** The versions in service. */
  #versions: Selection["versions"] = new Map();
  readonly #current = new Map<string, Rollout>();
  /** The last finished rollout of each plugin. */
  readonly #finished = new Map<string, RolloutStatus>();
  readonly #results = new Map<string, { plugin: string; state: RolloutState; count: number }>();
  #lastNumber = 0;
  #timer: NodeJS.Timeout | null = null;
  #rebuilding = false;

  constructor(options: CanaryRolloutsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Selects the versions for a plan of these files. Has no effect until `commit`. */
  select(config: Config, files: WasmFiles): Selection {
    const used = new Set(Array.from(listUses(config), (use) => use.name));
    const entries = config.plugins.flatMap((declared): [string, Entry][] => {
      const bytes = files.get(declared.wasm.path);
      if (bytes === undefined || typeof bytes === "string") return [];
      return [[declared.name, this.#selectFor(declared, { hash: hashOf(bytes), bytes }, used.has(declared.name))]];
    });
    const identity = JSON.stringify(
      entries.map(([plugin, { baseline, canary }]) => [plugin, baseline.hash, canary?.number]),
    );
    return { versions: new Map(entries), identity };
  }

  #selectFor(declared: PluginConfig, file: Source, isUsed: boolean): Entry {
    const { name: plugin, rollout: policy } = declared;
    const current = this.#current.get(plugin);
    const action = current?.decision.action;
    const before = this.#versions.get(plugin);
    const baseline = action === "promote" ? current!.canary : before?.baseline;
    const rolledBack = action === "roll back" ? current!.canary.hash : (before?.rolledBack ?? null);
    const make = (entry: Pick<Entry, "baseline" | "canary" | "rolledBack">): Entry => {
      const continues = current === undefined || entry.canary?.number === current.canary.number;
      return { ...entry, result: continues ? null : resultOf(current, declared, file) };
    };
    if (policy === undefined || baseline === undefined || baseline.hash === file.hash || !isUsed)
      return make({ baseline: file, canary: null, rolledBack: null });
    if (rolledBack === file.hash) return make({ baseline, canary: null, rolledBack });
    const isSame = action === "continue" && current!.canary.hash === file.hash;
    const number = isSame ? current!.canary.number : ++this.#lastNumber;
    return make({ baseline, canary: { ...file, number, share: policy.percent / 100, policy }, rolledBack: null });
  }

  /** The plan made from the selection is in service: ends and starts rollouts. */
  commit({ versions }: Selection, plan: Plan): void {
    for (const rollout of this.#current.values()) {
      const entry = versions.get(rollout.plugin);
      const result = entry ? entry.result : { state: "ended" as const, reason: "the plugin was removed" };
      if (result !== null) this.#end(rollout, result);
    }
    this.#versions = versions;
    for (const [plugin, { baseline, canary }] of versions) {
      if (canary === null) continue;
      const current = this.#current.get(plugin);
      if (current !== undefined) current.canary = canary;
      const planned = plan.rollouts.find((rollout) => rollout.plugin === plugin);
      if (current === undefined && planned !== undefined) this.#start(planned, baseline, canary);
    }
    this.#schedule();
  }

  /** Records an event of a canary version in a worker. */
  receive(worker: number, { plugin, rollout, quarantined, failure }: PluginEvent): void {
    const current = this.#current.get(plugin);
    if (current === undefined || current.canary.number !== rollout) return;
    if (quarantined) current.quarantined.add(worker);
    else current.quarantined.delete(worker);
    current.lastFailure = failure;
    this.check();
  }

  /** The worker has ended; its replacement has new guests. */
  forget(worker: number): void {
    for (const { quarantined } of this.#current.values()) quarantined.delete(worker);
  }

  /** Evaluates every rollout, and requests a new plan for those to promote or roll back. */
  check(): void {
    const reasons: string[] = [];
    for (const rollout of this.#current.values()) {
      // A decision is final: a failed rebuild is repeated at the next check.
      if (rollout.decision.action === "continue") {
        rollout.figures = this.#measure(rollout);
        rollout.decision = decide(rollout.canary.policy, rollout.figures);
      }
      const { action } = rollout.decision;
      if (action !== "continue") reasons.push(`${action} the canary version of plugin ${rollout.plugin}`);
    }
    if (reasons.length === 0 || this.#rebuilding) return;
    this.#rebuilding = true;
    void this.#options.rebuild(reasons.join(", ")).finally(() => {
      this.#rebuilding = false;
    });
  }

  /** Rollouts in progress, and the last finished one of each other plugin. */
  list(): RolloutStatus[] {
    const current = [...this.#current.values()].map((rollout) => {
      if (rollout.decision.action === "continue") rollout.figures = this.#measure(rollout);
      return describe(
        rollout,
        { state: "watching", reason: decide(rollout.canary.policy, rollout.figures).reason },
        null,
      );
    });
    const finished = [...this.#finished.values()].filter(({ plugin }) => !this.#current.has(plugin));
    return [...current, ...finished];
  }

  /** The number of finished rollouts by plugin and result. */
  results(): Iterable<{ plugin: string; state: RolloutState; count: number }> {
    return this.#results.values();
  }

  close(): void {
    this.#current.clear();
    this.#schedule();
  }

  #start({ plugin, cells }: Plan["rollouts"][number], baseline: Source, canary: Canary): void {
    const { policy, hash } = canary;
    this.#current.set(plugin, {
      plugin,
      baseline,
      canary,
      since: new Date(),
      startedAt: this.#now(),
      cells,
      quarantined: new Set(),
      lastFailure: null,
      figures: { elapsed: 0, quarantined: false, baseline: NO_FIGURES, canary: NO_FIGURES },
      decision: { action: "continue", reason: "" },
    });
    this.#options.log.info(
      { plugin, baseline: shorten(baseline.hash), canary: shorten(hash), ...policy },
      `plugin ${plugin}: canary rollout started with ${policy.percent}% of the requests`,
    );
  }

  #end(rollout: Rollout, result: Result): void {
    const { plugin, lastFailure } = rollout;
    const { state, reason } = result;
    const status = describe(rollout, result, new Date());
    this.#current.delete(plugin);
    this.#finished.set(plugin, status);
    this.#results.getOrInsert(`${plugin} ${state}`, { plugin, state, count: 0 }).count++;
    const shown = ({ hash, ...figures }: VersionStatus) => ({ hash: shorten(hash), ...figures });
    const figures = { baseline: shown(status.baseline), canary: shown(status.canary) };
    const fields = { plugin, ...figures, ...(lastFailure && { lastFailure }) };
    const outcome = state === "ended" ? "canary rollout ended" : `canary version ${state}`;
    this.#options.log[state === "rolled back" ? "warn" : "info"](fields, `plugin ${plugin}: ${outcome}: ${reason}`);
  }

  #measure({ cells, startedAt, quarantined }: Rollout): Figures {
    const { counters } = this.#options;
    const version = (base: number): VersionFigures => ({
      requests: counters.sum(base + ROLLOUT_CELLS.requests),
      failures: counters.sum(base + ROLLOUT_CELLS.failures),
      fuel: counters.sum(base + ROLLOUT_CELLS.fuel),
      time: counters.sum(base + ROLLOUT_CELLS.time),
    });
    return {
      elapsed: this.#now() - startedAt,
      quarantined: quarantined.size > 0,
      baseline: version(cells),
      canary: version(cells + ROLLOUT_CELLS.version),
    };
  }

  /** Runs the timer while there is a rollout. */
  #schedule(): void {
    if (this.#current.size > 0) this.#timer ??= setInterval(() => this.check(), this.#options.every ?? 1000).unref();
    else if (this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }
}

function resultOf({ decision, baseline }: Rollout, { rollout }: PluginConfig, file: Source): Result {
  const { action, reason } = decision;
  if (action !== "continue") return { state: RESULT_STATES[action], reason };
  if (rollout === undefined) return { state: "ended", reason: "`rollout` was removed from the configuration" };
  if (file.hash === baseline.hash) return { state: "ended", reason: "the baseline was restored in the file" };
  return { state: "ended", reason: "the file has a newer version" };
}

function describe(rollout: Rollout, { state, reason }: Result, endedAt: Date | null): RolloutStatus {
  const { plugin, since, baseline, canary, figures } = rollout;
  const version = ({ hash }: Source, { requests, failures, fuel, time }: VersionFigures): VersionStatus => {
    const divisor = Math.max(1, requests);
    return { hash, requests, failures, fuel: Math.round(fuel / divisor), time: time / 1000 / divisor };
  };
  return {
    plugin,
    state,
    reason,
    percent: canary.policy.percent,
    since: since.toISOString(),
    endedAt: endedAt?.toISOString() ?? null,
    baseline: version(baseline, figures.baseline),
    canary: version(canary, figures.canary),
  };
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function shorten(hash: string): string {
  return hash.slice(0, 12);
}
