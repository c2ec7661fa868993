/**
 * New versions of plugins that take over in stages: which version of a plugin a plan is made of, and the watch over those
 * that take a share. Threads count and tell; what becomes of a version is decided here alone, and done by a new plan.
 */
import { createHash } from "node:crypto";
import { HOOK, HOOKS } from "../abi/abi.ts";
import type { RolloutState, RolloutStatus, VersionStatus } from "../admin/api.ts";
import type { Config, PluginConfig } from "../config/schema.ts";
import type { Counters } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import { PLUGIN_CELLS, ROLLOUT_CELLS } from "../observe/series.ts";
import { listUses, type Stage, type WasmFiles } from "../plan/modules.ts";
import type { Plan } from "../plan/plan.ts";
import type { RolloutPlan } from "../plugin/host/plan.ts";
import type { PluginEvent } from "../plugin/host/report.ts";
import { type Decision, type Figures, judge, type RolloutRules, type VersionFigures } from "./rollout.ts";

/** A module as its file held it, and the file's SHA-256 in hexadecimal. */
type Source = { readonly hash: string; readonly bytes: Uint8Array };
type Next = Source & { readonly number: number; readonly rules: RolloutRules };
type Ending = { readonly state: RolloutState; readonly why: string };

/** What a plan is to be made of, for one plugin. */
type Entry = {
  readonly plugin: string;
  readonly serves: Source;
  readonly next: Next | null;
  /** Hash of a version that was rolled back and is still what the file holds. */
  readonly refused: string | null;
  /** What becomes of the rollout that runs; null when it goes on, or none does. */
  readonly ending: Ending | null;
};

export type Arrangement = {
  /** Plugins of which something else serves than what their file holds. */
  readonly stages: ReadonlyMap<string, Stage>;
  /** Equal for two arrangements of the same versions. */
  readonly identity: string;
  readonly entries: readonly Entry[];
};

type Running = {
  readonly plugin: string;
  readonly number: number;
  rules: RolloutRules;
  readonly old: Source;
  readonly next: Source;
  readonly since: Date;
  readonly began: number;
  readonly plan: RolloutPlan;
  /** What the two had used before, of fuel. */
  readonly fuelBefore: { readonly old: number; readonly new: number };
  readonly quarantined: Set<number>;
  lastFailure: PluginEvent["failure"];
  figures: Figures;
  verdict: Decision;
};

export type RolloutsOptions = {
  readonly counters: Pick<Counters, "sum">;
  readonly log: Pick<Log, "info" | "warn">;
  /** Makes a new version of the same files, as they are arranged now. */
  readonly restage: (reason: string) => Promise<unknown>;
  /** Milliseconds of a clock that is never set. */
  readonly now?: () => number;
  /** Milliseconds between two looks. */
  readonly every?: number;
};

const NOTHING: VersionFigures = { requests: 0, failures: 0, fuel: 0, time: 0 };
const UNASKED: ReadonlySet<number> = new Set([HOOK.configure, HOOK.update, HOOK.tick, HOOK.save, HOOK.restore]);
const ENDED_BY_VERDICT = { promote: "promoted", "roll back": "rolled back" } as const;

export class Rollouts {
  readonly #options: RolloutsOptions;
  readonly #now: () => number;
  /** Of each plugin that is declared. */
  readonly #serving = new Map<string, Source>();
  readonly #refused = new Map<string, string>();
  readonly #running = new Map<string, Running>();
  /** The last of each plugin that ended. */
  readonly #ended = new Map<string, RolloutStatus>();
  readonly #results = new Map<string, { plugin: string; state: RolloutState; count: number }>();
  #numbers = 0;
  #timer: NodeJS.Timeout | null = null;
  #restaging = false;

