/**
 * The endpoint sets of the clusters of every plan that is alive. When a source reports a change, each cluster concerned
 * gets a new set with a version of its own, which workers receive by a message; no file is read and no guest started.
 * Places in shared memory are held for a set of a plan, and given back when no worker uses the set any more.
 */
import type { ClusterConfig, Config, EndpointConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { listEndpoints, type PlacelessEndpoint } from "../plan/endpoint-set.ts";
import type { EndpointSource, SourceStatus } from "../plan/endpoint-source.ts";
import type { ClusterPlan, EndpointPlan, EndpointSet, Plan } from "../plan/plan.ts";
import type { ToWorker } from "../worker/messages.ts";

export type EndpointSetsOptions = {
  /** In this order; the first that has an entry provides its endpoints. */
  readonly sources: readonly EndpointSource[];
  readonly log: Pick<Log, "info" | "error">;
  /** Holds an endpoint's places for a set; the holder is a negative number of that set alone. @throws Error when there are none */
  readonly place: (holder: number, cluster: string, address: string) => Pick<EndpointPlan, "slot" | "cells">;
  readonly release: (holder: number) => void;
  /** The workers that may use that version of the plan. */
  readonly holders: (version: number) => readonly number[];
  readonly post: (worker: number, message: ToWorker) => void;
  /** A set of the plan in service has changed. */
  readonly onChange: () => void;
};

/** A cluster of a plan that is alive, and the holder of its set's places. */
type Entry = { readonly config: ClusterConfig; plan: ClusterPlan | null; holder: number };
type Alive = { readonly version: number; readonly entries: Entry[]; readonly holders: Set<number> };

/** What is shown of the set of a cluster. Times are ms since the epoch. */
export type SetStatus = {
  readonly changedAt: number;
  readonly sources: readonly (SourceStatus & { readonly address: string; readonly endpoints: number })[];
};

export class EndpointSets {
  readonly #options: EndpointSetsOptions;
  readonly #alive = new Map<number, Alive>();
  /** The last set of each cluster in any plan, by name. */
  readonly #last = new Map<string, { text: string; version: number; changedAt: number }>();
  /** Workers that may still use a set that was replaced, by its holder. */
  readonly #leaving = new Map<number, Set<number>>();
  #committed = 0;
  #holder = 0;

  constructor(options: EndpointSetsOptions) {
    this.#options = options;
  }

  /** Waits until the endpoints of all clusters are known, or have taken too long. */
  async prepare({ clusters }: Pick<Config, "clusters">): Promise<void> {
    const entries = clusters.flatMap(({ endpoints }) => endpoints);
    await Promise.all(entries.map((entry) => this.#sourceOf(entry).prepare(entry)));
  }

  /** The set of a cluster for a plan that is being built. @throws Error when there is no room for its endpoints */
  build(version: number, config: ClusterConfig): EndpointSet {
    const alive = this.#alive.get(version) ?? { version, entries: [], holders: new Set() };
    this.#alive.set(version, alive);
    const list = this.#list(config);
    const { set, holder } = this.#hold(alive, config.name, list, JSON.stringify(list));
    alive.entries.push({ config, plan: null, holder });
    return set;
  }

  /** The plan was built: from now on its sets change. */
  follow({ version, clusters }: Plan): void {
    for (const [index, entry] of (this.#alive.get(version)?.entries ?? []).entries()) entry.plan = clusters[index]!;
  }

  /** The plan serves: its entries are watched. */
  commit({ version }: Plan): void {
    this.#committed = version;
    const clusters = (this.#alive.get(version)?.entries ?? []).map(({ config }) => config);
    const bySource = Map.groupBy(
      clusters.flatMap(({ endpoints }) => endpoints),
      (entry) => this.#sourceOf(entry),
    );
    for (const source of this.#options.sources) source.watch(bySource.get(source) ?? []);
    const names = new Set(clusters.map(({ name }) => name));
    for (const name of this.#last.keys()) if (!names.has(name)) this.#last.delete(name);
    // A name may have been resolved after the plan was built.
    this.update(() => true);
  }

  /** What entries with this host stand for has changed. */
  changed(host: string): void {
    this.update((config) => config.endpoints.some(({ address }) => address.host === host));
  }

  /** Makes a new set of each cluster whose endpoints are others than those of its set. */
  update(concerns: (config: ClusterConfig) => boolean): void {
    let changed = false;
    for (const alive of this.#alive.values()) {
      // Requests of a plan that was replaced end with the set that they began with.
      if (alive.version < this.#committed) continue;
      for (const [index, entry] of alive.entries.entries())
        if (entry.plan !== null && concerns(entry.config) && this.#replace(alive, index, entry))
          changed ||= alive.version === this.#committed;
    }
    if (changed) this.#options.onChange();
  }

  /** A worker uses a replaced set no more. */
  receive(worker: number, holder: number): void {
    const workers = this.#leaving.get(holder);
    if (workers?.delete(worker) && workers.size === 0) this.#free(holder);
  }

  /** A worker has ended. */
  forget(worker: number): void {
    for (const holder of [...this.#leaving.keys()]) this.receive(worker, holder);
  }

  /** No worker uses that version of the plan any more, or ever will. */
  release(version: number): void {
    const alive = this.#alive.get(version);
    this.#alive.delete(version);
    for (const holder of alive?.holders ?? []) {
      this.#leaving.delete(holder);
      this.#options.release(holder);
    }
  }

  /** Of a cluster in service; null where there is none of that name. */
  describe(cluster: string): SetStatus | null {
    const entry = this.#alive.get(this.#committed)?.entries.find(({ config }) => config.name === cluster);
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

  #list(config: ClusterConfig): PlacelessEndpoint[] {
    return listEndpoints(config, (entry) => this.#sourceOf(entry).endpoints(entry));
  }

  /** Whether the cluster has a new set. */
  #replace(alive: Alive, index: number, entry: Entry): boolean {
    const { config, holder: replaced } = entry;
    const plan = entry.plan!;
    const list = this.#list(config);
    const text = JSON.stringify(list);
    if (text === textOf(plan.set)) return false;
    try {
      const { set, holder } = this.#hold(alive, config.name, list, text);
      this.#log(alive, plan, set);
      plan.set = set;
      entry.holder = holder;
    } catch (error) {
      const problem = (error as Error).message;
      this.#options.log.error({ cluster: config.name, problem }, "endpoint set rejected, keeping the current one");
      return false;
    }
    const workers = this.#options.holders(alive.version);
    if (workers.length === 0) this.#free(replaced);
    else this.#leaving.set(replaced, new Set(workers));
    const { version } = alive;
    const message: ToWorker = { type: "endpoints", version, cluster: index, set: plan.set, replaced };
    for (const worker of workers) this.#options.post(worker, message);
    return true;
  }

  #hold(alive: Alive, cluster: string, list: readonly PlacelessEndpoint[], text: string) {
    const holder = --this.#holder;
    const { place, release } = this.#options;
    try {
      const endpoints = list.map((endpoint) => ({ ...endpoint, ...place(holder, cluster, endpoint.address) }));
      alive.holders.add(holder);
      return { set: { version: this.#versionOf(cluster, text), endpoints }, holder };
    } catch (error) {
      release(holder);
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

  #free(holder: number): void {
    this.#leaving.delete(holder);
    for (const { holders } of this.#alive.values()) holders.delete(holder);
    this.#options.release(holder);
  }

  #log(alive: Alive, { name, set: before }: ClusterPlan, set: EndpointSet): void {
    if (alive.version !== this.#committed) return;
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

/** As the list is before its endpoints have places. */
function textOf({ endpoints }: EndpointSet): string {
  return JSON.stringify(
    endpoints.map(({ address, host, port, path, weight, zone }) => {
      return { address, host, port, path, weight, zone };
    }),
  );
}
