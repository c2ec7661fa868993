/**
 * One guest over its whole life: started on first use, restarted after a failure as `Recovery` permits, and reused by
 * later versions while its module, configuration, limits and permissions are unchanged. It serves one configuration, or
 * all configurations of a module that declares to serve many.
 */
import type { ModulePlan } from "../wasm/build.ts";
import { clearMemory } from "../wasm/linear-memory.ts";
import { clientOf } from "./client-failures.ts";
import type { ConfigurationOwner, PluginConfiguration } from "./configuration.ts";
import type { Guest, GuestFailure } from "./guest.ts";
import { GuestPool } from "./guest-pool.ts";
import type { HookContext } from "./hook-context.ts";
import { Recovery } from "./recovery.ts";
import type { PluginReport } from "./report.ts";
import { type Clocks, startGuest } from "./start-guest.ts";
import { TickSchedule } from "./tick-schedule.ts";

export class ManagedGuest implements ConfigurationOwner {
  readonly module: ModulePlan;
  /** Identifies module, configuration, limits and permissions: versions with equal keys can share the guest. */
  readonly key: string;
  readonly #clocks: Clocks;
  readonly #recovery: Recovery;
  /** Guests for suspendable calls, if the module can suspend. Other calls use `#guest`, which is never suspended. */
  readonly pool: GuestPool | null;
  /** The configurations of each version that uses the guest, oldest version first. */
  readonly #versions: (readonly PluginConfiguration[])[];
  #guest: Guest | null = null;
  /** The memory of the last guest, which has failed, for the next one. */
  #memory: WebAssembly.Memory | null = null;
  #hasStarted = false;
  /** The current version uses the guest: only then its quarantine is reported. */
  #isCurrent = true;
  #last: { readonly hook: number; readonly failure: GuestFailure } | null = null;
  /**
   * Bit mask of hooks whose next success must be reported by `pass`: all after a failure, otherwise those that have not
   * succeeded yet. A field, because every call reads it.
   */
  watched = -1;
  /** Hooks that have succeeded. */
  #proven = 0;
  /** No call of the hook that failed last has succeeded since, or the guest is in quarantine. */
  #unproven = false;
  /** Calls for some clients may have to be refused (`isBlocked`). */
  hasFailingClients = false;
  /** Names that the guest looked up while it started, and the results, which it may have stored. */
  readonly #lookups = new Map<string, number>();
  readonly ticks: TickSchedule;
  /** A guest of the pool is being started: the first guest has set the tick intervals already. */
  #isStartingPooled = false;
  /** Failed guests of the pool that were not replaced yet: starting a replacement is charged as a restart. */
  #lost = 0;
  /** The configuration whose `update` ran last in the current guest. */
  updatedBy: PluginConfiguration | null = null;

