/**
 * Connection admission: runs the `connection` hooks of the listener's chain before any byte of the connection is parsed.
 * A plugin may deny the connection or choose the initial cluster of its requests. While a hook call is suspended, the
 * snapshot is retained.
 */

import { HOOK } from "../abi/abi.ts";
import type { Proxied } from "../net/proxy-protocol.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import { BareContext } from "../plugin/host/bare-context.ts";
import type { HookCaller } from "../plugin/host/hook-context.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { ConnectionChoice } from "./connection-choice.ts";
import type { ExchangePool } from "./exchange-pool.ts";
import type { ExchangeTrace } from "./exchange-trace.ts";
import type { ListenerState } from "./snapshot.ts";

const CONNECTION = 1 << HOOK.connection;

/** The connection under admission. Exactly one of `admitted` and `denied` is called, unless it is cancelled. */
export interface AdmissionHandler {
  /** The client's address. */
  readonly peer: string;
  /** What a PROXY protocol header reports; null without one. */
  readonly proxied: Proxied | null;
  /** `choice`: the initial cluster of the connection's requests; null: none was chosen. */
  admitted(choice: ConnectionChoice | null): void;
  /** A plugin denied the connection or failed under `reject`; `outcome`: one of OUTCOME. */
  denied(outcome: number): void;
  /** Runs `run`; an exception in it ends this connection only. */
  guard(run: () => void): void;
}

/** The state of one admission. */
export class PendingAdmission extends BareContext {
  readonly #admission: Admission;
  readonly listener: ListenerState;
  readonly handler: AdmissionHandler;
  /** Index of the current plugin in the chain. */
  at = 0;
  /** The outcome of the suspended call once it has completed; -1: none. */
  settled = -1;
  /** A call was suspended: the snapshot is retained until the decision. */
  retainsSnapshot = false;
  /** Index of the chosen cluster, or -1, and the plugin that chose it. */
  cluster = -1;
  plugin = "";

  constructor(admission: Admission, listener: ListenerState, handler: AdmissionHandler) {
    super();
    this.#admission = admission;
    this.caller = admission;
    this.listener = listener;
    this.handler = handler;
    this.listenerName = listener.plan.name;
    this.clientAddress = handler.peer;
    this.proxied = handler.proxied;
  }

  /** The connection is closed: cancels the pending plugin call. */
  cancel(): void {
    this.suspension?.cancel();
    this.#admission.release(this);
  }
}

export class Admission implements HookCaller {
  readonly #exchanges: ExchangePool;
  readonly #cells: Float64Array;

  constructor(exchanges: ExchangePool, cells: Float64Array) {
    this.#exchanges = exchanges;
    this.#cells = cells;
  }

  /**
   * Runs the hooks in chain order until one denies; a failure under `reject` denies too. Returns null if the decision was
   * reported synchronously, otherwise the pending admission, which the caller cancels if the connection closes.
   */
  evaluate(
    listener: ListenerState,
    handler: AdmissionHandler,
    trace: ExchangeTrace | null = null,
  ): PendingAdmission | null {
    if ((listener.hooks & CONNECTION) === 0) {
      handler.admitted(null);
      return null;
    }
    const pending = new PendingAdmission(this, listener, handler);
    pending.id = this.#exchanges.nextId();
    pending.trace = trace;
    return this.#run(pending) ? pending : null;
  }

  resume(_hook: number, pending: PendingAdmission, outcome: number): void {
    pending.suspension = null;
    pending.settled = outcome;
    pending.handler.guard(() => void this.#run(pending));
  }

  /** Returns true if a call was suspended. */
  #run(pending: PendingAdmission): boolean {
    const { chain, snapshot } = pending.listener;
    for (; pending.at < chain.length; pending.at++) {
      const instance = chain[pending.at]!;
      const outcome = pending.settled < 0 ? instance.call(HOOK.connection, pending) : pending.settled;
      pending.settled = -1;
      if (outcome === OUTCOME.suspended) {
        if (!pending.retainsSnapshot) snapshot.enter();
        pending.retainsSnapshot = true;
        return true;
      }
      if (outcome !== OUTCOME.continue) {
        this.#end(pending, outcome);
        return false;
      }
      if (pending.chosenCluster === pending.cluster) continue;
      pending.cluster = pending.chosenCluster;
      pending.plugin = instance.plugin;
    }
    this.#end(pending, OUTCOME.continue);
    return false;
  }

  #end(pending: PendingAdmission, outcome: number): void {
    const { listener, handler, cluster, plugin } = pending;
    const choice = cluster < 0 ? null : new ConnectionChoice(plugin, listener.snapshot, cluster);
    if (outcome !== OUTCOME.continue) this.#cells[listener.plan.cells + LISTENER_CELLS.denied]!++;
    this.release(pending);
    if (outcome === OUTCOME.continue) handler.admitted(choice);
    else handler.denied(outcome);
  }

  release(pending: PendingAdmission): void {
    pending.release();
    if (pending.retainsSnapshot) pending.listener.snapshot.leave();
    pending.retainsSnapshot = false;
  }
}
