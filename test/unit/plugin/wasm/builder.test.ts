import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { BUILD_LIMITS } from "../../../../src/plugin/wasm/build-job.ts";
import { ModuleBuilder } from "../../../../src/plugin/wasm/builder.ts";
import { PluginError } from "../../../../src/plugin/wasm/error.ts";
import { body, makeBomb, nested } from "../../../fixtures/bombs.ts";
import { buildFixture, MEMORY, readFixture } from "../kit.ts";
import { STORE, STORES } from "./compiled-eagerly.ts";

const PLACE = { memory: MEMORY, path: "plugin.wasm" };
/** Takes 200 MB to compile: within all bounds, but slow enough to be interrupted. */
const large = makeBomb({ functions: Array.from({ length: 20 }, () => body(8000, nested(1000))) });

function makeBuilder(t: TestContext, limits: Partial<typeof BUILD_LIMITS> = {}): ModuleBuilder {
  const builder = new ModuleBuilder("/trusted", { ...BUILD_LIMITS, ...limits });
  t.after(() => builder.close());
  return builder;
}

function isProblem(problem: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof PluginError && problem.test(error.message);
}

test("a module built in a separate process has the same result", async (t) => {
  const builder = makeBuilder(t);
  const here = buildFixture("no-op");
  for (const path of ["/elsewhere/no-op.wasm", "/trusted/no-op.wasm"]) {
    const aside = await builder.build(readFixture("no-op"), { memory: MEMORY, path });
    assert.deepEqual({ ...aside, module: null }, { ...here, module: null });
    assert.deepEqual(WebAssembly.Module.exports(aside.module), WebAssembly.Module.exports(here.module));
  }
});

test("problems of a module are reported, and others are still built", async (t) => {
  const builder = makeBuilder(t);
  const all = [readFixture("no-op"), readFixture("no-memory"), readFixture("strategy")];
  const results = await Promise.allSettled(all.map((bytes) => builder.build(bytes, PLACE)));
  assert.deepEqual(
    results.map((result) => (result.status === "rejected" ? result.reason.message : "built")),
    ["built", "no memory is declared", "built"],
  );
  assert.ok(results[1]!.status === "rejected" && results[1]!.reason instanceof PluginError);
});

test("a module that takes too much memory is rejected, and the next one is built", async (t) => {
  const builder = makeBuilder(t, { memory: 48 * 1024 * 1024 });
  await assert.rejects(builder.build(large, PLACE), isProblem(/^building it takes more than 48 MiB of memory$/));
  assert.equal((await builder.build(readFixture("no-op"), PLACE)).info.hooks, 0xff);
});

test("a module that takes too much time is refused", async (t) => {
  await assert.rejects(
    makeBuilder(t, { time: 1 }).build(large, PLACE),
    isProblem(/^building it takes more than 0\.001 s of processor time$/),
  );
  await assert.rejects(
    makeBuilder(t, { elapsed: 1 }).build(large, PLACE),
    isProblem(/^building it takes more than 0\.001 s$/),
  );
});

test("closing cancels builds", async (t) => {
  const builder = makeBuilder(t);
  const building = builder.build(large, PLACE);
  builder.close();
  await assert.rejects(building, isProblem(/^shutting down$/));
  await assert.rejects(builder.build(large, PLACE), isProblem(/^shutting down$/));
});

test("a process that ends is an error, and the next module gets another", {
  skip: process.platform !== "linux",
}, async (t) => {
  const builder = makeBuilder(t);
  await builder.build(readFixture("no-op"), PLACE);
  const building = builder.build(large, PLACE);
  // The job goes out before the child can be ended.
  setImmediate(() => {
    for (const pid of childrenOf(process.pid)) process.kill(pid, "SIGKILL");
  });
  await assert.rejects(building, isProblem(/^the process that builds it ended \(SIGKILL\)$/));
  assert.equal((await builder.build(readFixture("no-op"), PLACE)).info.hooks, 0xff);
});

test("the process gets no secrets, and is the first to be killed when memory runs out", {
  skip: process.platform !== "linux",
}, async (t) => {
  process.env.SLUICE_TEST_SECRET = "hidden";
  t.after(() => delete process.env.SLUICE_TEST_SECRET);
  const before = new Set(childrenOf(process.pid));
  await makeBuilder(t).build(readFixture("no-op"), PLACE);
  const [pid] = childrenOf(process.pid).filter((child) => !before.has(child));
  assert.doesNotMatch(readFileSync(`/proc/${pid}/environ`, "utf8"), /SLUICE_TEST_SECRET|PATH=/);
  assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8").trim(), "1000");
});

function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean).map(Number),
  );
}

test("functions are compiled before a module is used, and costly ones are not optimised", async () => {
  const script = join(import.meta.dirname, "compiled-eagerly.ts");
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ["--trace-wasm-compilation-times", "--wasm-sync-tier-up", script],
    { maxBuffer: 64 * 1024 * 1024 },
  );
  assert.deepEqual(stderr.split("\n").filter(Boolean), [
    "idle: optimised",
    "cheap: optimised",
    "costly: function 2 has 280004 bytes of code, above 262144",
  ]);
  // The engine also compiles modules of Node's own; ours are identified by their sizes.
  const compilersOf = (stores: number) => {
    const [least, most] = [stores * STORE.length, stores * STORE.length + 40];
    const sizes = stdout.matchAll(/#2 using (\w+), .* bodysize (\d+)/g);
    return [...sizes]
      .filter(([, , size]) => Number(size) > least && Number(size) < most)
      .map(([, compiler]) => compiler);
  };
  assert.deepEqual(compilersOf(STORES.idle), ["Liftoff"]);
  assert.deepEqual(compilersOf(STORES.cheap), ["Liftoff", "TurboFan"]);
  assert.deepEqual(compilersOf(STORES.costly), ["Liftoff"]);
});
