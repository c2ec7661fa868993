/** From nothing to a plugin: `plugin new`, `plugin test`, `plugin build`, `plugin inspect`, and their error messages. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Commands, type Ended } from "../support/commands.ts";
import { extismModule } from "../support/extism.ts";
import { launcher } from "./program.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-plugin-"));
// As `npm init` makes one; a plugin's tests are modules all the same.
writeFileSync(join(directory, "package.json"), '{ "private": true, "type": "commonjs" }');
after(() => rmSync(directory, { recursive: true, force: true }));

/** Loads the program, and the compiler, once for all of them. */
const commands = new Commands(directory);
after(() => commands.close());
const sluice = (...args: string[]): Promise<Ended> => commands.run(...args);

/** As a user runs it. */
function sluiceAlone(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [launcher, ...args], { cwd: directory }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

const COST = /\n {4}\w+ +\d+ ns, \d+ units of fuel, no memory growth\n$/;
const HOOKS = {
  filter: "request_head response_head",
  router: "route",
  strategy: "update pick",
  health: "health_check",
} as const;

for (const kind of ["filter", "router", "strategy", "health"] as const) {
  test(`a ${kind} plugin is scaffolded, tested, built and inspected, and its configuration is valid`, async () => {
    const made = await sluice("plugin", "new", `my-${kind}`, "--kind", kind);
    assert.equal(made.code, 0, made.stderr);
    const unbuilt = await sluice("check", "-c", `my-${kind}/sluice.yaml`);
    assert.equal(unbuilt.code, 1);
    assert.match(
      unbuilt.stdout,
      new RegExp(
        `plugins\\.my-${kind}\\.wasm: there is no file \\S+: run \`sluice plugin build my-${kind}/plugin\\.ts\`\\n`,
      ),
    );
    const tested = await sluiceAlone("plugin", "test", `my-${kind}`);
    assert.equal(tested.code, 0, tested.stdout + tested.stderr);
    assert.match(tested.stdout, /^ℹ pass [23]$/m);
    assert.equal(tested.stderr, "");
    const built = await sluice("plugin", "build", `my-${kind}`);
    assert.equal(built.code, 0, built.stderr);
    assert.match(built.stdout, new RegExp(`^my-${kind}/plugin\\.wasm  [\\d.]+ KiB  hooks: ${HOOKS[kind]}\\n`));
    assert.match(built.stdout, /\n {2}code [\d.]+ KiB, data [\d.]+ KiB, name [\d.]+ KiB, .*; [\d.]+ KiB compressed\n/);
    assert.match(built.stdout, /\n {4} +\d+ bytes {2}__arena_leave\n/);
    const map = JSON.parse(readFileSync(join(directory, `my-${kind}/plugin.wasm.map`), "utf8"));
    assert.ok(map.sources.includes("plugin.ts"), map.sources.join(" "));
    // From the source once, and otherwise from what is built: compiling again would be most of this test.
    const benched = kind === "filter" ? "my-filter" : `my-${kind}/plugin.wasm`;
    const inspected = await sluice("plugin", "inspect", `my-${kind}/plugin.wasm`);
    const checked = await sluice("check", "-c", `my-${kind}/sluice.yaml`);
    const measured = await sluice("plugin", "bench", benched, "-H", "x-canary: 1");
    assert.equal(inspected.code, 0, inspected.stderr);
    assert.match(inspected.stdout, new RegExp(`\\n  hooks    ${HOOKS[kind]}\\n`));
    // The time of a suspended call is not its cost.
    const cost = kind === "health" ? /\n {2}no measurable hook\n$/ : COST;
    assert.match(inspected.stdout, cost);
    if (kind === "health") assert.match(inspected.stdout, /\n {2}imports {2}sluice:fetch\/1: fetch fetch_body/);
    if (kind === "filter") assert.match(inspected.stdout, /\n {2}config {3}greeting: string {2}\(default hello; Value/);
    assert.equal(measured.code, 0, measured.stderr);
    assert.match(measured.stdout, kind === "health" ? /^ {2}no measurable hook\n$/ : COST);
    assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  });
}

test("options name the plugin's surroundings; tests take limits as configurations do", async () => {
  const source = `import { cluster, kv, Request } from "sluice/sdk";
const other = cluster("other");
const seen = kv("seen");
export function onRequest(req: Request): void { req.choose(other); seen.increment("all"); }
`;
  writeFileSync(join(directory, "looks.ts"), source);
  const without = await sluice("plugin", "bench", "looks.ts");
  assert.equal(without.code, 1);
  assert.match(without.stderr, /cluster "other": it is unknown/);
  const measured = await sluice("plugin", "bench", "looks.ts", "--clusters", "other", "--kv", "seen");
  assert.equal(measured.code, 0, measured.stderr);
  assert.match(measured.stdout, /\n {4}request_head/);
  const text = `import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";
const allow = { kv: ["seen"] };
test("chooses", async () => {
  const guest = await plugin("./looks.ts", { allow, limits: { memory: "64MiB", time: "2s" } });
  assert.equal(guest.request().cluster, "other");
});
test("rejects a malformed size", async () => {
  await assert.rejects(plugin("./looks.ts", { allow, limits: { memory: "64 megs" } }), /limits\\.memory is "64 megs", expected/);
});
`;
  writeFileSync(join(directory, "looks.test.ts"), text);
  const tested = await sluiceAlone("plugin", "test", "looks.test.ts", "--clusters", "app,other");
  assert.equal(tested.code, 0, tested.stdout);
  assert.match(tested.stdout, /^ℹ pass 2$/m);
});

test("a scaffold uses ports that are free", async (t) => {
  const taken = createServer();
  await once(taken.listen(8080, "127.0.0.1"), "listening").catch(() => undefined);
  t.after(() => taken.close());
  const made = await sluice("plugin", "new", "beside");
  assert.equal(made.code, 0, made.stderr);
  const text = readFileSync(join(directory, "beside/sluice.yaml"), "utf8");
  const [, web] = /address: 127\.0\.0\.1:(\d+)/.exec(text)!;
  const [, admin] = /^admin: 127\.0\.0\.1:(\d+)$/m.exec(text)!;
  assert.ok(Number(web) > 8080, text);
  assert.ok(Number(admin) >= 9901, text);
  assert.match(made.stdout, new RegExp(`http://127\\.0\\.0\\.1:${web}/`));
  assert.match(readFileSync(join(directory, "beside/README.md"), "utf8"), new RegExp(`127\\.0\\.0\\.1:${web}/`));
  assert.equal((await sluice("init", "site")).code, 0);
  assert.doesNotMatch(readFileSync(join(directory, "site/sluice.yaml"), "utf8"), /127\.0\.0\.1:8080/);
});

test("compile errors are reported as file:line:col, and nothing is written", async () => {
  writeFileSync(
    join(directory, "bad.ts"),
    'import { Request } from "sluice/sdk";\nexport function onReqest(req: Request): void {}\n',
  );
  const built = await sluice("plugin", "build", "bad.ts");
  assert.equal(built.code, 1);
  assert.equal(built.stdout, "");
  assert.match(built.stderr, /^bad\.ts:2:17: `onReqest` is not a hook; did you mean `onRequest`\?.*\n$/);
  assert.ok(!existsSync(join(directory, "bad.wasm")));
});

test("a failing test is reported with lines of the plugin's source", async () => {
  const plugin = `import { Request } from "sluice/sdk";
let zero = 0;
export function onRequest(req: Request): void {
  zero = 1 / zero;
}
`;
  writeFileSync(join(directory, "fails.ts"), plugin);
  const text = `import { test } from "node:test";
import { plugin } from "sluice/test";
const guest = await plugin("./fails.ts");
test("divides", () => void guest.request());
`;
  writeFileSync(join(directory, "fails.test.ts"), text);
  const tested = await sluiceAlone("plugin", "test", "fails.test.ts");
  assert.equal(tested.code, 1);
  assert.match(tested.stdout, /PluginFailure: .*request_head: divide by zero\n\s+at request_head \(fails\.ts:4:/);
});

test("plugin build takes an output file and the garbage-collected runtime", async () => {
  const source =
    'import { Request } from "sluice/sdk";\nlet last = "";\nexport function onRequest(req: Request): void { last = req.path; }\n';
  writeFileSync(join(directory, "keeps.ts"), source);
  const built = await sluiceAlone("plugin", "build", "keeps.ts", "--runtime", "gc", "--out", "other.wasm");
  assert.equal(built.code, 0, built.stderr);
  assert.ok(existsSync(join(directory, "other.wasm")) && existsSync(join(directory, "other.wasm.map")));
  assert.ok(!existsSync(join(directory, "keeps.wasm")));
});

test("an Extism plugin and its manifest are inspected", async () => {
  const get = "(drop (call $user_kv_get (i64.const 0) (i64.const 0)))";
  writeFileSync(join(directory, "asks.wasm"), extismModule(`(func (export "on_log") ${get} (call $http_reject))`));
  const { code, stdout, stderr } = await sluice("plugin", "inspect", "asks.wasm");
  assert.equal(code, 0, stderr);
  assert.match(stdout, /\n {2}hooks {4}log \(on_log\)\n/);
  assert.match(
    stdout,
    /\n {2}imports {2}sluice:kv\/1: sluice_kv_get\n {2}may {6}.*requires allow: \{ kv: \[NAME\] \}\n/,
  );
  assert.match(stdout, /\n {2}imports {2}sluice:http\/1: reject\n {2}may {6}read and change requests/);
  writeFileSync(join(directory, "asks.json"), '{"wasm":[{"path":"asks.wasm"}]}');
  const manifest = await sluice("plugin", "inspect", "asks.json");
  assert.match(manifest.stdout, /\nplugins:\n {2}asks:\n {4}wasm: "asks\.wasm"\n$/);
});

test("an error is one line and has its exit code", async () => {
  writeFileSync(join(directory, "text.wasm"), "not a module");
  mkdirSync(join(directory, "empty"));
  const cases: [args: string[], code: number, stderr: RegExp][] = [
    [["new"], 64, /plugin new takes one NAME/],
    [["new", "Bad Name"], 64, /invalid plugin name "Bad Name": expected lower-case letters, digits and dashes/],
    [["new", "fine", "--kind", "odd"], 64, /invalid --kind "odd": expected one of filter, router, strategy, health/],
    [["new", "."], 64, /invalid plugin name "\."/],
    [["build", "none.ts"], 1, /none\.ts: no such file or directory/],
    [["build", "--runtime", "odd"], 64, /invalid --runtime "odd": expected arena or gc/],
    [["test", "none"], 1, /none: no such file or directory/],
    [["test", "empty"], 1, /empty: no test found, expected a file such as plugin\.test\.ts/],
    [["test", "a", "b"], 64, /plugin test takes one PATH/],
    [["bench", "--config", "{"], 64, /--config is not JSON/],
    [["bench", "keeps.ts", "-H", "no header"], 1, /invalid request: white space before the colon of a field/],
    [["inspect", "text.wasm"], 1, /text\.wasm: not a WebAssembly module/],
    [["inspect", "none.wasm"], 1, /^sluice: none\.wasm: no such file$/m],
    [["inspect"], 64, /plugin inspect takes one FILE\.wasm/],
  ];
  for (const [args, expected, message] of cases) {
    const { code, stderr } = await sluice("plugin", ...args);
    assert.equal(code, expected, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, message);
    assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
  }
  const first = await sluice("plugin", "new", "twice");
  const twice = await sluice("plugin", "new", "twice");
  assert.deepEqual([first.code, twice.code], [0, 1]);
  assert.match(twice.stderr, /twice already exists/);
});
