/**
 * Changes of endpoints by the admin interface: states, weights, additions and removals. They are kept over reloads until
 * the process ends, and are not written to the configuration file.
 */
import type { PlacelessEndpoint } from "../plan/endpoint-set.ts";

export const OPERATOR_STATES = ["active", "draining", "disabled"] as const;
export type OperatorState = (typeof OPERATOR_STATES)[number];

export type EndpointChange = { readonly weight?: number | undefined; readonly state?: OperatorState | undefined };

/** Changes of one endpoint. */
type Change = {
  added: PlacelessEndpoint | null;
  /** It is an endpoint of the configuration, or was one. */
  isConfigured: boolean;
  removed: boolean;
  weight: number | null;
  state: OperatorState;
};

/** Changed endpoints of one cluster at most. */
const MAX_CHANGES = 1000;

export class TooManyChanges extends Error {}

export class EndpointChanges {
  readonly #clusters = new Map<string, Map<string, Change>>();

  /** Adds an endpoint, or adds back one that was removed. @throws TooManyChanges */
  add(cluster: string, endpoint: PlacelessEndpoint): void {
    const change = this.#take(cluster, endpoint.address);
    if (change.removed) change.weight = endpoint.weight;
    else change.added = endpoint;
    change.removed = false;
  }

  /** @throws TooManyChanges */
  change(cluster: string, address: string, { weight, state }: EndpointChange): void {
    const change = this.#take(cluster, address);
    if (weight !== undefined) change.weight = weight;
    if (state !== undefined) change.state = state;
  }

  /** @throws TooManyChanges */
  remove(cluster: string, address: string): void {
    const change = this.#take(cluster, address);
    if (change.added !== null && !change.isConfigured) this.#clusters.get(cluster)!.delete(address);
    change.removed = true;
    change.state = "active";
  }

  /** The endpoints of a cluster with the changes, in order; additions last. */
  apply(cluster: string, list: readonly PlacelessEndpoint[]): readonly PlacelessEndpoint[] {
    const changes = this.#clusters.get(cluster);
    if (changes === undefined) return list;
    const known = new Set(list.map(({ address }) => address));
    for (const [address, change] of changes) change.isConfigured ||= known.has(address);
    const added = Array.from(changes.values(), (change) => change.added).filter((one) => one !== null);
    return [...list, ...added.filter(({ address }) => !known.has(address))].flatMap((endpoint) => {
      const change = changes.get(endpoint.address);
      if (change?.removed) return [];
      return { ...endpoint, weight: change?.weight ?? endpoint.weight };
    });
  }

  /** The states that operators have set, by address; null: none of the cluster's endpoints was changed. */
  statesOf(cluster: string): ReadonlyMap<string, { readonly state: OperatorState }> | null {
    return this.#clusters.get(cluster) ?? null;
  }

  /** Forgets changes of all other clusters. */
  keep(clusters: ReadonlySet<string>): void {
    for (const name of this.#clusters.keys()) if (!clusters.has(name)) this.#clusters.delete(name);
  }

  #take(cluster: string, address: string): Change {
    const changes = this.#clusters.getOrInsertComputed(cluster, () => new Map());
    const known = changes.get(address);
    if (known !== undefined) return known;
    if (changes.size >= MAX_CHANGES)
      throw new TooManyChanges(`the cluster ${cluster} has ${MAX_CHANGES} changed endpoints already`);
    const change: Change = { added: null, isConfigured: false, removed: false, weight: null, state: "active" };
    changes.set(address, change);
    return change;
  }
}
