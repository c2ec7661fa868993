/**
 * The place of one guest: makes it, makes another when it has failed, and is carried over from version to version while
 * what it was made of is unchanged. It serves one configuration, or all of a module that declares to serve many.
 */

import { HOOK, RESULT, TICK_EVERY } from "../../abi/abi.ts";
import { fuelToStart } from "../../abi/prices.ts";
import { STARTING } from "../abi/hook-scope.ts";
import type { ModulePlan } from "../wasm/build.ts";
import { configBytes } from "./bytes-seen.ts";
import { clientOf } from "./client-failures.ts";
import type { ConfigurationOwner, PluginConfiguration } from "./configuration.ts";
import { Fault } from "./fault.ts";
import { Guest, type GuestFailure } from "./guest.ts";
import { GuestPool } from "./guest-pool.ts";
import type { HookContext, Suspension } from "./hook-context.ts";
import { Recovery } from "./recovery.ts";
import type { PluginReport } from "./report.ts";
import type { After } from "./timer.ts";

/** Of the thread's time, that one configuration's ticks may take: no request asks for them, so none can hold them back. */
const TICK_SHARE = 0.05;

/** Milliseconds since 1970, for guests; of a monotonic clock; and timers for what guests wait for. */
export type Clocks = { readonly wall: () => number; readonly monotonic: () => number; readonly after: After };

/** A failure while a guest was made, and whose configuration was being read. */
export class StartError extends Error {
  override readonly name = "StartError";
  readonly hook: number;
  readonly failure: GuestFailure;
  readonly plugin: string;

  constructor(plugin: string, hook: number, failure: GuestFailure) {
    super(failure.message);
    this.plugin = plugin;
    this.hook = hook;
    this.failure = failure;
  }
}

export class ManagedGuest implements ConfigurationOwner {
  readonly module: ModulePlan;
  /** What the guest is made of; equal for two versions that may share it. */
  readonly key: string;
  readonly #clocks: Clocks;
  readonly #recovery: Recovery;
  /** Of a module that may wait: guests for such calls. All others use the one above, which is never suspended. */
  readonly pool: GuestPool | null;
  /** Of each version that uses the guest, the oldest first: its configurations, by position. */
  readonly #versions: (readonly PluginConfiguration[])[];
  #guest: Guest | null = null;
  #made = false;
  /** A version in service uses it: only then its state is told of. */
  #serves = true;
  #last: { readonly hook: number; readonly failure: GuestFailure } | null = null;
  /**
   * Hooks of which a success must be told (`pass`), a bit for each: all after a failure, else those that never had one.
   * A field, since every call asks.
   */
  watched = -1;
  /** Hooks that have succeeded. */
  #proven = 0;
  /** It failed of late, and no call of that hook has succeeded since, or it is in quarantine. */
  #unproven = false;
  /** Calls of some clients may be refused (`isBarred`). */
  hasFailingClients = false;
  /** Names that were looked up while the guest was made, and what it was told: it may have kept that. */
  readonly #lookups = new Map<string, number>();
  /** Of each configuration, by position: how often `tick` is called, when next, and the one that waits. */
  readonly #ticks: { every: number; due: number; call: Suspension | null }[];
  /** A guest for calls that wait is made: what its start-up code says of the interval was said before it. */
  #pooling = false;
  /** Guests of the pool that failed, and that no other was made for yet: that is what restarts are rationed by. */
  #lost = 0;
  /** The member that last told the present guest its endpoints. */
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
    this.pool = module.info.suspends ? new GuestPool(guests, () => this.#makePooled()) : null;
    this.#ticks = members.map(() => ({ every: TICK_EVERY, due: this.#firstDue(TICK_EVERY), call: null }));
  }

