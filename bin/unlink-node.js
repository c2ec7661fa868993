// Runs after the package has been installed into a project. npm links the `node` of the package that Sluice runs on into
// the project's node_modules/.bin, where it would go before the project's own Node in every npm script. Sluice finds it
// without the link, so it is removed, unless the project asks for such a package itself. Plain JavaScript, and no
// failure of it is one of the installation.
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
    // There is no link, or it may not be changed: README.md says how to do without it.
  }
}

/** The project itself depends on a Node from npm. */
function isWanted() {
  const project = JSON.parse(readFileSync(join(modules, "../package.json"), "utf8"));
  return Object.keys({ ...project.dependencies, ...project.devDependencies, ...project.optionalDependencies }).some(
    (name) => name === "node" || PACKAGE.test(`${name}/`),
  );
}
