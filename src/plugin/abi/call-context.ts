/**
 * What the host calls of one guest work on: the hook under way, its exchange, its configuration, its fuel, and how to
 * undo its edits. One for each guest, set before each hook call; fields, not closures, so that a call costs no memory.
 */

import { FUEL, type LEVEL, LIMIT, STATUS } from "../../abi/abi.ts";
import { fuelFor } from "../../abi/prices.ts";
import type { KeyValue } from "../../state/key-value.ts";
import { Fault, TRAP } from "../host/fault.ts";
import type { Fetcher, FetchResponse } from "../host/fetcher.ts";
import type { CallRecorder, EndpointList, HookContext } from "../host/hook-context.ts";
import type { PluginMetrics } from "../host/metrics.ts";
import { type After, setTimer } from "../host/timer.ts";
import { CallCharges } from "./call-charges.ts";
import { GuestSuspension } from "./guest-suspension.ts";
import type { HiddenNames } from "./hidden-names.ts";
import { HookScope } from "./hook-scope.ts";
import type { HostMemory } from "./host-memory.ts";
import { GuestMemory } from "./memory.ts";
import type { SavedState } from "./saved-state.ts";

/** The part of a configuration that its host calls need. */
export interface Configuration {
  readonly plugin: string;
  readonly config: unknown;
  /** Names of fields that do not exist for the plugin; null when there are none. */
  readonly hidden: HiddenNames | null;
  /** Bytes that it may put in the place of a piece of a body, or add to one. */
  readonly bodyLimit: number;
  /** Who makes its requests; null where none are made. */
  readonly fetcher: Fetcher | null;
  /** Whether it may make requests to `cluster:NAME` or to an origin. */
  mayFetch(target: string): boolean;
  /** The id of a cluster that may be chosen; `absent` for an unknown name, `denied` for one not allowed. */
  findCluster(name: string): number;
  /** The index in the present version for such an id; `invalid` or `denied`. */
  clusterIndex(id: number): number;
  findStrategy(name: string): number;
  strategyIndex(id: number): number;
  /** How often its `tick` is to be called. */
  tickEvery(milliseconds: number): void;
  /** Where its key-value calls go; null on trial, where nothing is read or written. */
  readonly keyValue: KeyValue | null;
  /** The number of a namespace, or `denied`. */
  findNamespace(name: string): number;
  mayUse(namespace: number): boolean;
  /** Whether it may set a value that every plugin of the exchange reads. */
  mayShare(name: string): boolean;
  /** What the host may keep for it; without it as much as it likes. */
  readonly hostMemory?: HostMemory;
  /** Metrics that it has defined. */
  readonly metrics: PluginMetrics;
  /** False when the plugin has written too much of late. */
  log(level: keyof typeof LEVEL, hook: number, text: string): boolean;
  /** Counts a line that is not written. */
  dropLog(hook: number): void;
}

/** The debt at which fuel owed for host calls is taken from the guest: a crossing costs 8 ns, so not at each call. */
const DEBT_STEP = 4096;

/** Ranges of memory that one host call takes. */
const MOST_RANGES = 4;

export class CallContext {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** For waits. */
  readonly after: After;
  readonly memory = new GuestMemory();
  /** The guest's own fuel counter, lowered by the host: `(units) -> units left`. */
  charge: (units: number) => number = () => 0;

  configuration: Configuration | null = null;
  /** Units that the call has, and bytes that it sees. */
  fuel = 0;
  seen = 0;
  /** Units for host calls that were not yet taken from the guest. */
  debt = 0;
  #step = DEBT_STEP;
  logLines = 0;
  /** Set around a call that is traced. */
  recorder: CallRecorder | null = null;
  /** What is being saved or restored; null but for those hooks. */
  state: SavedState | null = null;
  /**
   * A host call is under way. It stays true when an exception crossed that call, even where the guest caught it (the
   * exception instructions can); nothing the guest does after that counts.
   */
  busy = false;

  /** What the host keeps for the plugin because of this hook call. */
  readonly charges = new CallCharges();
  /** The hook under way: what it may read and change. */
  readonly scope = new HookScope(this.charges);
  readonly suspension = new GuestSuspension();

