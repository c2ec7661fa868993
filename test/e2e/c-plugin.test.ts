/** A plugin in C needs sdk/c/sluice.h only: the header declares what the host provides, and the plugin serves traffic. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { HOOKS, IMPORTS, REWRITES } from "../../src/abi/abi.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import { startUpstream } from "./peers.ts";
import { simpleConfig, startSluice, testInUsualMode } from "./program.ts";

const root = join(import.meta.dirname, "../..");
const example = join(root, "examples/c-plugin");
const directory = mkdtempSync(join(tmpdir(), "sluice-c-"));
after(() => rmSync(directory, { recursive: true }));

/** Runs the example's own script on a source; without clang it prints what to install. */
function build(source: string): { status: number | null; stderr: string; wasm: () => Uint8Array } {
  const place = join(directory, "repo/examples/c-plugin");
  spawnSync("mkdir", ["-p", join(place, "plugins"), join(directory, "repo/sdk/c")]);
  copyFileSync(join(root, "sdk/c/sluice.h"), join(directory, "repo/sdk/c/sluice.h"));
  copyFileSync(join(example, "build.sh"), join(place, "build.sh"));
  writeFileSync(join(place, "plugins/edition.c"), source);
  const { status, stderr } = spawnSync(join(place, "build.sh"), { encoding: "utf8" });
  return { status, stderr, wasm: () => readFileSync(join(place, "plugins/edition.wasm")) };
}

let edition: Uint8Array;
before(() => {
  const { status, stderr, wasm } = build(readFileSync(join(example, "plugins/edition.c"), "utf8"));
  assert.equal(status, 0, stderr);
  edition = wasm();
});

test("every host call and hook of the header exists in the host, with its type", () => {
  const header = readFileSync(join(root, "sdk/c/sluice.h"), "utf8");
  const declared = header.matchAll(/^SLUICE_IMPORT\(.+\)\n\w+ (sluice_\w+)\((.*)\);$/gm);
  const calls = Array.from(declared, ([, symbol, params = ""]) => {
    const zeros = params === "void" ? [] : params.split(",").map(() => 0);
    return `  (void)${symbol}(${zeros.join(", ")});\n`;
  });
  const hooks = HOOKS.map((hook) => `SLUICE_ON_${hook.toUpperCase()}(instance, exchange) { return 0; }\n`);
  const { status, stderr, wasm } = build(
    `#include "sluice.h"\nSLUICE_MODULE\nSLUICE_SERVES_MANY\n${hooks.join("")}
SLUICE_EXPORT("calls") void calls(void);\nvoid calls(void) {\n${calls.join("")}}\n`,
  );
  assert.equal(status, 0, stderr);
  // The host rejects unknown imports, and wrong types.
  const { module, info } = buildModule(wasm(), { memory: 16 * 1024 * 1024 });
  assert.equal(info.hooks, (2 ** HOOKS.length - 1) | REWRITES.request | REWRITES.response);
  assert.equal(info.servesMany, true);
  const offered = Object.entries(IMPORTS).flatMap(([group, names]) =>
    Object.keys(names).map((name) => `${group} ${name}`),
  );
  // The host adds the memory to the imports of a metered module.
  const functions = WebAssembly.Module.imports(module).filter(({ kind }) => kind === "function");
  const imported = functions.map(({ module, name }) => `${module} ${name}`);
  assert.deepEqual(imported.sort(), offered.sort());
});

test("the guide's C code compiles", () => {
  const guide = readFileSync(join(root, "docs/plugins.md"), "utf8");
  const shown = Array.from(guide.matchAll(/^```c\n(.*?)^```$/gms), ([, text]) => text!);
  assert.ok(shown.length > 0);
  for (const text of shown) {
    const { status, stderr, wasm } = build(text);
    assert.equal(status, 0, stderr);
    buildModule(wasm(), { memory: 16 * 1024 * 1024 });
  }
});

testInUsualMode("the C example reads, sets and removes headers and responds, on live traffic", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    (ports) =>
      `plugins: { edition: { wasm: ./edition.wasm, config: { edition: stable } } }
${simpleConfig(upstream.port, { listener: "chain: [edition]" })(ports)}`,
    { files: { "edition.wasm": edition } },
  );
  const seen = async (wants: string | null): Promise<unknown[]> => {
    await fetch(sluice.url, wants === null ? {} : { headers: { "x-wants": wants } });
    const { headers } = upstream.requests.at(-1)!;
    return [headers["x-edition"], headers["x-wants"]];
  };
  assert.deepEqual(await seen(null), ["stable", undefined]);
  assert.deepEqual(await seen("beta"), ["beta", undefined]);
  assert.deepEqual(await seen("no name"), ["stable", undefined]);
  assert.deepEqual(await seen("x".repeat(33)), ["stable", undefined]);
  const before = upstream.requests.length;
  const response = await fetch(`${sluice.url}/edition`, { headers: { "x-wants": "beta" } });
  assert.deepEqual(
    [response.status, response.headers.get("content-type"), await response.text()],
    [200, "text/plain", "beta"],
  );
  assert.equal(upstream.requests.length, before);
  sluice.config(sluice.configText.replace("edition: stable", "edition: NOT A NAME"));
  assert.match((await sluice.reload()).text, /rejects its configuration/);
  assert.deepEqual(await seen(null), ["stable", undefined]);
});
