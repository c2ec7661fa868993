/** A plugin is compiled once in a process, and again after a change of one of its files. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { buildPlugin } from "../../../src/compiler/build-plugin.ts";
import { DEFAULT_MEMORY } from "../../../src/testing/load.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-build-"));
after(() => rmSync(directory, { recursive: true }));

const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
const build = () => buildPlugin(join(directory, "plugin.ts"), DEFAULT_MEMORY);

test("a change of the source, of an import or of the schema is compiled", async () => {
  const source = `import { Request } from "sluice/sdk";
import { NAME } from "./name";
export function onRequest(req: Request): void { req.headers.set("x-name", NAME); }
`;
  write("plugin.ts", source);
  write("name.ts", 'export const NAME = "one";\n');
  const first = await build();
  assert.equal((await build()).hash, first.hash);
  write("name.ts", 'export const NAME = "another";\n');
  const second = await build();
  assert.notEqual(second.hash, first.hash);
  assert.equal(second.info.configSchema, null);
  write("plugin.schema.json", '{ "type": "object", "properties": { "name": { "type": "string" } } }');
  assert.notEqual((await build()).info.configSchema, null);
  write("plugin.ts", source.replace("onRequest", "onReqest"));
  await assert.rejects(build(), /`onReqest` is not a hook/);
  write("plugin.ts", source);
  assert.notEqual((await build()).info.configSchema, null);
});
