import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { BroadcastChannel } from "node:worker_threads";
import { StartError, startApp } from "../../../src/control/app.ts";
import { ask, configOf, makeDirectory, startEndpoint, startProxy, until } from "./parts.ts";

test("a new version is activated as a whole, an unchanged file causes none, an invalid one changes nothing", async (t) => {
  const [one, two] = [await startEndpoint(t, "one"), await startEndpoint(t, "two")];
  const { app, file, write, url } = await startProxy(t, configOf([one]));
  const first = url();
  assert.deepEqual(await ask(first), { status: 200, text: "one" });
  assert.equal((await app.reload()).result, "unchanged");

  write(configOf([two]));
  assert.equal((await app.reload()).result, "accepted");
  assert.equal(app.status().version, 2);
  assert.equal(url(), first, "a port 0 stays the number that it became");
  assert.deepEqual(await ask(first), { status: 200, text: "two" });

  write(`${configOf([one])}\nplugins: { gone: { wasm: ./gone.wasm } }`);
  const refused = await app.reload();
  assert.equal(refused.result, "rejected");
  assert.deepEqual(refused.problems, [
    `${file}:8:26: plugins.gone.wasm: there is no file ${join(file, "../gone.wasm")}`,
  ]);
  assert.equal(app.status().version, 2);
  assert.deepEqual(await ask(first), { status: 200, text: "two" });

  write(configOf([two]));
  assert.equal((await app.reload()).result, "unchanged");
});

test("reload requests during a reload join the next one, which reads the newest file", async (t) => {
  const [one, two] = [await startEndpoint(t, "one"), await startEndpoint(t, "two")];
  const { app, write, url } = await startProxy(t, configOf([one]));
  write(configOf([one, two]));
  const running = app.reload();
  await Promise.resolve();
  write(configOf([two]));
  const waiting = [app.reload(), app.reload(), app.reload()];
  await Promise.all([running, ...waiting]);
  assert.ok(app.status().version <= 3);
  assert.deepEqual(await ask(url()), { status: 200, text: "two" });
});

test("a listener that cannot be bound changes nothing", async (t) => {
  const { app, write, url } = await startProxy(t, configOf([await startEndpoint(t, "one")]));
  const taken = createServer().listen(0, "127.0.0.1");
  t.after(() => taken.close());
  await new Promise((resolve) => taken.once("listening", resolve));
  const { port } = taken.address() as { port: number };
  write(
    configOf(["127.0.0.1:1"]).replace(
      "listeners:",
      `listeners:\n  more: { address: "127.0.0.1:${port}", cluster: app }`,
    ),
  );
  const { result, problems } = await app.reload();
  assert.equal(result, "rejected");
  assert.deepEqual(problems, [`listener more: cannot listen at 127.0.0.1:${port}: address already in use`]);
  assert.deepEqual(await ask(url()), { status: 200, text: "one" });
});

test("problems of a start are reported in whole lines", async (t) => {
  const file = join(makeDirectory(t), "sluice.yaml");
  const start = (config: string) => {
    writeFileSync(file, config);
    return startApp({ file, logLevel: "silent", watch: false });
  };
  const isProblem = (pattern: RegExp) => (error: unknown) => {
    assert.ok(error instanceof StartError);
    assert.equal(error.problems.length, 1);
    assert.match(error.problems[0]!, pattern);
    return true;
  };
  await assert.rejects(startApp({ file: join(file, "../none.yaml") }), isProblem(/none\.yaml: no such file$/));
  await assert.rejects(start("listeners: 1"), isProblem(/sluice\.yaml:1:12: listeners: /));
  const broken = configOf(["127.0.0.1:1"], "plugins: { bad: { wasm: ./sluice.yaml } }");
  await assert.rejects(start(broken), isProblem(/:7:25: plugins\.bad\.wasm: .*not a WebAssembly module/));
  const taken = createServer().listen(0, "127.0.0.1");
  t.after(() => taken.close());
  await new Promise((resolve) => taken.once("listening", resolve));
  const { port } = taken.address() as { port: number };
  await assert.rejects(
    start(configOf(["127.0.0.1:1"]).replace('web: { address: "127.0.0.1:0"', `web: { address: "127.0.0.1:${port}"`)),
    isProblem(/^listener web: cannot listen at .*: address already in use$/),
  );
  await assert.rejects(
    start(configOf(["127.0.0.1:1"]).replace("admin: 127.0.0.1:0", `admin: 127.0.0.1:${port}`)),
    isProblem(/^admin: cannot listen at .*: address already in use$/),
  );
});

