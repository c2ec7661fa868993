/** Loaded before a plugin's tests: `sluice/test` is the kit of this program, whatever is installed where they stand. */
import { registerHooks } from "node:module";

const KIT = new URL("../../../sdk/test.js", import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "sluice/test" ? { url: KIT, shortCircuit: true } : next(specifier, context),
});