  /** The last answer to a request of this hook call. */
  fetched: FetchResponse | null = null;
  /** What came of its last `probe`; of calls that may wait alone, which clear it themselves (`guest.ts`). */
  probed: Buffer | null = null;

  constructor(now: () => number, after: After = setTimer) {
    this.now = now;
    this.after = after;
  }

  begin(
    hook: number,
    target: HookContext | null,
    view: EndpointList | null,
    configuration: Configuration | null,
  ): void {
    this.scope.begin(hook, target, view);
    this.configuration = configuration;
    this.debt = 0;
    this.logLines = 0;
    this.fetched = null;
    this.charges.begin(configuration === null ? null : (configuration.hostMemory ?? null), target);
  }

  /** The guest ends when what it waits for, of which `limits.memory` left room for so many bytes, is too large. */
  async refuseTooLarge(waited: Promise<number>, call: string, room: number): Promise<number> {
    const result = await waited;
    if (result !== STATUS.tooLarge) return result;
    this.busy = true;
    throw new Fault("memory", `${call}: the response is over limits.memory, which leaves it ${room} bytes`);
  }

  /** Ends a suspended guest by an error of the host's. A guest that catches it can make no further host call. */
  abort(fault: Fault): void {
    this.busy = true;
    this.suspension.cancel(fault);
  }

  /** The exchange has ended while the guest is suspended: it is let go of, and the guest ended. */
  abandon(): void {
    this.rollback();
    this.end();
    this.abort(new Fault("host", "the exchange has ended"));
  }

  /** The call under way has so much fuel, and sees so many bytes. A guest with little fuel may owe little of it. */
  allow(fuel: number, seen = 0): void {
    this.fuel = fuel;
    this.seen = seen;
    // Of a call that is traced each host call goes the slow way, where it is counted: all others pay nothing for that.
    this.#step = this.recorder === null ? Math.min(DEBT_STEP, fuel) : -1;
  }

  /** Drops all that the present hook call has changed. */
  rollback(): void {
    if (this.scope.target === null) return;
    this.scope.rollback();
    this.charges.rollback();
  }

  /** Forgets the exchange, so that nothing of it is kept alive or reached. */
  end(): void {
    this.scope.end();
    this.fetched = null;
    this.charges.end();
  }

  /** Begins the host call of that name, which reads and writes `bytes` bytes of the guest's memory. */
  enter(call: string, bytes: number): void {
    // The guest has caught the exception that crossed a host call: it makes no further one.
    if (this.busy) throw TRAP;
    this.busy = true;
    const { length } = this.memory.refresh();
    // More bytes than there can be cost nothing: the check of a range that follows ends the guest. Ranges may overlap.
    const paid = bytes <= MOST_RANGES * length ? bytes : 0;
    if ((this.debt += FUEL.hostCall + (paid >>> 6)) > this.#step) this.#enterSlowly(call);
  }

  #enterSlowly(call: string): void {
    this.recorder?.count(call);
    this.#settle();
  }

  /** Ends it. */
  leave(result: number): number {
    this.busy = false;
    return result;
  }

  /** Work that was not known when the call began, in bytes. */
  spend(bytes: number): void {
    if ((this.debt += bytes >>> 6) > this.#step) this.#settle();
  }

  #settle(): void {
    const left = this.charge(this.debt);
    this.debt = 0;
    if (left < 0) throw new Fault("fuel", this.fuelProblem);
  }

  /** More fuel, for bytes that have come within the call. */
  grant(bytes: number): void {
    const counted = Math.min(bytes, LIMIT.fetchBody);
    const more = fuelFor(this.fuel, counted) - this.fuel;
    this.seen += counted;
    this.fuel += more;
    this.charge(-more);
  }

  /** What to say of a call whose fuel is used up. */
  get fuelProblem(): string {
    const spent = `the fuel for one call is used up: ${this.fuel} units`;
    if (this.scope.isStarting) return `${spent} for ${this.seen} bytes of configuration`;
    const base = Math.max(0, this.fuel - FUEL.perByte * this.seen);
    return `${spent} for ${this.seen} bytes (limits.fuel: ${base}, and ${FUEL.perByte} for each byte)`;
  }

  get hidden(): HiddenNames | null {
    return this.configuration === null ? null : this.configuration.hidden;
  }
}
