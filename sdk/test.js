// `import { plugin } from "sluice/test"`: the test kit of the program that this file belongs to, from its sources in a
// checkout, compiled in a package.
import { existsSync } from "node:fs";

const source = new URL("../src/testing/index.ts", import.meta.url);
const kit = await import(existsSync(source) ? source : new URL("../dist/testing/index.js", import.meta.url));

export const { helpers, PluginFailure, plugin } = kit;
