/**
 * Whether a connection may be, and with which cluster its requests begin: the plugins of its listener's chain are asked
 * before a byte of it is looked at. Where one must be waited for, the version that asks is held until it has answered.
 */

import { HOOK } from "../abi/abi.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import type { Trace } from "../trace/trace.ts";
import { ConnectionChoice } from "./connection-choice.ts";
import { Exchange, type Exchanges } from "./exchange.ts";
import type { ListenerState } from "./snapshot.ts";

const CONNECTION = 1 << HOOK.connection;
/** Judgements kept for further connections: more than one only where several have waited. */
const MAX_FREE = 16;

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

/** One connection while it is judged. */
export class Judgement {
  readonly #admission: Admission;
  /** Stands for the connection. It is never one of a request, so its heads are empty. */
  readonly x = new Exchange();
  listener!: ListenerState;
  entrant!: Entrant;
  /** How many plugins of the chain have let it in. */
  at = 0;
  /** The cluster that stands chosen, as an index, and the plugin that chose it. */
  cluster = -1;
  plugin = "";

  constructor(admission: Admission) {
    this.#admission = admission;
  }

  /** The connection is gone: whatever is waited for on its behalf is given up. */
  cancel(): void {
    this.#admission.giveUp(this);
  }
}

export class Admission {
  readonly #exchanges: Exchanges;
  readonly #cells: Float64Array;
  /** They serve again: one that does not wait is over before the next connection comes. */
  readonly #free: Judgement[] = [];
  readonly #waiting = new Map<Exchange, Judgement>();

  constructor(exchanges: Exchanges, cells: Float64Array) {
    this.#exchanges = exchanges;
    this.#cells = cells;
  }

  /**
   * Asks the plugins in the order of the chain, until one denies it; one that failed under `reject` denies it as well.
   * The entrant is told at once, and this is null; or later, where one must be waited for.
   */
  ask(listener: ListenerState, entrant: Entrant, trace: Trace | null = null): Judgement | null {
    if ((listener.hooks & CONNECTION) === 0) {
      entrant.admitted(null);
      return null;
    }
    const judgement = this.#free.pop() ?? new Judgement(this);
    judgement.listener = listener;
    judgement.entrant = entrant;
    judgement.at = 0;
    judgement.cluster = -1;
    judgement.plugin = "";
    const { x } = judgement;
    x.id = this.#exchanges.nextId();
    x.clientAddress = entrant.peer;
    x.listener = listener;
    x.listenerName = listener.plan.name;
    x.trace = trace;
    return this.#walk(judgement) ? judgement : null;
  }

  /** A plugin that was waited for has answered. */
  resume(x: Exchange, outcome: number): void {
    const judgement = this.#waiting.get(x)!;
    x.suspension = null;
    x.settled = outcome;
    judgement.entrant.guard(() => void this.#walk(judgement));
  }

  giveUp(judgement: Judgement): void {
    judgement.x.suspension?.cancel();
    this.#release(judgement);
  }

  /** True: a plugin is waited for. */
  #walk(judgement: Judgement): boolean {
    const { x, listener } = judgement;
    const { chain, snapshot } = listener;
    for (; judgement.at < chain.length; judgement.at++) {
      const instance = chain[judgement.at]!;
      const outcome = x.settled < 0 ? instance.call(HOOK.connection, x) : x.settled;
      x.settled = -1;
      if (outcome === OUTCOME.waiting) {
        if (this.#waiting.has(x)) return true;
        this.#waiting.set(x, judgement);
        snapshot.enter();
        return true;
      }
      if (outcome !== OUTCOME.continue) {
        this.#end(judgement, outcome);
        return false;
      }
      if (x.chosenCluster === judgement.cluster) continue;
      judgement.cluster = x.chosenCluster;
      judgement.plugin = instance.plugin;
    }
    this.#end(judgement, OUTCOME.continue);
    return false;
  }

  #end(judgement: Judgement, outcome: number): void {
    const { listener, entrant, cluster, plugin } = judgement;
    const choice = cluster < 0 ? null : new ConnectionChoice(plugin, listener.snapshot, cluster);
    if (outcome !== OUTCOME.continue) this.#cells[listener.plan.cells + LISTENER_CELLS.denied]!++;
    this.#release(judgement);
    if (outcome === OUTCOME.continue) entrant.admitted(choice);
    else entrant.denied(outcome);
  }

  #release(judgement: Judgement): void {
    const { x } = judgement;
    const { snapshot } = judgement.listener;
    if (x.kept !== null) x.releaseKept();
    x.reset();
    if (this.#free.length < MAX_FREE) this.#free.push(judgement);
    if (this.#waiting.delete(x)) snapshot.leave();
  }
}
