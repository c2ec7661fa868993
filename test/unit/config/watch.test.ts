import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { watchFiles } from "../../../src/config/watch.ts";

const TIMES = { quiet: 20, longest: 200, poll: 100 };

/** A directory with two files that are watched; `changed` waits for the next call. */
function start(t: TestContext, names = ["a.yaml", "b.wasm"]) {
  const directory = mkdtempSync(join(tmpdir(), "sluice-watch-"));
  const path = (name: string) => join(directory, name);
  writeFileSync(path("a.yaml"), "one");
  writeFileSync(path("b.wasm"), "one");
  let calls = 0;
  let wake = () => {};
  const watch = watchFiles(
    names.map(path),
    () => {
      calls++;
      wake();
    },
    TIMES,
  );
  t.after(() => {
    watch.close();
    rmSync(directory, { recursive: true, force: true });
  });
  /** Makes a change, and waits until it is reported. */
  const changed = async (change: () => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    wake = resolve;
    // Nothing else keeps the process alive: the watch must not.
    const alive = setInterval(() => {}, 1000);
    change();
    await promise.finally(() => clearInterval(alive));
  };
  return { directory, path, watch, changed, calls: () => calls };
}

test("a written file is reported for every way of writing", async (t) => {
  const { path, changed } = start(t);
  await changed(() => appendFileSync(path("a.yaml"), "two"));
  await changed(() => writeFileSync(path("b.wasm"), "three"));
  await changed(() => {
    writeFileSync(path("a.yaml.tmp"), "four");
    renameSync(path("a.yaml.tmp"), path("a.yaml"));
  });
  await changed(() => appendFileSync(path("a.yaml"), "after it was replaced"));
  await changed(() => rmSync(path("a.yaml")));
  await changed(() => writeFileSync(path("a.yaml"), "five"));
});

test("other files of the directory are ignored", async (t) => {
  const { path, changed, calls } = start(t);
  writeFileSync(path("other"), "one");
  await changed(() => appendFileSync(path("a.yaml"), "two"));
  assert.equal(calls(), 1);
});

test("a replaced symbolic link is noticed", async (t) => {
  const { path, watch, changed } = start(t, []);
  for (const version of ["v1", "v2"]) {
    mkdirSync(path(version));
    writeFileSync(join(path(version), "c.yaml"), version);
  }
  symlinkSync("v1", path("current"));
  symlinkSync(join("current", "c.yaml"), path("c.yaml"));
  watch.update([path("c.yaml")]);
  await changed(() => {
    symlinkSync("v2", path("next"));
    renameSync(path("next"), path("current"));
  });
});

test("a file in a directory that does not exist yet is noticed when it is created", async (t) => {
  const { directory, path, watch, changed } = start(t);
  watch.update([path("a.yaml"), join(directory, "later", "d.wasm")]);
  await changed(() => {
    mkdirSync(path("later"));
    writeFileSync(join(directory, "later", "d.wasm"), "one");
  });
});

test("changes of removed files, and after close, are not reported", async (t) => {
  const { path, watch, changed, calls } = start(t);
  watch.update([path("b.wasm")]);
  appendFileSync(path("a.yaml"), "two");
  await changed(() => appendFileSync(path("b.wasm"), "two"));
  assert.equal(calls(), 1);
  watch.close();
  appendFileSync(path("b.wasm"), "three");
  await setTimeout(TIMES.poll * 3);
  assert.equal(calls(), 1);
});
