/**
 * The state that the host calls of one guest use: the scope of the current hook call, its configuration and its fuel. One
 * per guest, set before each hook call; fields instead of closures, so that a call allocates nothing.
 */

import { FUEL, type LEVEL, LIMIT, STATUS } from "../../abi/abi.ts";
import { fuelFor } from "../../abi/prices.ts";
import type { PendingBuffer } from "../../net/pending-buffer.ts";
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

/** A configuration as host calls use it. */
export interface Configuration {
  readonly plugin: string;
  readonly config: unknown;
  /** Names of headers hidden from the plugin; null: none. */
  readonly hidden: HiddenNames | null;
  /** Most bytes by which it can replace a body chunk, or that it can append. */
  readonly bodyLimit: number;
  /** Sends its subrequests; null: they are not available. */
  readonly fetcher: Fetcher | null;
  /** Whether subrequests to `cluster:NAME`, an origin or `endpoint` are permitted. */
  mayFetch(target: string): boolean;
  /** Returns the id of a cluster; `absent` for an unknown name, `denied` for one that is not permitted. */
  findCluster(name: string): number;
  /** Returns the index of a cluster id in this version; `invalid` or `denied`. */
  clusterIndex(id: number): number;
  findStrategy(name: string): number;
  strategyIndex(id: number): number;
  /** Sets the interval of `tick`. */
  tickEvery(milliseconds: number): void;
  /** The key-value store; null in a start check. */
  readonly keyValue: KeyValue | null;
  /** Returns the number of a namespace, or `denied`. */
  findNamespace(name: string): number;
  mayUse(namespace: number): boolean;
  /** Whether it may set the shared value of that name. */
  mayShare(name: string): boolean;
  /** The limit of the memory that the host uses for it; without it there is none. */
  readonly hostMemory?: HostMemory;
  readonly metrics: PluginMetrics;
  /** Writes a log line; returns false if the plugin has written too many in this second. */
  log(level: keyof typeof LEVEL, hook: number, text: string): boolean;
  /** Counts and logs a dropped log line: too long, or too many in this call or second. */
  dropLog(hook: number): void;
}

/** Fuel for host calls is subtracted from the guest's counter when it reaches this: entering the guest costs 8 ns. */
const DEBT_STEP = 4096;

/** Most memory ranges that one host call has as arguments. */
const MOST_RANGES = 4;

export class CallContext {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Timers of suspended calls. */
  readonly after: After;
  readonly memory = new GuestMemory();
  /** Subtracts from the guest's fuel counter: `(units) -> units left`. */
  charge: (units: number) => number = () => 0;

  configuration: Configuration | null = null;
  /** The budget of the call in units, and the bytes that it can read. */
  fuel = 0;
  seen = 0;
  /** Units for host calls that were not subtracted from the guest's counter yet. */
  debt = 0;
  #step = DEBT_STEP;
  logLines = 0;
  /** Set during a traced call. */
  recorder: CallRecorder | null = null;
  /** The state in `save` and `restore`; otherwise null. */
  state: PendingBuffer | null = null;
  /**
   * A host call is running. It stays true after a host call has thrown, even if the guest caught the exception: no later
   * host call of that guest is executed.
   */
  busy = false;

  /** The memory that the host uses because of this hook call. */
  readonly charges = new CallCharges();
  readonly scope = new HookScope(this.charges);
  readonly suspension = new GuestSuspension();

  /** The last response to a subrequest of this hook call. */
  fetched: FetchResponse | null = null;
  /** Bytes received by the last `probe`; cleared by suspendable calls (`guest.ts`). */
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

  /** Ends the guest if the result is `tooLarge`, for a response that was limited to `available` bytes by `limits.memory`. */
  async failTooLarge(result: Promise<number>, call: string, available: number): Promise<number> {
    const status = await result;
    if (status !== STATUS.tooLarge) return status;
    this.busy = true;
    throw new Fault("memory", `${call}: the response is over limits.memory, which leaves it ${available} bytes`);
  }

  /** Ends a suspended guest by an error. A guest that catches it cannot make further host calls. */
  abort(fault: Fault): void {
    this.busy = true;
    this.suspension.cancel(fault);
  }

  /** Ends a suspended guest whose exchange has ended. */
  abandon(): void {
    this.rollback();
    this.end();
    this.abort(new Fault("host", "the exchange has ended"));
  }

  /** Sets the budget of the call, in units, and the bytes that it can read. */
  allow(fuel: number, seen = 0): void {
    this.fuel = fuel;
    this.seen = seen;
    // In a traced call every host call takes the slow path, which records it; others have no cost for that. With little
    // fuel the counter is updated more often, so that a call cannot exceed it by much.
    this.#step = this.recorder === null ? Math.min(DEBT_STEP, fuel) : -1;
  }

  /** Reverts all changes of the current hook call. */
  rollback(): void {
    if (this.scope.target === null) return;
    this.scope.rollback();
    this.charges.rollback();
  }

  /** Drops the references to the context; from now on the guest cannot access it. */
  end(): void {
    this.scope.end();
    this.fetched = null;
    this.charges.end();
  }

  /** Begins the host call of that name, which reads and writes `bytes` bytes of the guest's memory. @throws Fault */
  enter(call: string, bytes: number): void {
    // The guest has caught an exception of a host call.
    if (this.busy) throw TRAP;
    this.busy = true;
    const { length } = this.memory.refresh();
    // Larger ranges are out of bounds, and the check that follows ends the guest. Ranges may overlap.
    const paid = bytes <= MOST_RANGES * length ? bytes : 0;
    if ((this.debt += FUEL.hostCall + (paid >>> 6)) > this.#step) this.#enterSlowly(call);
  }

  #enterSlowly(call: string): void {
    this.recorder?.count(call);
    this.#settle();
  }

  /** Ends the host call; returns its result. */
  leave(result: number): number {
    this.busy = false;
    return result;
  }

  /** Charges work that was not known at `enter`, in bytes (64 cost a unit). @throws Fault */
  spend(bytes: number): void {
    if ((this.debt += bytes >>> 6) > this.#step) this.#settle();
  }

  #settle(): void {
    const left = this.charge(this.debt);
    this.debt = 0;
    if (left < 0) throw new Fault("fuel", this.fuelProblem);
  }

  /** Adds fuel for bytes received during the call, as for bytes that it could read from the start. */
  grant(bytes: number): void {
    const counted = Math.min(bytes, LIMIT.fetchBody);
    const more = fuelFor(this.fuel, counted) - this.fuel;
    this.seen += counted;
    this.fuel += more;
    this.charge(-more);
  }

  /** The message of the failure `fuel`. */
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