  constructor(options: RolloutsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Of which versions a plan of these files is made. Nothing has happened before `commit`. */
  arrange(config: Config, files: WasmFiles): Arrangement {
    const used = new Set(Array.from(listUses(config), (use) => use.name));
    const entries = config.plugins.flatMap((declared) => {
      const bytes = files.get(declared.wasm.path);
      if (bytes === undefined || typeof bytes === "string") return [];
      return [this.#arrangeOne(declared, { hash: hashOf(bytes), bytes }, used.has(declared.name))];
    });
    const stages = new Map(
      entries.map(({ plugin, serves, next }): [string, Stage] => {
        const candidate = next && { bytes: next.bytes, number: next.number, share: next.rules.percent / 100 };
        return [plugin, { serves: serves.bytes, candidate }];
      }),
    );
    const identity = JSON.stringify(entries.map(({ plugin, serves, next }) => [plugin, serves.hash, next?.number]));
    return { stages, identity, entries };
  }

  #arrangeOne(declared: PluginConfig, file: Source, isUsed: boolean): Entry {
    const { name: plugin, rollout: rules } = declared;
    const running = this.#running.get(plugin);
    const verdict = running?.verdict.verdict;
    const serves = verdict === "promote" ? running!.next : this.#serving.get(plugin);
    const refused = verdict === "roll back" ? running!.next.hash : this.#refused.get(plugin);
    const isAtOnce = rules === undefined || serves === undefined || serves.hash === file.hash || !isUsed;
    const make = (entry: Pick<Entry, "serves" | "next" | "refused">): Entry => {
      const goesOn = running === undefined || entry.next?.number === running.number;
      return { plugin, ...entry, ending: goesOn ? null : endingOf(running, declared, file) };
    };
    if (isAtOnce) return make({ serves: file, next: null, refused: null });
    if (refused === file.hash) return make({ serves, next: null, refused });
    const isSame = verdict === "watch" && running!.next.hash === file.hash;
    const number = isSame ? running!.number : ++this.#numbers;
    return make({ serves, next: { ...file, number, rules }, refused: null });
  }

  /** The version that was made of it serves. */
  commit({ entries }: Arrangement, plan: Plan): void {
    for (const running of this.#running.values()) {
      const entry = entries.find(({ plugin }) => plugin === running.plugin);
      const ending: Ending | null = entry ? entry.ending : { state: "ended", why: "the plugin is declared no more" };
      if (ending !== null) this.#end(running, ending);
    }
    this.#serving.clear();
    this.#refused.clear();
    for (const { plugin, serves, refused, next } of entries) {
      this.#serving.set(plugin, serves);
      if (refused !== null) this.#refused.set(plugin, refused);
      const running = this.#running.get(plugin);
      if (next !== null && running !== undefined) running.rules = next.rules;
      const rollout = plan.rollouts.find((one) => one.plugin === plugin);
      if (next !== null && running === undefined && rollout !== undefined) this.#begin(rollout, serves, next);
    }
    this.#keepTime();
  }

  /** What a thread tells of a new version's guests. */
  receive(thread: number, { plugin, rollout, quarantined, failure }: PluginEvent): void {
    const running = this.#running.get(plugin);
    if (running === undefined || running.number !== rollout) return;
    if (quarantined) running.quarantined.add(thread);
    else running.quarantined.delete(thread);
    running.lastFailure = failure;
    this.check();
  }

  /** The thread has ended: its successor's guests are new. */
  forget(thread: number): void {
    for (const { quarantined } of this.#running.values()) quarantined.delete(thread);
  }

  /** Looks at what each new version has done by now, and has done what that calls for. */
  check(): void {
    const reasons: string[] = [];
    for (const running of this.#running.values()) {
      const { plugin, rules, verdict } = running;
      // What was decided stays: it is done again until it succeeds.
      if (verdict.verdict === "watch") {
        running.figures = this.#measure(running);
        running.verdict = judge(rules, running.figures);
      }
      if (running.verdict.verdict !== "watch")
        reasons.push(`${running.verdict.verdict} the new version of plugin ${plugin}`);
    }
    if (reasons.length === 0 || this.#restaging) return;
    this.#restaging = true;
    void this.#options.restage(reasons.join(", ")).finally(() => {
      this.#restaging = false;
    });
  }

  /** Those that run, and the last of each plugin that ended. */
  list(): RolloutStatus[] {
    const running = [...this.#running.values()].map((one) => {
      if (one.verdict.verdict === "watch") one.figures = this.#measure(one);
      return describe(one, { state: "watching", why: judge(one.rules, one.figures).why }, null);
    });
    const ended = [...this.#ended.values()].filter(({ plugin }) => !this.#running.has(plugin));
    return [...running, ...ended];
  }

  /** How many have ended, by plugin and by what came of them. */
  results(): Iterable<{ plugin: string; state: RolloutState; count: number }> {
    return this.#results.values();
  }

  close(): void {
    this.#running.clear();
    this.#keepTime();
  }

  #begin(plan: RolloutPlan, old: Source, next: Next): void {
    const { plugin } = plan;
    const { number, rules, hash } = next;
    const running: Running = {
      plugin,
      number,
      rules,
      old,
      next,
      since: new Date(),
      began: this.#now(),
      plan,
      fuelBefore: { old: this.#sumFuel(plan.oldCells), new: this.#sumFuel(plan.newCells) },
      quarantined: new Set(),
      lastFailure: null,
      figures: { elapsed: 0, quarantined: false, old: NOTHING, new: NOTHING },
      verdict: { verdict: "watch", why: "" },
    };
    this.#running.set(plugin, running);
    const { log } = this.#options;
    log.info(
      { plugin, old: shorten(old.hash), new: shorten(hash), ...rules },
      `plugin ${plugin}: a new version takes ${rules.percent}% of its requests`,
    );
  }

  #end(running: Running, ending: Ending): void {
    const { plugin, lastFailure } = running;
    const { state, why } = ending;
    const status = describe(running, ending, new Date());
    this.#running.delete(plugin);
    this.#ended.set(plugin, status);
    const key = `${plugin} ${state}`;
    this.#results.set(key, { plugin, state, count: (this.#results.get(key)?.count ?? 0) + 1 });
    const shown = ({ hash, ...figures }: VersionStatus) => ({ hash: shorten(hash), ...figures });
    const fields = { plugin, old: shown(status.old), new: shown(status.new), ...(lastFailure && { lastFailure }) };
    const message = `plugin ${plugin}: the new version is ${WORDS[state]}: ${why}`;
    if (state === "rolled back") this.#options.log.warn(fields, message);
    else this.#options.log.info(fields, message);
  }

