// Runs after `npm ci`: links `.bin/node`, which npm before 11 removes together with the packages of other platforms. Plain
// JavaScript, since it must run on older Node versions.
import { existsSync, symlinkSync } from "node:fs";

const link = new URL("../node_modules/.bin/node", import.meta.url);
const target = `../node-${process.platform}-${process.arch}/bin/node`;
if (!existsSync(link) && existsSync(new URL(target, link))) symlinkSync(target, link);
