import { KEY, KEY_CAP, encode } from "./bytes";
import { cluster_find, strategy_find } from "./imports";
import { check } from "./status";

/** A cluster that this plugin may choose. Made by `cluster(name)`. */
// @ts-ignore: decorator
@final
export class Cluster {
  constructor(
    /** Its name in the configuration. */
    readonly name: string,
    readonly id: i32,
  ) {}
}

/**
 * The cluster of that name. Say it at the top of the file or in `configure`: an unknown name, or one that the
 * plugin's `allow.clusters` leaves out, is refused when the configuration is loaded.
 */
export function cluster(name: string): Cluster {
  const id = cluster_find(KEY, encode(name, KEY, KEY_CAP));
  check(id, "cluster", name);
  return new Cluster(name, id);
}

/** A load-balancing strategy that a cluster offers. Made by `strategy(name)`. */
// @ts-ignore: decorator
@final
export class Strategy {
  constructor(
    /** Its name in the configuration. */
    readonly name: string,
    readonly id: i32,
  ) {}
}

/** The strategy of that name. Say it at the top of the file or in `configure`: an unknown name is refused there. */
export function strategy(name: string): Strategy {
  const id = strategy_find(KEY, encode(name, KEY, KEY_CAP));
  check(id, "strategy", name);
  return new Strategy(name, id);
}
