// `sluice/test`: loads the test kit from the sources in a checkout, or compiled from the package.
import { existsSync } from "node:fs";

const source = new URL("../src/testing/index.ts", import.meta.url);
const kit = await import(existsSync(source) ? source : new URL("../dist/testing/index.js", import.meta.url));

export const { helpers, PluginFailure, plugin } = kit;