  /** Somewhere in the first interval: threads that began together do not go on in step. */
  #firstDue(every: number): number {
    return this.#clocks.monotonic() + Math.random() * every;
  }

  tickEvery(id: number, milliseconds: number): void {
    const tick = this.#ticks[id - 1]!;
    if (tick.every === milliseconds || this.#pooling) return;
    tick.every = milliseconds;
    tick.due = this.#firstDue(milliseconds);
  }

  /** Whether it is time to call a member's `tick`: never while one waits. */
  isDue(member: PluginConfiguration): boolean {
    const { due, call } = this.#ticks[member.id - 1]!;
    return call === null && this.#clocks.monotonic() >= due;
  }

  isTicking(member: PluginConfiguration): boolean {
    return this.#ticks[member.id - 1]!.call !== null;
  }

  /** Its `tick` was begun, and waits. */
  tickSuspended(member: PluginConfiguration, call: Suspension): void {
    this.#ticks[member.id - 1]!.call = call;
  }

  /** Gives up a `tick` that waits. Who has the guest then begins one of its own at once. */
  stopTick(member: PluginConfiguration): void {
    const tick = this.#ticks[member.id - 1]!;
    tick.call?.cancel();
    if (tick.call !== null) tick.due = this.#clocks.monotonic();
    tick.call = null;
  }

  /** It was called, and took so many milliseconds of the thread: the next time is counted from now, however late this was. */
  ticked(member: PluginConfiguration, took: number): void {
    const tick = this.#ticks[member.id - 1]!;
    tick.call = null;
    tick.due = this.#clocks.monotonic() + Math.max(tick.every, took / TICK_SHARE);
  }

  /** Whether the guest for calls that cannot wait runs. */
  get running(): boolean {
    return this.#guest !== null;
  }

  /** Guests that run. */
  get guests(): number {
    return (this.#guest === null ? 0 : 1) + (this.pool === null ? 0 : this.pool.size);
  }

  /** Guests that there may be. */
  get capacity(): number {
    return 1 + (this.pool === null ? 0 : this.pool.most);
  }

  get memory(): number {
    return (this.#guest?.memory ?? 0) + (this.pool?.memory ?? 0);
  }

  /** A newer version uses the guest as well. */
  adopt(members: readonly PluginConfiguration[]): void {
    this.#versions.push(members);
  }

  /** A version uses it no more. True: none does, and the guest is gone. */
  release(members: readonly PluginConfiguration[]): boolean {
    this.#versions.splice(this.#versions.indexOf(members), 1);
    if (this.#versions.length > 0) return false;
    this.pool?.clear();
    this.#guest = null;
    this.updatedBy = null;
    this.retire();
    return true;
  }

  /** A version that uses it was taken into service. */
  serve(): void {
    if (!this.#serves && this.#recovery.quarantined) this.#reportQuarantine();
    this.#serves = true;
  }

  /** No version in service uses it any more: a quarantine is nobody's concern. */
  retire(): void {
    if (this.#serves && this.#recovery.quarantined)
      for (const report of this.#reports()) report.recover("it was replaced");
    this.#serves = false;
  }

  /** The oldest version's: a newer one may yet be withdrawn. */
  get #members(): readonly PluginConfiguration[] {
    return this.#versions[0]!;
  }

  /** Whether everything that the guest looked up when it was made would be answered alike for `members`. */
  fits(members: readonly PluginConfiguration[]): boolean {
    for (const [key, told] of this.#lookups) {
      const [kind, position, name] = splitKey(key);
      const member = members[position]!;
      const answer = kind === "cluster" ? member.findCluster(name) : member.findStrategy(name);
      if (answer !== told) return false;
    }
    return true;
  }

  /** Notes a look-up: only those of start-up code and `configure` are relied upon later. */
  noteLookup(kind: "cluster" | "strategy", member: PluginConfiguration, name: string, answer: number): void {
    if (this.#guest !== null) return;
    this.#lookups.set(`${kind} ${this.#members.indexOf(member)} ${name}`, answer);
  }

  /** The guest, made if there is none. Null while the plugin is quarantined. @throws StartError when making it fails. */
  take(): Guest | null {
    if (this.#guest !== null) return this.#guest;
    if (!this.#recovery.mayStart()) return null;
    this.#lookups.clear();
    this.#guest = this.#made ? this.#makeAgain() : this.#make();
    this.#made = true;
    return this.#guest;
  }

  /** A call failed: its guest goes, and a next call makes another, at once or after a pause. Null: `take` failed. */
  fail(guest: Guest | null, hook: number, failure: GuestFailure, client: string): void {
    if (this.#guest !== guest) return;
    this.#guest = null;
    this.updatedBy = null;
    this.#noteFailure(guest, hook, failure, client);
  }

  /** The same of a guest of the pool. */
  failPooled(guest: Guest | null, hook: number, failure: GuestFailure, client: string): void {
    if (guest !== null) this.#lost++;
    this.#noteFailure(guest, hook, failure, client);
  }

  #noteFailure(guest: Guest | null, hook: number, failure: GuestFailure, client: string): void {
    this.watched = -1;
    this.#unproven = true;
    this.#last = { hook, failure };
    const begins = guest === null ? this.#recovery.failStart() : this.#countCall(guest, hook, client);
    if (begins && this.#serves) this.#reportQuarantine();
  }

  #countCall(guest: Guest, hook: number, client: string): boolean {
    if (client !== "") this.hasFailingClients = true;
    this.#recovery.lose(guest.memory, client);
    return this.#recovery.failCall(client, guest.spent, ((this.#proven >>> hook) & 1) === 1);
  }

  /** Whether no call is made for that exchange now: its client has caused too many failures. */
  isBlocked(target: HookContext): boolean {
    const { clients } = this.#recovery;
    this.hasFailingClients = clients.any;
    return this.hasFailingClients && clients.isBlocked(clientOf(target));
  }

  /** A call of a hook that is watched succeeded. */
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
    if (recovered && this.#serves) for (const report of this.#reports()) report.recover("its calls succeed");
  }

  /** @throws StartError */
  #makePooled(): Guest | null {
    if (!this.#recovery.mayStart()) return null;
    this.#pooling = true;
    try {
      if (this.#lost === 0) return this.#make();
      this.#lost--;
      return this.#makeAgain();
    } finally {
      this.#pooling = false;
    }
  }

  #makeAgain(): Guest {
    // By the thread's own time: what it waited for its turn on a busy machine is no cost of the restart.
    const began = process.threadCpuUsage();
    try {
      return this.#make();
    } finally {
      const { user, system } = process.threadCpuUsage(began);
      this.#recovery.spend((user + system) / 1000);
    }
  }

  #reportQuarantine(): void {
    const { hook, failure } = this.#last!;
    for (const report of this.#reports()) report.quarantine(hook, failure);
  }

  /** Of each plugin whose configurations it serves. */
  #reports(): ReadonlySet<PluginReport> {
    return new Set(this.#versions.flat().map((member) => member.report));
  }

  #make(): Guest {
    const first = this.#members[0]!;
    let guest: Guest;
    try {
      guest = new Guest(this.module, this.#clocks.wall, this.#clocks.after);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new StartError(first.plugin, STARTING, { reason: "start", message, stack: "" });
    }
    let member = first;
    let hook = STARTING;
    try {
      guest.start(this.module.info.servesMany ? null : first);
      hook = HOOK.configure;
      if ((this.module.info.hooks & (1 << hook)) !== 0) {
        for (member of this.#members) configure(guest, member);
      }
      return guest;
    } catch (error) {
      throw new StartError(member.plugin, hook, { ...guest.explain(error), stack: guest.stackOf(error) });
    } finally {
      guest.context.end();
    }
  }
}

function configure(guest: Guest, member: PluginConfiguration): void {
  const seen = configBytes(member.config);
  const result = guest.run(HOOK.configure, member.id, fuelToStart(seen), member, null, null, seen);
  if (result === RESULT.reject) throw new Fault("start", "the plugin refuses its configuration");
  if (result !== RESULT.continue)
    throw new Fault("bad_result", `configure answered ${result}, expected ${RESULT.continue} or ${RESULT.reject}`);
}

function splitKey(key: string): [kind: string, position: number, name: string] {
  const first = key.indexOf(" ");
  const second = key.indexOf(" ", first + 1);
  return [key.slice(0, first), Number(key.slice(first + 1, second)), key.slice(second + 1)];
}