test("a worker that fails is replaced: its replacement serves the version in service, and counters continue", async (t) => {
  const config = configOf([await startEndpoint(t, "one")]).replace("workers: 2", "workers: 1");
  const entry = new URL("./crashing-worker.ts", import.meta.url);
  const { app, url } = await startProxy(t, config, { entry });
  assert.equal((await ask(url())).status, 200);
  const channel = new BroadcastChannel("sluice-crash");
  t.after(() => channel.close());
  channel.postMessage(0);
  await until(() => app.status().workers[0]!.restarts === 1 && app.status().workers[0]!.serving);
  assert.equal(app.status().version, 1);
  assert.deepEqual(await ask(url()), { status: 200, text: "one" });
  const { text } = await ask(`${app.admin}/metrics`);
  assert.match(text, /^sluice_worker_restarts_total\{worker="0",reason="crash"\} 1$/m);
  await until(async () =>
    /^sluice_requests_total\{.*status="200"\} 2$/m.test((await ask(`${app.admin}/metrics`)).text),
  );
  assert.equal(app.status().requestsInFlight, 0);
});

test("a version that one worker rejects is released by the others", async (t) => {
  const endpoint = await startEndpoint(t, "one");
  const entry = new URL("./rejecting-worker.ts", import.meta.url);
  const { app, url, write } = await startProxy(t, configOf([endpoint]), { entry });
  const guests = () => app.status().workers[0]!.guests;
  await until(() => guests() > 0);
  const before = guests();
  const path = join(makeDirectory(t), "local.sock");
  const local = `local: { address: "unix:${path}", cluster: app, chain: [request-id] }`;
  write(configOf([endpoint]).replace("listeners:", `listeners:\n  ${local}`));
  const reloaded = app.reload();
  await until(() => guests() > before);
  assert.ok(existsSync(path));
  const channel = new BroadcastChannel("sluice-refuse");
  t.after(() => channel.close());
  channel.postMessage("now");
  const { result, problems } = await reloaded;
  assert.deepEqual([result, problems], ["rejected", ["rejects on purpose"]]);
  await until(() => guests() === before);
  await until(() => !existsSync(path));
  assert.deepEqual(await ask(url()), { status: 200, text: "one" });
});

test("a name becomes its addresses, and a Unix socket is listened at", async (t) => {
  const endpoint = await startEndpoint(t, "named");
  const { app, url, write } = await startProxy(t, configOf([endpoint.replace("127.0.0.1", "localhost")]));
  assert.deepEqual(await ask(url()), { status: 200, text: "named" });
  const path = join(makeDirectory(t), "web.sock");
  const unix = (cluster: string) =>
    configOf([cluster]).replace("listeners:", `listeners:\n  local: { address: "unix:${path}", cluster: app }`);
  write(unix(endpoint));
  assert.deepEqual((await app.reload()).problems, []);
  // The endpoint is the Unix socket of another listener of this proxy.
  write(
    unix(endpoint)
      .replace(`app: ["${endpoint}"]`, `app: ["${endpoint}"]\n  through: ["unix:${path}"]`)
      .replace('"127.0.0.1:0", cluster: app', '"127.0.0.1:0", cluster: through'),
  );
  assert.deepEqual((await app.reload()).problems, []);
  assert.deepEqual(await ask(url()), { status: 200, text: "named" });
});

test("a listener moves from one address to all of them at the same port, and back", async (t) => {
  const config = configOf([await startEndpoint(t, "one")]);
  const { app, write, url } = await startProxy(t, config);
  const { port } = new URL(url());
  for (const host of ["127.0.0.1", "", "127.0.0.1"]) {
    write(config.replace('"127.0.0.1:0", cluster', `"${host}:${port}", cluster`));
    assert.deepEqual((await app.reload()).problems, []);
    assert.deepEqual(await ask(`http://127.0.0.1:${port}`), { status: 200, text: "one" });
  }
});

test("a changed file becomes a new version without a request to reload", async (t) => {
  const [one, two] = [await startEndpoint(t, "one"), await startEndpoint(t, "two")];
  const { app, write, url } = await startProxy(t, configOf([one]), { watch: true });
  write(configOf([two]));
  await until(() => app.status().version === 2);
  assert.deepEqual(await ask(url()), { status: 200, text: "two" });
});

test("series and rows of removed objects are released, and others keep their counts", async (t) => {
  const [one, two] = [await startEndpoint(t, "one"), await startEndpoint(t, "two")];
  const { app, write, url } = await startProxy(t, configOf([one]));
  await ask(url());
  const metrics = async () => (await ask(`${app.admin}/metrics`)).text;
  for (let round = 0; round < 5; round++)
    for (const endpoint of [two, one]) {
      write(configOf([endpoint]));
      assert.equal((await app.reload()).result, "accepted");
    }
  await until(async () => !(await metrics()).includes(`endpoint="${two}"`));
  const text = await metrics();
  assert.match(text, /^sluice_requests_total\{listener="web",route="0",cluster="app",status="200"\} 1$/m);
  assert.ok(text.includes(`sluice_upstream_duration_seconds_count{cluster="app",endpoint="${one}"}`));
});

