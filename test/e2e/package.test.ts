/** What is published works where it is installed: with the Node of the machine, in an empty directory. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { findFreePort } from "./free-port.ts";
import { environment, testInUsualMode } from "./program.ts";

const root = join(import.meta.dirname, "../..");
const directory = mkdtempSync(join(tmpdir(), "sluice-package-"));
const sluice = join(directory, "node_modules/.bin/sluice");
// Without this checkout's own Node: the package must bring, or find, one that is new enough.
const path = process.env.PATH!.split(delimiter).filter((entry) => !entry.includes("node_modules"));
const env = { ...process.env, PATH: path.join(delimiter) };
const exec = promisify(execFile);

before(async () => {
  const { stdout } = await exec("npm", ["pack", "--json", "--pack-destination", directory], { cwd: root });
  const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf("[")));
  writeFileSync(join(directory, "package.json"), '{ "private": true, "type": "commonjs" }');
  await exec("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", `./${filename}`], {
    cwd: directory,
    env,
  });
});

after(() => rmSync(directory, { recursive: true, force: true }));

test("says its version", async () => {
  const { stdout } = await exec(sluice, ["--version"], { cwd: directory, env });
  const { version } = await import("../../package.json", { with: { type: "json" } }).then((module) => module.default);
  assert.equal(stdout, `sluice ${version}\n`);
});

testInUsualMode("passes a request on, and ends with 0 at SIGTERM", async (t) => {
  const upstream = createServer((request, response) => response.end(`${request.method} ${request.url}`));
  await once(upstream.listen(0, "127.0.0.1"), "listening");
  t.after(() => upstream.close());
  const port = await findFreePort();
  const config = join(directory, "sluice.yaml");
  writeFileSync(
    config,
    `admin: false
listeners:
  web: { address: "127.0.0.1:${port}", cluster: app }
clusters:
  app: ["127.0.0.1:${(upstream.address() as AddressInfo).port}"]
`,
  );
  const proxy = spawn(sluice, ["run", "-c", config], {
    cwd: directory,
    env: { ...environment(t), PATH: env.PATH },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = once(proxy, "exit");
  let answer: Response | null = null;
  while (answer === null && proxy.exitCode === null) {
    answer = await fetch(`http://127.0.0.1:${port}/hello`).catch(() => setTimeout(50, null));
  }
  assert.equal(await answer?.text(), "GET /hello");
  proxy.kill("SIGTERM");
  assert.deepEqual(await ended, [0, null]);
});

test("makes, tests and builds a plugin", async () => {
  await exec(sluice, ["plugin", "new", "hello", "--kind", "filter"], { cwd: directory, env });
  const { stdout } = await exec(sluice, ["plugin", "test", "hello"], { cwd: directory, env });
  assert.match(stdout, /pass 3\n/);
  await exec(sluice, ["plugin", "build", "hello"], { cwd: directory, env });
  await exec(sluice, ["check", "-c", "hello/sluice.yaml"], { cwd: directory, env });
});
