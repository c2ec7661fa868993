/** Runs health checks by plugins: calls the `health_check` hook for an endpoint and reports its result. */

import { HOOK, PROBLEM_KEY } from "../abi/abi.ts";
import type { CheckResult } from "../cluster/health.ts";
import { BareContext } from "../plugin/host/bare-context.ts";
import type { HookCaller } from "../plugin/host/hook-context.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import type { ExchangePool } from "../proxy/exchange-pool.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import type { CheckJob } from "./messages.ts";

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

/** Called once per job; null: this worker's snapshot has no such check, or was replaced during it. */
export type ReportChecked = (number: number, result: CheckResult | null) => void;

export class PluginChecks implements HookCaller {
  readonly #exchanges: ExchangePool;
  readonly #report: ReportChecked;
  /** Checks whose call is suspended. */
  readonly #running = new Set<PluginCheck>();

  constructor(exchanges: ExchangePool, report: ReportChecked) {
    this.#exchanges = exchanges;
    this.#report = report;
  }

  begin({ number, cluster: name, slot, timeout }: CheckJob, snapshot: Snapshot | null): void {
    const cluster = snapshot?.clusters.find(({ plan }) => plan.name === name);
    const member = cluster?.members.find(({ endpoint }) => endpoint.slot === slot);
    const checker = cluster?.checker ?? null;
    if (snapshot === null || member === undefined || checker === null) return this.#report(number, null);
    const check = new PluginCheck(number, checker, snapshot);
    check.caller = this;
    check.id = this.#exchanges.nextId();
    check.clusterName = name;
    check.endpoint = member.endpoint;
    check.deadline = performance.now() + timeout;
    const outcome = checker.call(HOOK.health_check, check);
    if (outcome !== OUTCOME.suspended) {
      check.release();
      return this.#report(number, resultOf(check, outcome));
    }
    snapshot.enter();
    this.#running.add(check);
  }

  resume(_hook: number, check: PluginCheck, outcome: number): void {
    if (!this.#running.has(check)) return;
    this.#end(check);
    this.#report(check.number, resultOf(check, outcome));
  }

  /** Cancels a check; nothing is reported. */
  cancel(number: number): void {
    for (const check of this.#running) if (check.number === number) this.#cancel(check);
  }

  /** Cancels all checks and reports null: another version was committed, or this worker stops. */
  stop(): void {
    for (const check of [...this.#running]) {
      this.#cancel(check);
      this.#report(check.number, null);
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

/** A plugin failure is `failed`, never `unhealthy`: it must not remove an endpoint from service. */
function resultOf({ checker: { plugin }, skipped, values }: PluginCheck, outcome: number): CheckResult {
  if (outcome === OUTCOME.busy) return { result: "failed", problem: `too many calls of plugin ${plugin} are queued` };
  // Under `skip` a failure has the outcome `continue`.
  if (outcome === OUTCOME.failed || skipped !== null) return { result: "failed", problem: `plugin ${plugin} failed` };
  if (outcome === OUTCOME.reject) {
    const reason = values?.get(`${plugin}\0${PROBLEM_KEY}`)?.current;
    const problem = reason ? Buffer.from(reason.bytes).toString() : `rejected by plugin ${plugin}`;
    return { result: "unhealthy", problem };
  }
  return { result: "healthy", problem: "" };
}
