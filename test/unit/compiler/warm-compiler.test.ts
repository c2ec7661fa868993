/** The compiler process is reused, and replaced after a crash or above its memory limit. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { WarmCompiler } from "../../../src/compiler/warm-compiler.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-warm-"));
after(() => rmSync(directory, { recursive: true }));

/** Replies at once; exits on `dies`, and once on `stumbles`. The source sets its reported memory. */
const file = join(directory, "compiler.mjs");
writeFileSync(
  file,
  `import { existsSync, writeFileSync } from "node:fs";
const mark = new URL("./stumbled", import.meta.url);
process.on("message", ({ source, wasm }) => {
  if (source === "dies") process.exit(3);
  if (source === "stumbles" && !existsSync(mark)) { writeFileSync(mark, ""); process.kill(process.pid, "SIGKILL"); return; }
  process.send({ source, problems: [], took: 1, files: [source, String(wasm)], memory: Number(source) || 0 });
});
process.on("disconnect", () => process.exit());
`,
);

test("one process builds all plugins, is restarted once per source after a crash, and is replaced when it uses too much memory", async () => {
  const compiler = new WarmCompiler({ entry: pathToFileURL(file), maxMemory: 100 });
  try {
    const all = await Promise.all(["1", "2"].map((source) => compiler.build({ source, wasm: "a" })));
    assert.deepEqual(
      all.map(({ source }) => source),
      ["1", "2"],
    );
    const first = compiler.pid;
    await compiler.build({ source: "99", wasm: "a" });
    assert.equal(compiler.pid, first);

    const [dead, next] = await Promise.all(["dies", "3"].map((source) => compiler.build({ source, wasm: "a" })));
    assert.deepEqual(dead?.problems, ["dies: the compiler ended: exit code 3"]);
    assert.deepEqual(next?.problems, [], "what waited behind it is built by the next process");
    const stumbled = await compiler.build({ source: "stumbles", wasm: "a" });
    assert.deepEqual(stumbled.problems, []);

    const second = compiler.pid;
    assert.notEqual(second, first);
    await compiler.build({ source: "101", wasm: "a" });
    assert.notEqual(compiler.pid, second, "another was started at once");
    assert.deepEqual((await compiler.build({ source: "5", wasm: "b" })).files, ["5", "b"]);
  } finally {
    compiler.close();
  }
});