const countWorkers = (app: { status(): { workers: readonly { serving: boolean }[] } }): number =>
  app.status().workers.filter(({ serving }) => serving).length;

test("the number of workers follows the configuration, unless the command line sets it", async (t) => {
  const config = configOf([await startEndpoint(t, "one")]);
  const { app, write, url } = await startProxy(t, config);
  for (const workers of [3, 1, 2]) {
    write(config.replace("workers: 2", `workers: ${workers}`));
    assert.deepEqual((await app.reload()).problems, []);
    assert.equal(countWorkers(app), workers);
    assert.deepEqual(await ask(url()), { status: 200, text: "one" });
  }
  const fixed = await startProxy(t, config, { workers: 1 });
  fixed.write(config.replace("workers: 2", "workers: 3"));
  assert.equal((await fixed.app.reload()).result, "accepted");
  assert.equal(countWorkers(fixed.app), 1);
});

test("more workers than the table can hold are rejected with the number, as is a version whose workers do not start", async (t) => {
  const config = configOf([await startEndpoint(t, "one")]);
  const { app, write, url } = await startProxy(t, config.replace("workers: 2", "workers: 1"));
  const places = Math.max(64, 4 * availableParallelism());
  if (places < 256) {
    write(config.replace("workers: 2", "workers: 256"));
    const [problem] = (await app.reload()).problems;
    assert.match(problem!, new RegExp(`^workers: 256 workers .* limit since the start is ${places}`));
  }
  // If a version is rejected for another reason, the workers started for it are removed.
  write(
    config
      .replace("workers: 2", "workers: 3")
      .replace("listeners:", 'listeners:\n  bad: { address: "192.0.2.1:1", cluster: app }'),
  );
  assert.match((await app.reload()).problems[0]!, /^listener bad: cannot listen/);
  await until(() => app.status().workers.length === 1);
  assert.equal(app.status().version, 1);
  assert.deepEqual(await ask(url()), { status: 200, text: "one" });
});

test("a worker that fails at its start causes the rejection of the version that needs it", async (t) => {
  const config = configOf([await startEndpoint(t, "one")]).replace("workers: 2", "workers: 1");
  const entry = new URL("./first-worker-only.ts", import.meta.url);
  const { app, write, url } = await startProxy(t, config, { entry });
  write(config.replace("workers: 1", "workers: 2"));
  assert.deepEqual((await app.reload()).problems, ["worker 1 ended: crash"]);
  await until(() => app.status().workers.length === 1);
  assert.deepEqual(await ask(url()), { status: 200, text: "one" });
});

test("a name without an address affects only its cluster, which serves once the name has one", async (t) => {
  const endpoint = await startEndpoint(t, "served");
  const { port } = new URL(`http://${endpoint}`);
  const known = new Map<string, string>();
  const lookup = async (name: string) => {
    const address = known.get(name);
    if (address === undefined) throw Object.assign(new Error("no such name"), { code: "ENOTFOUND" });
    return { addresses: [address], ttl: 1 };
  };
  const config = `workers: 2
admin: 127.0.0.1:0
listeners:
  web: { address: "127.0.0.1:0", routes: [{ match: { prefix: /later/ }, cluster: later }, { cluster: app }] }
clusters:
  app: ["${endpoint}"]
  later: { endpoints: ["later.invalid:${port}"], health: { active: { tcp: true } } }
`;
  const { app, url, write } = await startProxy(t, config, { lookup });
  const cluster = async () => JSON.parse((await ask(`${app.admin}/api/v1/clusters`)).text)[1];
  assert.deepEqual(await ask(url()), { status: 200, text: "served" });
  assert.equal((await ask(`${url()}/later/`)).status, 503);
  const { endpoints, unresolved } = await cluster();
  assert.deepEqual([endpoints, unresolved], [[], [{ address: `later.invalid:${port}`, problem: "ENOTFOUND" }]]);
  assert.match((await ask(`${app.admin}/metrics`)).text, /^sluice_endpoints_unresolved\{cluster="later"\} 1$/m);

  // The address is added although the file is invalid by now.
  write("listeners: 1");
  assert.equal((await app.reload()).result, "rejected");
  known.set("later.invalid", "127.0.0.1");
  await until(async () => (await ask(`${url()}/later/`)).status === 200);
  assert.deepEqual((await cluster()).unresolved, []);
  assert.equal(app.status().lastReload?.result, "rejected", "the problem of the file is still reported");

  // The name cannot be resolved: its last address stays in use.
  known.delete("later.invalid");
  const failures = async () =>
    Number(/^sluice_resolve_failures_total (\d+)$/m.exec((await ask(`${app.admin}/metrics`)).text)?.[1]);
  const before = await failures();
  await until(async () => (await failures()) > before);
  write(config.replace("prefix: /later/", "prefix: /later2/"));
  assert.equal((await app.reload()).result, "accepted");
  assert.equal((await ask(`${url()}/later2/`)).status, 200);
});