  #measure({ plan, fuelBefore, began, quarantined }: Running): Figures {
    const { counters } = this.#options;
    const version = (base: number, cells: number, before: number): VersionFigures => ({
      requests: counters.sum(base + ROLLOUT_CELLS.requests),
      failures: counters.sum(base + ROLLOUT_CELLS.failures),
      fuel: this.#sumFuel(cells) - before,
      time: counters.sum(base + ROLLOUT_CELLS.time),
    });
    return {
      elapsed: this.#now() - began,
      quarantined: quarantined.size > 0,
      old: version(plan.cells, plan.oldCells, fuelBefore.old),
      new: version(plan.cells + ROLLOUT_CELLS.version, plan.newCells, fuelBefore.new),
    };
  }

  /** Of the hooks that requests call. */
  #sumFuel(cells: number): number {
    let sum = 0;
    for (let hook = 0; hook < HOOKS.length; hook++)
      if (!UNASKED.has(hook)) sum += this.#options.counters.sum(cells + PLUGIN_CELLS.fuel + hook);
    return sum;
  }

  /** Looks only while there is something to look at. */
  #keepTime(): void {
    if (this.#running.size > 0) this.#timer ??= setInterval(() => this.check(), this.#options.every ?? 1000).unref();
    else if (this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }
}

const WORDS: Readonly<Record<RolloutState, string>> = {
  watching: "watched",
  promoted: "promoted",
  "rolled back": "rolled back",
  ended: "watched no more",
};

function endingOf({ verdict, old }: Running, { rollout }: PluginConfig, file: Source): Ending {
  if (verdict.verdict !== "watch") return { state: ENDED_BY_VERDICT[verdict.verdict], why: verdict.why };
  if (rollout === undefined) return { state: "ended", why: "the plugin has no rollout any more, its file serves" };
  if (file.hash === old.hash) return { state: "ended", why: "the file holds the old version again" };
  return { state: "ended", why: "the file holds a newer version" };
}

function describe(
  { plugin, rules, since, old, next, figures }: Running,
  { state, why }: Ending,
  endedAt: Date | null,
): RolloutStatus {
  const version = ({ hash }: Source, { requests, failures, fuel, time }: VersionFigures): VersionStatus => {
    const each = Math.max(1, requests);
    return { hash, requests, failures, fuel: Math.round(fuel / each), time: time / 1000 / each };
  };
  return {
    plugin,
    state,
    why,
    percent: rules.percent,
    since: since.toISOString(),
    endedAt: endedAt?.toISOString() ?? null,
    old: version(old, figures.old),
    new: version(next, figures.new),
  };
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function shorten(hash: string): string {
  return hash.slice(0, 12);
}
