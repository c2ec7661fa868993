/** Health checks of endpoints by plugins, as the control plane orders them: the hook, and what it came to. */

import { HOOK, PROBLEM_KEY } from "../abi/abi.ts";
import type { Verdict } from "../cluster/health.ts";
import type { Instance } from "../plugin/host/host.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import type { CheckOrder } from "../worker/messages.ts";
import { Exchange, type Exchanges } from "./exchange.ts";
import type { Snapshot } from "./snapshot.ts";

/** A check that waits. */
type Running = { readonly number: number; readonly checker: Instance; readonly snapshot: Snapshot };

/** Told once for each order; null: this thread serves no version that has such a check, or does so no more. */
export type TellChecked = (number: number, verdict: Verdict | null) => void;

export class Examinations {
  readonly #exchanges: Exchanges;
  readonly #tell: TellChecked;
  readonly #running = new Map<Exchange, Running>();

  constructor(exchanges: Exchanges, tell: TellChecked) {
    this.#exchanges = exchanges;
    this.#tell = tell;
  }

  begin({ number, cluster: name, slot, timeout }: CheckOrder, snapshot: Snapshot | null): void {
    const cluster = snapshot?.clusters.find(({ plan }) => plan.name === name);
    const member = cluster?.members.find(({ endpoint }) => endpoint.slot === slot);
    const checker = cluster?.checker ?? null;
    if (snapshot === null || member === undefined || checker === null) return this.#tell(number, null);
    // Not one of those that were requests: what it does not set, a plugin must not read.
    const x = new Exchange();
    x.id = this.#exchanges.nextId();
    x.clusterName = name;
    x.endpoint = member.endpoint;
    x.startedAt = performance.now();
    x.deadline = x.startedAt + timeout;
    const outcome = checker.call(HOOK.health_check, x);
    if (outcome !== OUTCOME.waiting) {
      x.releaseKept();
      return this.#tell(number, judge(checker, x, outcome));
    }
    snapshot.enter();
    this.#running.set(x, { number, checker, snapshot });
  }

  /** What came of a check that waited. */
  resume(x: Exchange, outcome: number): void {
    const running = this.#running.get(x);
    if (running === undefined) return;
    this.#end(x, running);
    this.#tell(running.number, judge(running.checker, x, outcome));
  }

  /** Nobody waits for it any more. */
  cancel(number: number): void {
    for (const [x, running] of this.#running) if (running.number === number) this.#giveUp(x, running);
  }

  /** Gives up all: another version is taken into service, or this thread ends its own. */
  stop(): void {
    for (const [x, running] of [...this.#running]) {
      this.#giveUp(x, running);
      this.#tell(running.number, null);
    }
  }

  #giveUp(x: Exchange, running: Running): void {
    x.suspension?.cancel();
    this.#end(x, running);
  }

  #end(x: Exchange, { snapshot }: Running): void {
    this.#running.delete(x);
    x.suspension = null;
    x.releaseKept();
    snapshot.leave();
  }
}

/** A plugin that failed, or was not called, has said nothing of the endpoint: its own fault must not take one out. */
function judge({ plugin }: Instance, x: Exchange, outcome: number): Verdict {
  if (outcome === OUTCOME.busy) return { result: "failed", problem: `too many calls of plugin ${plugin} wait` };
  // Under `skip` a failure is answered as if nothing were.
  if (outcome === OUTCOME.failed || x.skipped !== null) return { result: "failed", problem: `plugin ${plugin} failed` };
  if (outcome === OUTCOME.reject) {
    const said = x.values?.get(`${plugin}\0${PROBLEM_KEY}`)?.standing;
    return { result: "unhealthy", problem: said ? Buffer.from(said.bytes).toString() : `plugin ${plugin} says so` };
  }
  return { result: "healthy", problem: "" };
}
