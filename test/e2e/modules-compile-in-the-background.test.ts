/** A module is built in a separate process: during an expensive build the proxy serves and can be stopped. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { aboveStack, body, makeBomb, nested, repeat } from "../fixtures/bombs.ts";
import { makePlugin } from "./bad-plugins.ts";
import { startUpstream } from "./peers.ts";
import { launcher, runSluice, simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

const good = makePlugin("request_head", "i32.const 0");
/** Within all bounds, but it takes seconds. */
const large = makeBomb({ functions: Array.from({ length: 15 }, () => body(8000, nested(1000))) });

const hostile: [name: string, wasm: Uint8Array, problem: RegExp][] = [
  [
    "many locals in nested blocks",
    makeBomb({ functions: [body(49_000, nested(8000))] }),
    /bad\.wasm: function 2 has 49000 locals, at most 16384/,
  ],
  [
    "a stack that blocks stand on",
    makeBomb({ functions: [body(0, aboveStack(30_000, 8000))] }),
    /bad\.wasm: function 2 has \d+ values to merge/,
  ],
  [
    "many imports of a call that waits, and many calls of them",
    makeBomb({ sleeps: 60_000, functions: [body(0, repeat(100_000, 0x41, 0, 0x10, 0, 0x1a))] }),
    /bad\.wasm: 60000 imports are declared, the limit is 1000/,
  ],
];

function buildProcessesOf(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean).map(Number),
  );
  return children.filter((child) => {
    try {
      return readFileSync(`/proc/${child}/cmdline`, "utf8").includes("build-process");
    } catch {
      return false;
    }
  });
}

async function buildProcessOf(pid: number): Promise<number> {
  let [found] = buildProcessesOf(pid);
  await until(() => ([found] = buildProcessesOf(pid)).length > 0, "a process builds a module");
  return found!;
}

testInUsualMode("modules that are expensive to build are rejected or built under traffic", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    simpleConfig(upstream.port, { route: "chain: [bad]", rest: "plugins: { bad: { wasm: ./bad.wasm } }" }),
    { files: { "bad.wasm": good } },
  );
  for (const [name, wasm, problem] of hostile) {
    sluice.write("bad.wasm", wasm);
    const { status, text } = await sluice.reload();
    assert.equal(status, 422, name);
    assert.match(text, /sluice\.yaml:\d+:\d+: plugins\.bad\.wasm: /, name);
    assert.match(text, problem, name);
    assert.equal((await fetch(sluice.url)).status, 200, name);
  }
  const { code, stdout } = await runSluice("check", "-c", join(sluice.directory, "sluice.yaml"));
  assert.equal(code, 1);
  assert.match(stdout, hostile.at(-1)![2], "check says the same");

  sluice.write("bad.wasm", large);
  let reloaded = false;
  const reloading = sluice.reload().finally(() => {
    reloaded = true;
  });
  if (process.platform === "linux") await buildProcessOf(sluice.pid);
  assert.equal((await sluice.ask("/health")).status, 200);
  assert.equal((await fetch(sluice.url)).status, 200);
  assert.equal(reloaded, false, "the module was still being built");
  assert.equal((await reloading).status, 200);
  assert.equal((await fetch(sluice.url)).status, 200);
});

testInUsualMode("a build ends with the program", async (t) => {
  if (process.platform !== "linux") return t.skip("needs /proc");
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    simpleConfig(upstream.port, { route: "chain: [bad]", rest: "plugins: { bad: { wasm: ./bad.wasm } }" }),
    { files: { "bad.wasm": good } },
  );
  await until(() => buildProcessesOf(sluice.pid).length === 0, "the process for the first module has ended");
  sluice.write("bad.wasm", large);
  const reloading = sluice.reload().catch(() => null);
  const building = await buildProcessOf(sluice.pid);
  await sluice.stop();
  await reloading;
  await until(() => !existsSync(`/proc/${building}`), "the build has ended with the program");

  const checking = spawn(process.execPath, [launcher, "check", "-c", join(sluice.directory, "sluice.yaml")]);
  const orphan = await buildProcessOf(checking.pid!);
  const gone = once(checking, "exit");
  checking.kill("SIGKILL");
  await gone;
  await until(() => !existsSync(`/proc/${orphan}`), "the build has ended with the program that was killed");
});
