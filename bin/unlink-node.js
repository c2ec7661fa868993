// Runs after the package was installed in a project. npm links the `node` that Sluice depends on into the project's
// node_modules/.bin, where it would precede the project's own Node in npm scripts. Sluice does not need the link, so it is
// removed, unless the project depends on such a package itself. Plain JavaScript; its errors do not fail the installation.
import { lstatSync, readFileSync, readlinkSync, unlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const modules = join(dirname(fileURLToPath(import.meta.url)), "../..");
const PACKAGE = /(?:^|[\\/])node-(?:darwin|linux)-(?:arm64|x64)[\\/]/;

if (basename(modules) === "node_modules") removeLink(join(modules, ".bin/node"));

function removeLink(link) {
  try {
    if (lstatSync(link).isSymbolicLink() && PACKAGE.test(readlinkSync(link)) && !isWanted()) unlinkSync(link);
  } catch {
    // There is no link, or it cannot be removed: README.md describes the workaround.
  }
}

/** Whether the project itself depends on a Node package. */
function isWanted() {
  const project = JSON.parse(readFileSync(join(modules, "../package.json"), "utf8"));
  return Object.keys({ ...project.dependencies, ...project.devDependencies, ...project.optionalDependencies }).some(
    (name) => name === "node" || PACKAGE.test(`${name}/`),
  );
}
