// Runs after `npm ci`, on whatever Node the machine has. npm before 11 takes `.bin/node` away again together with the
// packages of other platforms, all of which would have linked it.
import { existsSync, symlinkSync } from "node:fs";

const link = new URL("../node_modules/.bin/node", import.meta.url);
const target = `../node-${process.platform}-${process.arch}/bin/node`;
if (!existsSync(link) && existsSync(new URL(target, link))) symlinkSync(target, link);
