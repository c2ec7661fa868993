/** Health checks of endpoints by plugins, as the control plane orders them: the hook, and what it came to. */

import { HOOK, PROBLEM_KEY } from "../abi/abi.ts";
import type { CheckResult } from "../cluster/health.ts";
import { BareContext } from "../plugin/host/bare-context.ts";
import type { HookCaller } from "../plugin/host/hook-context.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import type { Exchanges } from "../proxy/exchange.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import type { CheckOrder } from "./messages.ts";

/** One check of one endpoint. */
export class PluginCheck extends BareContext {
  readonly number: number;
  readonly checker: Instance;
  readonly snapshot: Snapshot;

  constructor(number: number, checker: Instance, snapshot: Snapshot) {
    super();
    this.number = number;
    this.checker = checker;
    this.snapshot = snapshot;
  }
}

/** Told once for each order; null: this thread serves no version that has such a check, or does so no more. */
export type TellChecked = (number: number, verdict: CheckResult | null) => void;

export class PluginChecks implements HookCaller {
  readonly #exchanges: Exchanges;
  readonly #tell: TellChecked;
  /** Checks whose call is suspended. */
  readonly #running = new Set<PluginCheck>();

  constructor(exchanges: Exchanges, tell: TellChecked) {
    this.#exchanges = exchanges;
    this.#tell = tell;
  }

  begin({ number, cluster: name, slot, timeout }: CheckOrder, snapshot: Snapshot | null): void {
    const cluster = snapshot?.clusters.find(({ plan }) => plan.name === name);
    const member = cluster?.members.find(({ endpoint }) => endpoint.slot === slot);
    const checker = cluster?.checker ?? null;
    if (snapshot === null || member === undefined || checker === null) return this.#tell(number, null);
    const check = new PluginCheck(number, checker, snapshot);
    check.caller = this;
    check.id = this.#exchanges.nextId();
    check.clusterName = name;
    check.endpoint = member.endpoint;
    check.deadline = performance.now() + timeout;
    const outcome = checker.call(HOOK.health_check, check);
    if (outcome !== OUTCOME.waiting) {
      check.release();
      return this.#tell(number, judge(check, outcome));
    }
    snapshot.enter();
    this.#running.add(check);
  }

  resume(_hook: number, check: PluginCheck, outcome: number): void {
    if (!this.#running.has(check)) return;
    this.#end(check);
    this.#tell(check.number, judge(check, outcome));
  }

  /** Nobody waits for it any more. */
  cancel(number: number): void {
    for (const check of this.#running) if (check.number === number) this.#cancel(check);
  }

  /** Gives up all: another version is taken into service, or this thread ends its own. */
  stop(): void {
    for (const check of [...this.#running]) {
      this.#cancel(check);
      this.#tell(check.number, null);
    }
  }

  #cancel(check: PluginCheck): void {
    check.suspension?.cancel();
    this.#end(check);
  }

  #end(check: PluginCheck): void {
    this.#running.delete(check);
    check.release();
    check.snapshot.leave();
  }
}

/** A plugin that failed, or was not called, has said nothing of the endpoint: its own fault must not take one out. */
function judge({ checker: { plugin }, skipped, values }: PluginCheck, outcome: number): CheckResult {
  if (outcome === OUTCOME.busy) return { result: "failed", problem: `too many calls of plugin ${plugin} wait` };
  // Under `skip` a failure is answered as if nothing were.
  if (outcome === OUTCOME.failed || skipped !== null) return { result: "failed", problem: `plugin ${plugin} failed` };
  if (outcome === OUTCOME.reject) {
    const said = values?.get(`${plugin}\0${PROBLEM_KEY}`)?.standing;
    return { result: "unhealthy", problem: said ? Buffer.from(said.bytes).toString() : `plugin ${plugin} says so` };
  }
  return { result: "healthy", problem: "" };
}
