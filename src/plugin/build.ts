/** What loading a module yields (contract; the plugin helper completes this file). */

/** Only `plugin/` knows what this is. */
export type CompiledModule = WebAssembly.Module;

export type ModuleInfo = {
  /** Bit mask of exported hooks. */
  readonly hooks: number;
  /** Import modules used: `sluice:core/1`, … */
  readonly groups: readonly string[];
  /** Bytes of the file. */
  readonly size: number;
};

/** A module that was checked, metered and compiled: posted to every thread. */
export type ModulePlan = {
  /** SHA-256 of the file, hex. */
  readonly hash: string;
  readonly module: CompiledModule;
  readonly info: ModuleInfo;
};
