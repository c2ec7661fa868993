/** The cluster that a plugin chose for a connection. Each request begins with it, as if its chain had chosen it. */
import type { Exchange } from "./exchange.ts";
import type { ListenerState, Snapshot } from "./snapshot.ts";

export class ConnectionChoice {
  readonly plugin: string;
  /** By name: a connection outlives versions of the configuration, which have their own indices. */
  readonly #cluster: string;
  /** The last version that was searched, and the cluster's index in it; -1: none. */
  #version: number;
  #index: number;

  constructor(plugin: string, { version, clusters }: Snapshot, index: number) {
    this.plugin = plugin;
    this.#cluster = clusters[index]!.plan.name;
    this.#version = version;
    this.#index = index;
  }

  /** Does nothing if the version has no such cluster, or the plugin may not choose it. */
  apply(x: Exchange): void {
    const { snapshot } = x.listener!;
    if (snapshot.version !== this.#version) {
      this.#version = snapshot.version;
      this.#index = this.#find(x.listener!);
    }
    if (this.#index < 0) return;
    x.chosenCluster = this.#index;
    x.connectionChoice = this;
  }

  #find({ chain, snapshot }: ListenerState): number {
    const name = this.#cluster;
    const may = chain.some((instance) => instance.plugin === this.plugin && instance.mayChoose(name));
    return may ? snapshot.clusters.findIndex(({ plan }) => plan.name === name) : -1;
  }
}
