/** Endpoints in the control plane: their sets, from the configuration and DNS, and their active and passive health. */
import { HEALTH } from "../cluster/columns.ts";
import type { Config } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { STATIC_SOURCE } from "../plan/endpoint-source.ts";
import type { Plan } from "../plan/plan.ts";
import { DnsSources } from "./dns-source.ts";
import { EndpointChanges } from "./endpoint-changes.ts";
import type { CheckTarget } from "./endpoint-check.ts";
import { EndpointSets } from "./endpoint-sets.ts";
import { HealthChecks } from "./health-checks.ts";
import type { Lookup } from "./name-resolver.ts";
import { PassiveHealth } from "./passive-health.ts";
import { PluginCheckJobs } from "./plugin-check-jobs.ts";
import { type OnResult, probe } from "./probe.ts";
import type { SharedMemory } from "./shared-memory.ts";
import type { Versions } from "./versions.ts";
import type { Workers } from "./workers.ts";

export type EndpointsOptions = {
  readonly log: Log;
  readonly memory: SharedMemory;
  readonly workers: Workers;
  readonly versions: Versions;
  readonly resolver: Config["resolver"];
  /** Replaces DNS, in tests. */
  readonly lookup?: Lookup | undefined;
};

export class Endpoints {
  readonly sets: EndpointSets;
  readonly changes = new EndpointChanges();
  readonly #columns: SharedMemory["columns"];
  readonly dns: DnsSources;
  readonly checks: HealthChecks;
  readonly passive: PassiveHealth;
  readonly pluginChecks: PluginCheckJobs;
  #plan: Plan | null = null;

  constructor({ log, memory, workers, versions, resolver, lookup }: EndpointsOptions) {
    this.#columns = memory.columns;
    const post: Workers["post"] = (worker, message) => workers.post(worker, message);
    this.dns = new DnsSources({
      log,
      settings: resolver,
      onChange: (host) => this.sets.changed(host),
      ...(lookup && { lookup }),
    });
    this.sets = new EndpointSets({
      sources: [this.dns.services, this.dns.hosts, STATIC_SOURCE],
      log,
      changes: this.changes,
      memory,
      workersOf: (version) => versions.workersOf(version),
      post,
      onChange: () => this.take(this.#plan!),
    });
    this.pluginChecks = new PluginCheckJobs({ serving: () => versions.serving(), post });
    this.passive = new PassiveHealth({ columns: memory.columns, log });
    this.checks = new HealthChecks({
      probe: (target, onResult) => this.#probe(target, onResult),
      mark: (slot, unhealthy) => {
        memory.columns.mark(slot, HEALTH.unhealthy, unhealthy);
        if (!unhealthy) this.passive.clear(slot);
      },
      log,
    });
  }

  /** Checks the endpoints of the plan in service. */
  take(plan: Plan): void {
    this.#plan = plan;
    this.#markStates(plan);
    this.checks.take(plan);
    this.passive.take(plan);
  }

  /** Puts changes of the admin interface into service. */
  changed(cluster: string): void {
    this.sets.update(({ name }) => name === cluster);
    if (this.#plan !== null) this.#markStates(this.#plan);
  }

  /** Marks the endpoints that operators drain or disable. */
  #markStates({ clusters }: Plan): void {
    for (const { name, set } of clusters) {
      const states = this.changes.statesOf(name);
      for (const { address, slot } of set.endpoints) {
        const state = states?.get(address)?.state;
        this.#columns.mark(slot, HEALTH.draining, state === "draining");
        this.#columns.mark(slot, HEALTH.disabled, state === "disabled");
      }
    }
  }

  /** Handles the end of a worker. */
  forget(worker: number): void {
    this.sets.forget(worker);
    this.pluginChecks.forget(worker);
  }

  close(): void {
    this.dns.close();
    this.checks.close();
    this.passive.close();
  }

  /** Plugin checks run on workers, all others on the main thread. */
  #probe(target: CheckTarget, onResult: OnResult): () => void {
    const { endpoint, check } = target;
    if (check.probe.kind === "plugin") return this.pluginChecks.begin(target, onResult);
    const { timeout, tls, proxyProtocol } = check;
    return probe(check.probe, { endpoint, timeout, tls, proxyProtocol }, onResult);
  }
}
