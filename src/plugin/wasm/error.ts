/** A module or a plugin that cannot be taken into service: what is wrong, where, and which value. */
export class PluginError extends Error {
  override readonly name = "PluginError";
}