  constructor(
    key: string,
    module: ModulePlan,
    members: readonly PluginConfiguration[],
    clocks: Clocks,
    guests: number,
  ) {
    this.key = key;
    this.module = module;
    this.#versions = [members];
    this.#clocks = clocks;
    this.#recovery = new Recovery(clocks.monotonic);
    this.pool = module.info.suspends ? new GuestPool(guests, () => this.#startPooled()) : null;
    this.ticks = new TickSchedule(members.length, clocks.monotonic);
  }

  tickEvery(id: number, milliseconds: number): void {
    if (!this.#isStartingPooled) this.ticks.setInterval(id, milliseconds);
  }

  /** Whether the guest for calls that cannot suspend runs. */
  get running(): boolean {
    return this.#guest !== null;
  }

  /** Number of running guests. */
  get guests(): number {
    return (this.#guest === null ? 0 : 1) + (this.pool === null ? 0 : this.pool.size);
  }

  /** Largest number of guests; one with two memories counts as two. */
  get capacity(): number {
    return this.module.info.memories * (1 + (this.pool === null ? 0 : this.pool.most));
  }

  get memory(): number {
    return (this.#guest?.memory ?? 0) + (this.pool?.memory ?? 0);
  }

  /** Adds a newer version that uses the guest. */
  adopt(members: readonly PluginConfiguration[]): void {
    this.#versions.push(members);
  }

  /** Removes a version; returns true if it was the last, and the guest is freed. */
  release(members: readonly PluginConfiguration[]): boolean {
    this.#versions.splice(this.#versions.indexOf(members), 1);
    if (this.#versions.length > 0) return false;
    this.pool?.clear();
    this.#guest = null;
    this.#memory = null;
    this.updatedBy = null;
    this.retire();
    return true;
  }

  /** A version that uses the guest was committed. */
  serve(): void {
    if (!this.#isCurrent && this.#recovery.quarantined) this.#reportQuarantine();
    this.#isCurrent = true;
  }

  /** The current version does not use the guest: a reported quarantine is ended. */
  retire(): void {
    if (this.#isCurrent && this.#recovery.quarantined)
      for (const report of this.#reports()) report.recover("it was replaced");
    this.#isCurrent = false;
  }

  /** The configurations of the oldest version: a newer one may still be aborted. */
  get #members(): readonly PluginConfiguration[] {
    return this.#versions[0]!;
  }

  /** Whether all lookups of the guest's start would have the same results for `members`. */
  fits(members: readonly PluginConfiguration[]): boolean {
    for (const [key, result] of this.#lookups) {
      const [kind, position, name] = splitKey(key);
      const member = members[position]!;
      const now = kind === "cluster" ? member.findCluster(name) : member.findStrategy(name);
      if (now !== result) return false;
    }
    return true;
  }

  /** Records a lookup during the start; results of later lookups are not relied upon. */
  noteLookup(kind: "cluster" | "strategy", member: PluginConfiguration, name: string, result: number): void {
    if (this.#guest !== null) return;
    this.#lookups.set(`${kind} ${this.#members.indexOf(member)} ${name}`, result);
  }

  /** The guest, started if none runs. Null while restarts are not permitted. @throws GuestStartError */
  take(): Guest | null {
    if (this.#guest !== null) return this.#guest;
    if (!this.#recovery.mayStart()) return null;
    this.#lookups.clear();
    const memory = this.#memory;
    this.#memory = null;
    this.#guest = this.#hasStarted ? this.#restart(memory) : this.#start();
    this.#hasStarted = true;
    return this.#guest;
  }

  /** A call failed: drops its guest; a later call starts another, possibly after a pause. `guest` null: `take` failed. */
  fail(guest: Guest | null, hook: number, failure: GuestFailure, client: string): void {
    if (this.#guest !== guest) return;
    this.#guest = null;
    this.#memory = guest?.reclaimMemory() ?? null;
    this.updatedBy = null;
    this.#recordFailure(guest, hook, failure, client);
  }

  /** Like `fail`, for a guest of the pool, which the caller discards. */
  failPooled(guest: Guest | null, hook: number, failure: GuestFailure, client: string): void {
    if (guest !== null) this.#lost++;
    this.#recordFailure(guest, hook, failure, client);
  }

  #recordFailure(guest: Guest | null, hook: number, failure: GuestFailure, client: string): void {
    this.watched = -1;
    this.#unproven = true;
    this.#last = { hook, failure };
    const isQuarantined = guest === null ? this.#recovery.failStart() : this.#countCall(guest, hook, client);
    if (isQuarantined && this.#isCurrent) this.#reportQuarantine();
  }

  #countCall(guest: Guest, hook: number, client: string): boolean {
    if (client !== "") this.hasFailingClients = true;
    this.#recovery.chargeMemory(guest.memory, client);
    return this.#recovery.failCall(client, guest.spent, ((this.#proven >>> hook) & 1) === 1);
  }

  /** Whether calls for the context are refused, because its client has caused too many failures. */
  isBlocked(target: HookContext): boolean {
    const { clients } = this.#recovery;
    this.hasFailingClients = clients.any;
    return this.hasFailingClients && clients.isBlocked(clientOf(target));
  }

  /** A call of a hook in `watched` succeeded. */
  pass(hook: number, client: string): void {
    this.#proven |= 1 << hook;
    if (!this.#unproven) {
      this.watched = ~this.#proven;
      return;
    }
    const isSame = hook === this.#last!.hook;
    const recovered = this.#recovery.pass(isSame, client);
    if (isSame || recovered) this.#unproven = this.#recovery.quarantined;
    this.watched = this.#unproven ? -1 : ~this.#proven;
    if (recovered && this.#isCurrent) for (const report of this.#reports()) report.recover("its calls succeed");
  }

  /** @throws GuestStartError */
  #startPooled(): Guest | null {
    if (!this.#recovery.mayStart()) return null;
    this.#isStartingPooled = true;
    try {
      if (this.#lost === 0) return this.#start();
      this.#lost--;
      return this.#restart(null);
    } finally {
      this.#isStartingPooled = false;
    }
  }

  #restart(memory: WebAssembly.Memory | null): Guest {
    // Processor time of the worker: waiting for a busy processor is not a cost of the restart.
    const began = process.threadCpuUsage();
    try {
      return this.#start(memory === null ? undefined : clearMemory(memory));
    } finally {
      const { user, system } = process.threadCpuUsage(began);
      this.#recovery.chargeRestart((user + system) / 1000);
    }
  }

  #reportQuarantine(): void {
    const { hook, failure } = this.#last!;
    for (const report of this.#reports()) report.quarantine(hook, failure);
  }

  /** The report of each plugin whose configurations the guest serves. */
  #reports(): ReadonlySet<PluginReport> {
    return new Set(this.#versions.flat().map((member) => member.report));
  }

  #start(memory?: WebAssembly.Memory): Guest {
    return startGuest(this.module, this.#members, this.#clocks, memory);
  }
}

function splitKey(key: string): [kind: string, position: number, name: string] {
  const first = key.indexOf(" ");
  const second = key.indexOf(" ", first + 1);
  return [key.slice(0, first), Number(key.slice(first + 1, second)), key.slice(second + 1)];
}
