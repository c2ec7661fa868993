/**
 * Whether a connection may be, and with which cluster its requests begin: the plugins of its listener's chain are asked
 * before a byte of it is looked at. Where one must be waited for, the version that asks is held until it has answered.
 */

import { HOOK } from "../abi/abi.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import { BareContext } from "../plugin/host/bare-context.ts";
import type { HookCaller } from "../plugin/host/hook-context.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { ConnectionChoice } from "./connection-choice.ts";
import type { Exchanges } from "./exchange.ts";
import type { ExchangeTrace } from "./exchange-trace.ts";
import type { ListenerState } from "./snapshot.ts";

const CONNECTION = 1 << HOOK.connection;

/** Whoever has connected. */
export interface Entrant {
  readonly peer: string;
  /** `choice`: the cluster that its requests begin with; null: none. */
  admitted(choice: ConnectionChoice | null): void;
  /** By a plugin that said so, or failed: its OUTCOME. */
  denied(outcome: number): void;
  /** Runs what a plugin's answer leads to: an exception there is this connection's alone. */
  guard(run: () => void): void;
}

/** One connection while its listener's chain decides on it. */
export class Judgement extends BareContext {
  readonly #admission: Admission;
  readonly listener: ListenerState;
  readonly entrant: Entrant;
  /** How many plugins of the chain have let it in. */
  at = 0;
  /** The result of the call that was suspended; -1: there is none. */
  settled = -1;
  /** A plugin's call was suspended: the version is held until the end. */
  holdsVersion = false;
  /** The chosen cluster, as an index, and the plugin that chose it. */
  cluster = -1;
  plugin = "";

  constructor(admission: Admission, listener: ListenerState, entrant: Entrant) {
    super();
    this.#admission = admission;
    this.caller = admission;
    this.listener = listener;
    this.entrant = entrant;
    this.listenerName = listener.plan.name;
    this.clientAddress = entrant.peer;
  }

  /** The connection is closed: cancels the pending plugin call. */
  cancel(): void {
    this.suspension?.cancel();
    this.#admission.release(this);
  }
}

export class Admission implements HookCaller {
  readonly #exchanges: Exchanges;
  readonly #cells: Float64Array;

  constructor(exchanges: Exchanges, cells: Float64Array) {
    this.#exchanges = exchanges;
    this.#cells = cells;
  }

  /**
   * Asks the plugins in the order of the chain, until one denies it; one that failed under `reject` denies it as well.
   * The entrant is told at once, and this is null; or later, where one must be waited for.
   */
  ask(listener: ListenerState, entrant: Entrant, trace: ExchangeTrace | null = null): Judgement | null {
    if ((listener.hooks & CONNECTION) === 0) {
      entrant.admitted(null);
      return null;
    }
    const judgement = new Judgement(this, listener, entrant);
    judgement.id = this.#exchanges.nextId();
    judgement.trace = trace;
    return this.#walk(judgement) ? judgement : null;
  }

  resume(_hook: number, judgement: Judgement, outcome: number): void {
    judgement.suspension = null;
    judgement.settled = outcome;
    judgement.entrant.guard(() => void this.#walk(judgement));
  }

  /** True: a plugin is waited for. */
  #walk(judgement: Judgement): boolean {
    const { chain, snapshot } = judgement.listener;
    for (; judgement.at < chain.length; judgement.at++) {
      const instance = chain[judgement.at]!;
      const outcome = judgement.settled < 0 ? instance.call(HOOK.connection, judgement) : judgement.settled;
      judgement.settled = -1;
      if (outcome === OUTCOME.waiting) {
        if (!judgement.holdsVersion) snapshot.enter();
        judgement.holdsVersion = true;
        return true;
      }
      if (outcome !== OUTCOME.continue) {
        this.#end(judgement, outcome);
        return false;
      }
      if (judgement.chosenCluster === judgement.cluster) continue;
      judgement.cluster = judgement.chosenCluster;
      judgement.plugin = instance.plugin;
    }
    this.#end(judgement, OUTCOME.continue);
    return false;
  }

  #end(judgement: Judgement, outcome: number): void {
    const { listener, entrant, cluster, plugin } = judgement;
    const choice = cluster < 0 ? null : new ConnectionChoice(plugin, listener.snapshot, cluster);
    if (outcome !== OUTCOME.continue) this.#cells[listener.plan.cells + LISTENER_CELLS.denied]!++;
    this.release(judgement);
    if (outcome === OUTCOME.continue) entrant.admitted(choice);
    else entrant.denied(outcome);
  }

  release(judgement: Judgement): void {
    judgement.release();
    if (judgement.holdsVersion) judgement.listener.snapshot.leave();
    judgement.holdsVersion = false;
  }
}
