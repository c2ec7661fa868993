import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { test } from "node:test";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";
import { readSettings } from "../../../src/config/plugin-schema.ts";
import { Modules, readWasmFiles } from "../../../src/plan/modules.ts";
import { ModuleBuilder } from "../../../src/plugin/wasm/builder.ts";
import { extismModule } from "../../support/extism.ts";

test("a function that `hooks` names and the module does not export is reported at that key", async (t) => {
  const builder = new ModuleBuilder();
  t.after(() => builder.close());
  const wasm = extismModule(
    '(func (export "a")) (func (export "b") (param i32)) (func $f (drop (call $input_length)))',
  );
  const builtins = join(import.meta.dirname, "../../../plugins");
  const problemsOf = async (hooks: string) => {
    const text = `listeners: { web: { address: ":1", cluster: a } }
clusters: { a: ["a:1"] }
plugins:
  p:
    wasm: a.wasm
    hooks: { ${hooks} }
`;
    const { config, problems } = loadConfig(text, { file: "/s.yaml", env: {} });
    if (config === null) return problems.map(formatProblem);
    const build = (bytes: Uint8Array, place: Parameters<ModuleBuilder["build"]>[1]) => builder.build(bytes, place);
    const modules = new Modules({ build, readSettings, builtins });
    const files = await readWasmFiles([join(builtins, "round-robin.wasm")]);
    const loaded = await modules.load(config, new Map([...files, ["/a.wasm", wasm]]));
    return loaded.problems.map(formatProblem);
  };
  assert.deepEqual(await problemsOf("on_request: a, on_response: none"), [
    '/s.yaml:6:42: plugins.p.hooks.on_response: /a.wasm: exports no "none", which is named as its hook on_response',
  ]);
  assert.deepEqual(await problemsOf("on_request: b"), [
    "/s.yaml:6:26: plugins.p.hooks.on_request: /a.wasm: the export b is (i32) -> (), expected () -> i32 or () -> ()",
  ]);
  assert.deepEqual(await problemsOf("on_request: a"), []);
  assert.match((await problemsOf("on_requests: a"))[0]!, /^\/s.yaml:6:14: plugins.p.hooks.on_requests: unknown key/);
});

test("a missing module gets the command that builds it", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-modules-"));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, "one.ts"), "");
  const text = `listeners: { web: { address: ":1", chain: [request-id], cluster: a } }
clusters: { a: ["a:1"] }
plugins:
  one: { wasm: one.wasm, source: one.ts }
  other: { wasm: other.wasm, source: one.ts }
  lost: { wasm: lost.wasm, source: lost.ts }
  foreign: { wasm: foreign.wasm }
`;
  const { config } = loadConfig(text, { file: join(directory, "s.yaml"), env: {} });
  const build = () => assert.fail("there is no module");
  const modules = new Modules({ build, readSettings, builtins: directory });
  const { problems } = await modules.load(config!, new Map());
  const path = (name: string) => relative("", join(directory, name));
  assert.deepEqual(problems.map(({ message }) => message.replace(`there is no file ${directory}/`, "")).sort(), [
    "foreign.wasm",
    `lost.wasm, nor its source ${path("lost.ts")}`,
    `one.wasm: run \`sluice plugin build ${path("one.ts")}\``,
    `other.wasm: run \`sluice plugin build ${path("one.ts")} -o ${path("other.wasm")}\``,
    "request-id.wasm; `npm ci` in the checkout builds it",
    "round-robin.wasm; `npm ci` in the checkout builds it",
  ]);
});
