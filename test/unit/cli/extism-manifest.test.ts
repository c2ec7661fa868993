import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { describeManifest, isManifest } from "../../../src/cli/extism-manifest.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { makeDirectory } from "../control/parts.ts";

const describe = (manifest: unknown) => describeManifest("m.json", JSON.stringify(manifest));
const notesOf = (manifest: unknown) => describe(manifest).split("not supported:\n")[1]?.split("\n").slice(0, -1) ?? [];

test("a manifest becomes an entry of `plugins` that the proxy accepts", () => {
  const text = describe({
    wasm: [{ path: "a/Tenant Filter.wasm" }],
    config: { header: "x: y", list: '["a"]' },
    allowed_hosts: ["api.example.com", "127.0.0.1:8080"],
    memory: { max_pages: 64 },
    timeout_ms: 1500,
  });
  const entry = text.slice(text.indexOf("plugins:"));
  const { config, problems } = loadConfig(
    `listeners: { web: { address: ":1", cluster: a } }\nclusters: { a: ["a:1"] }\n${entry}`,
    { file: "/etc/s.yaml", env: {} },
  );
  assert.deepEqual(problems, []);
  const [plugin] = config!.plugins;
  const { name, wasm, limits, allow } = plugin!;
  assert.deepEqual(
    [name, wasm.path, limits.memory, limits.time, allow.fetch],
    [
      "tenant-filter",
      "/etc/a/Tenant Filter.wasm",
      4 * 1024 * 1024,
      1500,
      ["https://api.example.com", "https://127.0.0.1:8080"],
    ],
  );
  assert.deepEqual(notesOf({ wasm: [{ path: "a.wasm" }] }), []);
});

test("settings without a counterpart are listed", () => {
  const all = {
    wasm: [{ path: "main.wasm", name: "main" }, { url: "https://example.com/b.wasm" }],
    allowed_hosts: ["*.example.com"],
    allowed_paths: { "/tmp": "/tmp" },
    memory: { max_var_bytes: 1 },
    timeout: 5,
  };
  assert.match(describe(all), /\n {2}main:\n {4}wasm: "main\.wasm"\n/);
  assert.deepEqual(
    notesOf(all).map((note) => note.trim().split(":")[0]),
    ["timeout", "wasm", "allowed_hosts", "memory.max_var_bytes", "allowed_paths"],
  );
  assert.match(
    describe({ wasm: [{ url: "https://example.com/b.wasm" }] }),
    /wasm: ".\/b\.wasm"\n\nnot supported:\n {2}url: save/,
  );
  assert.match(describe({ wasm: [{ data: "AGFzbQ==" }] }), /data: save the module as a file/);
});

test("a module with another hash and a file that is not a manifest are errors", async (t) => {
  const path = join(await makeDirectory(t), "a.wasm");
  writeFileSync(path, "abc");
  const hash = createHash("sha256").update("abc").digest("hex");
  assert.match(describe({ wasm: [{ path, hash: hash.toUpperCase() }] }), /is a manifest of Extism/);
  assert.throws(
    () => describe({ wasm: [{ path, hash: "00" }] }),
    /a\.wasm: its SHA-256 is ba7816bf[0-9a-f]+, the manifest has 00$/,
  );
  assert.throws(() => describe({ name: "a" }), /^Error: m\.json: expected a manifest of Extism/);
  assert.throws(() => describe({ wasm: ["a.wasm"] }), /wasm\.0 is "a\.wasm", expected an object/);
  assert.throws(() => describeManifest("m.json", "{ wasm"), /^Error: m\.json: not a manifest: /);
  assert.deepEqual([isManifest(Buffer.from(' \n{"wasm"')), isManifest(Buffer.from("\0asm{"))], [true, false]);
});
