// Runs before npm scripts that need the development dependencies. Plain JavaScript, since it must run on older Node versions.
import { existsSync } from "node:fs";

const LEAST = 26;
/** @param {string} path */
const has = (path) => existsSync(new URL(`../node_modules/${path}`, import.meta.url));

if (!["typescript/package.json", "assemblyscript/package.json"].every(has)) fail("the dependencies are not installed");
else if (Number.parseInt(process.versions.node, 10) < LEAST)
  fail(`this is Node ${process.versions.node}, and no ${LEAST} is in node_modules/.bin`);

/** @param {string} problem */
function fail(problem) {
  console.error(`sluice: ${problem}: run \`npm ci\` first`);
  process.exitCode = 1;
}
