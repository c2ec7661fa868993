// One guest serves one configuration, unless its plugin says `export const servesMany = true`. What such a plugin
// reads in `configure` it keeps in a `PerInstance`, and finds again by the number that the host hands to every hook.

/** The configuration that the hook under way is called for. */
let current: i32 = 0;
/** False while start-up code of a plugin that serves many runs: there is no one configuration to read. */
let configurable: bool = true;

export function setInstance(instance: i32): void {
  current = instance;
  configurable = true;
}

/** Run before any code of a plugin that serves many. */
export function forbidConfig(): void {
  configurable = false;
}

export function requireConfigurable(): void {
  if (!configurable) throw new Error("a plugin that serves many configurations reads them in configure(), not at the top of the file");
}

/** One value for each configuration of a plugin that declares `export const servesMany = true`. */
// @ts-ignore: decorator
@final
export class PerInstance<T> {
  private values: Map<i32, T> = new Map<i32, T>();

  /** Keeps the value for this configuration (in `configure`). */
  set(value: T): void {
    this.values.set(current, value);
  }

  /** The value of this configuration. */
  get(): T {
    return this.values.get(current);
  }
}
