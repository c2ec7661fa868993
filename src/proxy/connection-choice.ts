/** The cluster that a plugin chose for a connection: each of its requests begins with it, as if its chain had chosen it. */
import type { Exchange } from "./exchange.ts";
import type { ListenerState, Snapshot } from "./snapshot.ts";

export class ConnectionChoice {
  readonly plugin: string;
  /** Kept by its name: a connection outlives versions, and each has indices of its own. */
  readonly #cluster: string;
  /** The version that was looked at last, and what stands there. */
  #version: number;
  #index: number;

  constructor(plugin: string, { version, clusters }: Snapshot, index: number) {
    this.plugin = plugin;
    this.#cluster = clusters[index]!.plan.name;
    this.#version = version;
    this.#index = index;
  }

  /** A version that has no such cluster, or in which the plugin may not choose it, leaves it to the rules. */
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
