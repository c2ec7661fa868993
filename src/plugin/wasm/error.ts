/** A module or a plugin that cannot be taken into service: what is wrong, where, and which value. */
export class PluginError extends Error {
  override readonly name = "PluginError";
  /** The key in the configuration's `hooks` that is wrong; empty: another fault. */
  readonly hook: string;

  constructor(message: string, hook = "") {
    super(message);
    this.hook = hook;
  }
}
