// A guest serves one configuration, unless its plugin has `export const servesMany = true`. Such a plugin stores what it
// reads in `configure` in a `PerInstance`, which is indexed by the `instance` argument of every hook.

/** The configuration of the current hook call. */
let current: i32 = 0;
/** False during start-up code of a plugin that serves several configurations. */
let configurable: bool = true;

export function setInstance(instance: i32): void {
  current = instance;
  configurable = true;
}

/** Called before any code of a plugin that serves several configurations. */
export function forbidConfig(): void {
  configurable = false;
}

export function requireConfigurable(): void {
  if (!configurable) throw new Error("a plugin with servesMany must read the configuration in configure(), not at the top of the file");
}

/** One value per configuration, for a plugin that declares `export const servesMany = true`. */
// @ts-ignore: decorator
@final
export class PerInstance<T> {
  private values: Map<i32, T> = new Map<i32, T>();

  /** Stores the value of this configuration (in `configure`). */
  set(value: T): void {
    this.values.set(current, value);
  }

  /** The value of this configuration. */
  get(): T {
    return this.values.get(current);
  }
}
