/**
 * The endpoint sets of all plans in use. When a source reports a change, the affected clusters get new sets, which are
 * posted to the workers; no file is read and no guest started. A set owns its endpoints' slots in shared memory until no
 * worker uses it.
 */
import type { ClusterConfig, Config, EndpointConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { listEndpoints, type PlacelessEndpoint } from "../plan/endpoint-set.ts";
import type { EndpointSource, SourceStatus } from "../plan/endpoint-source.ts";
import type { ClusterPlan, EndpointPlan, EndpointSet, Plan } from "../plan/plan.ts";
import type { ToWorker } from "../worker/messages.ts";
import type { EndpointChanges } from "./endpoint-changes.ts";
import type { SharedMemory } from "./shared-memory.ts";

export type EndpointSetsOptions = {
  /** The first source that has an entry provides its endpoints. */
  readonly sources: readonly EndpointSource[];
  readonly log: Pick<Log, "info" | "error">;
  /** Changes of the admin interface. */
  readonly changes: Pick<EndpointChanges, "apply" | "keep">;
  /** Sets own their slots by a negative number, since positive ones are versions of the plan. */
  readonly memory: Pick<SharedMemory, "endpoint" | "release">;
  /** The workers that may use a version of the plan. */
  readonly workersOf: (version: number) => readonly number[];
  readonly post: (worker: number, message: ToWorker) => void;
  /** Called when a set of the plan in service has changed. */
  readonly onChange: () => void;
};

/** A cluster of a plan in use; `owner` is its set's. */
type Entry = { readonly config: ClusterConfig; plan: ClusterPlan | null; owner: number };
type LivePlan = { readonly version: number; readonly entries: Entry[]; readonly owners: Set<number> };

/** Status of a cluster's set. Times are ms since the epoch. */
export type SetStatus = {
  readonly changedAt: number;
  readonly sources: readonly (SourceStatus & { readonly address: string; readonly endpoints: number })[];
};

export class EndpointSets {
  readonly #options: EndpointSetsOptions;
  readonly #plans = new Map<number, LivePlan>();
  /** The last set of each cluster over all plans, by name; `text` identifies its endpoints. */
  readonly #last = new Map<string, { text: string; version: number; changedAt: number }>();
  /** Workers that may still use a replaced set, by its owner. */
  readonly #replaced = new Map<number, Set<number>>();
  #committed = 0;
  #lastOwner = 0;

  constructor(options: EndpointSetsOptions) {
    this.#options = options;
  }

  /** Waits, for a bounded time, until the endpoints of all clusters are known. */
  async prepare({ clusters }: Pick<Config, "clusters">): Promise<void> {
    const entries = clusters.flatMap(({ endpoints }) => endpoints);
    await Promise.all(entries.map((entry) => this.#sourceOf(entry).prepare(entry)));
  }

  /** Makes the set of a cluster for a plan that is being built. @throws Error if there are no slots for its endpoints */
  build(version: number, config: ClusterConfig): EndpointSet {
    const live = this.#plans.getOrInsert(version, { version, entries: [], owners: new Set() });
    const list = this.#list(config);
    const { set, owner } = this.#allocate(live, config.name, list, JSON.stringify(list));
    live.entries.push({ config, plan: null, owner });
    return set;
  }

  /** Starts to update the sets of a built plan. */
  follow({ version, clusters }: Plan): void {
    for (const [index, entry] of (this.#plans.get(version)?.entries ?? []).entries()) entry.plan = clusters[index]!;
  }

  /** Watches the entries of the plan, which is in service now. */
  commit({ version }: Plan): void {
    this.#committed = version;
    const clusters = (this.#plans.get(version)?.entries ?? []).map(({ config }) => config);
    const bySource = Map.groupBy(
      clusters.flatMap(({ endpoints }) => endpoints),
      (entry) => this.#sourceOf(entry),
    );
    for (const source of this.#options.sources) source.watch(bySource.get(source) ?? []);
    const names = new Set(clusters.map(({ name }) => name));
    for (const name of this.#last.keys()) if (!names.has(name)) this.#last.delete(name);
    this.#options.changes.keep(names);
    // A name may have been resolved after the plan was built.
    this.update(() => true);
  }

  /** Updates the clusters with entries of this host, whose addresses have changed. */
  changed(host: string): void {
    this.update((config) => config.endpoints.some(({ address }) => address.host === host));
  }

  /** Replaces the set of each matching cluster whose endpoints have changed. */
  update(matches: (config: ClusterConfig) => boolean): void {
    let changed = false;
    for (const live of this.#plans.values()) {
      // Requests on a replaced plan finish with its current sets.
      if (live.version < this.#committed) continue;
      for (const [index, entry] of live.entries.entries())
        if (entry.plan !== null && matches(entry.config) && this.#replace(live, index, entry))
          changed ||= live.version === this.#committed;
    }
    if (changed) this.#options.onChange();
  }

  /** Handles a worker's report that it has stopped using a replaced set. */
  receive(worker: number, owner: number): void {
    const workers = this.#replaced.get(owner);
    if (workers?.delete(worker) && workers.size === 0) this.#free(owner);
  }

  /** Handles the end of a worker. */
  forget(worker: number): void {
    for (const owner of [...this.#replaced.keys()]) this.receive(worker, owner);
  }

  /** Frees all sets of a plan that no worker uses. */
  release(version: number): void {
    const live = this.#plans.get(version);
    this.#plans.delete(version);
    for (const owner of live?.owners ?? []) {
      this.#replaced.delete(owner);
      this.#options.memory.release(owner);
    }
  }

  /** Status of a cluster in service, or null. */
  describe(cluster: string): SetStatus | null {
    const entry = this.#plans.get(this.#committed)?.entries.find(({ config }) => config.name === cluster);
    if (entry === undefined) return null;
    const sources = entry.config.endpoints.map((endpoint) => {
      const source = this.#sourceOf(endpoint);
      const endpoints = source.endpoints(endpoint).length;
      return { address: endpoint.address.text, endpoints, ...source.describe(endpoint) };
    });
    return { changedAt: this.#last.get(cluster)?.changedAt ?? 0, sources };
  }

  #sourceOf(entry: EndpointConfig): EndpointSource {
    return this.#options.sources.find((source) => source.has(entry))!;
  }

  #list(config: ClusterConfig): readonly PlacelessEndpoint[] {
    const list = listEndpoints(config, (entry) => this.#sourceOf(entry).endpoints(entry));
    return this.#options.changes.apply(config.name, list);
  }

  /** Replaces a cluster's set if its endpoints have changed. Returns whether it did. */
  #replace(live: LivePlan, index: number, entry: Entry): boolean {
    const { config, owner: replaced } = entry;
    const plan = entry.plan!;
    const list = this.#list(config);
    const text = JSON.stringify(list);
    if (text === textOf(plan.set)) return false;
    try {
      const { set, owner } = this.#allocate(live, config.name, list, text);
      this.#log(live, plan, set);
      plan.set = set;
      entry.owner = owner;
    } catch (error) {
      const problem = (error as Error).message;
      this.#options.log.error({ cluster: config.name, problem }, "endpoint set rejected, keeping the current one");
      return false;
    }
    const workers = this.#options.workersOf(live.version);
    if (workers.length === 0) this.#free(replaced);
    else this.#replaced.set(replaced, new Set(workers));
    const { version } = live;
    const message: ToWorker = { type: "endpoints", version, cluster: index, set: plan.set, replaced };
    for (const worker of workers) this.#options.post(worker, message);
    return true;
  }

  #allocate(live: LivePlan, cluster: string, list: readonly PlacelessEndpoint[], text: string) {
    const owner = --this.#lastOwner;
    const { memory } = this.#options;
    try {
      const endpoints = list.map((endpoint) => ({ ...endpoint, ...memory.endpoint(owner, cluster, endpoint.address) }));
      live.owners.add(owner);
      return { set: { version: this.#versionOf(cluster, text), endpoints }, owner };
    } catch (error) {
      memory.release(owner);
      throw error;
    }
  }

  #versionOf(cluster: string, text: string): number {
    const last = this.#last.get(cluster);
    if (last?.text === text) return last.version;
    const version = (last?.version ?? 0) + 1;
    this.#last.set(cluster, { text, version, changedAt: Date.now() });
    return version;
  }

  #free(owner: number): void {
    this.#replaced.delete(owner);
    for (const { owners } of this.#plans.values()) owners.delete(owner);
    this.#options.memory.release(owner);
  }

  #log(live: LivePlan, { name, set: before }: ClusterPlan, set: EndpointSet): void {
    if (live.version !== this.#committed) return;
    const missingIn = ({ endpoints }: EndpointSet) => {
      const known = new Set(endpoints.map(({ address }) => address));
      return ({ address }: EndpointPlan) => !known.has(address);
    };
    const added = set.endpoints.filter(missingIn(before)).length;
    const removed = before.endpoints.filter(missingIn(set)).length;
    const fields = { cluster: name, set: set.version, endpoints: set.endpoints.length, added, removed };
    this.#options.log.info(fields, "endpoint set changed");
  }
}

/** The text of `#list` for a set: its endpoints without their slots. */
function textOf({ endpoints }: EndpointSet): string {
  return JSON.stringify(
    endpoints.map(({ address, host, port, path, weight, zone }) => {
      return { address, host, port, path, weight, zone };
    }),
  );
}
