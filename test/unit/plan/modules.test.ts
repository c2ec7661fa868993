import assert from "node:assert/strict";
import { join } from "node:path";
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
