/**
 * Loaded before a plugin's tests: `sluice/test` is the kit of this program, whatever is installed where they stand, and
 * TypeScript is modules, whatever kind of package they stand in (`npm init` makes one of CommonJS).
 */
import { registerHooks } from "node:module";

const KIT = new URL("../../sdk/test.js", import.meta.url).href;

registerHooks({
  resolve(specifier, context, next) {
    if (specifier === "sluice/test") return { url: KIT, shortCircuit: true };
    const found = next(specifier, context);
    return isTypeScript(found.url) ? { ...found, format: "module-typescript" } : found;
  },
  load: (url, context, next) => next(url, isTypeScript(url) ? { ...context, format: "module-typescript" } : context),
});

function isTypeScript(url: string): boolean {
  return /^file:.*(?<!\.c)\.m?ts$/.test(url) && !url.includes("/node_modules/");
}
