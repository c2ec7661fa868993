/**
 * Module hooks for the tests of a plugin: resolves `sluice/test` to the test kit of this program, and loads TypeScript as ES
 * modules, independent of packages installed next to the tests and of the type of their package.
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
