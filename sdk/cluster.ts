import { KEY, KEY_CAP, encode } from "./bytes";
import { cluster_find, strategy_find } from "./imports";
import { check } from "./status";

/** A cluster that the plugin may select; returned by `cluster(name)`. */
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
 * The cluster of that name. Call it at the top of the file or in `configure`, so that an unknown name, or one that
 * `allow.clusters` does not include, makes the configuration invalid. Throws in these cases.
 */
export function cluster(name: string): Cluster {
  const id = cluster_find(KEY, encode(name, KEY, KEY_CAP));
  check(id, "cluster", name);
  return new Cluster(name, id);
}

/** A strategy of a cluster; returned by `strategy(name)`. */
// @ts-ignore: decorator
@final
export class Strategy {
  constructor(
    /** Its name in the configuration. */
    readonly name: string,
    readonly id: i32,
  ) {}
}

/** The strategy of that name. Call it at the top of the file or in `configure`. Throws if the name is unknown. */
export function strategy(name: string): Strategy {
  const id = strategy_find(KEY, encode(name, KEY, KEY_CAP));
  check(id, "strategy", name);
  return new Strategy(name, id);
}
