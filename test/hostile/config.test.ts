/** Wrong YAML in any key: `sluice check` names every problem with its place, and ends with 1. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import wabt from "wabt";
import { runSluice } from "../e2e/program.ts";
import { Commands } from "../support/commands.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-config-"));
const commands = new Commands();
after(() => {
  commands.close();
  rmSync(directory, { recursive: true, force: true });
});

const base = `listeners:
  web: { address: 127.0.0.1:18080, cluster: app }
clusters:
  app: [127.0.0.1:9001]
`;

async function check(text: string | Uint8Array): Promise<{ code: number; problems: string[]; all: string }> {
  const file = join(directory, "sluice.yaml");
  writeFileSync(file, text);
  const { code, stdout, stderr } = await commands.run("check", "-c", file);
  const all = stdout + stderr;
  const problems = all.split("\n").filter((line) => /sluice\.yaml:\d+:\d+: /.test(line));
  return { code, problems, all };
}

test("the base configuration is valid", async () => {
  const { code, all } = await check(base);
  assert.equal(code, 0, all);
});

test("the program itself prints the problems and ends with 1", async () => {
  const file = join(directory, "sluice.yaml");
  writeFileSync(file, base.replace("18080", "99999"));
  const { code, stdout, stderr } = await runSluice("check", "-c", file);
  assert.deepEqual([code, stderr], [1, ""]);
  assert.deepEqual(await commands.run("check", "-c", file), { code, stdout, stderr });
});

/** The replacement of the base, and the place of each expected problem, in order. */
const wrong: [text: string, places: string[]][] = [
  ["", ["1:1"]],
  ["[]\n", ["1:1"]],
  ["listeners: 5\n", ["1:12"]],
  ["listeners:\n  web: { adress: ':80', cluster: app }\nclusters: { app: [a:1] }\n", ["2:10"]],
  [base.replace("18080", "99999"), ["2:19"]],
  [base.replace("cluster: app", "cluster: ap"), ["2:45"]],
  [base.replace("127.0.0.1:9001", "nonsense"), ["4:9"]],
  [`worker: 2\n${base}`, ["1:1"]],
  [`workers: two\n${base}`, ["1:10"]],
  [`workers: -1\n${base}`, ["1:10"]],
  [`admin: 127.0.0.1\n${base}`, ["1:8"]],
  [`log: { level: loud, access: maybe }\n${base}`, ["1:15", "1:29"]],
  [`shutdown: { grace: 5 parsecs }\n${base}`, ["1:20"]],
  [`plugins: { p: { wasm: ./missing.wasm } }\n${base}`, ["1:23"]],
  [`plugins: { p: {} }\n${base}`, ["1:15"]],
  [base.replace("cluster: app }", "routes: [{ match: { hosts: a }, cluster: app }] }"), ["2:56"]],
  [base.replace("cluster: app }", "routes: [{ match: { regex: '(' }, cluster: app }] }"), ["2:63"]],
  [base.replace("cluster: app }", "routes: [{ match: { method: 'G ET' }, cluster: app }] }"), ["2:64"]],
  [base.replace("cluster: app }", "chain: [nothing], cluster: app }"), ["2:44"]],
  [base.replace("cluster: app }", "timeouts: { head: 0s }, cluster: app }"), ["2:54"]],
  [base.replace("cluster: app }", "limits: { head: 1B }, cluster: app }"), ["2:52"]],
  [base.replace("cluster: app }", "trustedProxies: [10.0.0.0/99], cluster: app }"), ["2:53"]],
  [base.replace("[127.0.0.1:9001]", "{ endpoints: [127.0.0.1:9001], strategy: nothing }"), ["4:49"]],
  [base.replace("[127.0.0.1:9001]", "{ endpoints: [{ address: 127.0.0.1:9001, weight: 0 }] }"), ["4:57"]],
  [base.replace("[127.0.0.1:9001]", "[127.0.0.1:9001, 127.0.0.1:9001]"), ["4:25"]],
  [`${base}  app: [127.0.0.1:9002]\n`, ["5:3"]],
  [`${base}\tx: y\n`, []],
  [`a: &a [*a]\n${base}`, []],
  [`workers: \${NO_SUCH_VARIABLE_HERE}\n${base}`, ["1:10"]],
];

for (const [text, places] of wrong) {
  test(`refuses ${JSON.stringify(text.slice(0, 90))}`, async () => {
    const { code, problems, all } = await check(text);
    assert.equal(code, 1, all);
    assert.ok(problems.length > 0, all);
    assert.doesNotMatch(all, /\n\s+at /, "no stack");
    for (const place of places)
      assert.ok(
        problems.some((line) => line.includes(`sluice.yaml:${place}: `)),
        `nothing at ${place} in:\n${all}`,
      );
  });
}

test("all problems of a file are reported at once", async () => {
  const { code, problems, all } = await check(`workers: two
listeners:
  web: { address: 127.0.0.1:99999, cluster: nowhere, chain: [nothing] }
clusters:
  app: [nonsense]
  other: { strategy: nothing, endpoints: [127.0.0.1:1], timeouts: { connect: soon } }
`);
  assert.equal(code, 1);
  assert.ok(problems.length >= 7, all);
});

test("every layer is reported in one pass: structure, reachability, modules, permissions, plugins", async () => {
  const { parseWat } = await wabt();
  const module = parseWat(
    "late.wat",
    `(module (import "sluice:kv/1" "kv_get" (func (param i32 i32 i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (func (export "sluice_abi") (result i32) i32.const 1)
      (func (export "log") (param i32 i32) (result i32) i32.const 0))`,
  );
  writeFileSync(join(directory, "keeper.wasm"), module.toBinary({}).buffer);
  const refusing = parseWat(
    "refuse.wat",
    `(module (memory (export "memory") 1) (func (export "sluice_abi") (result i32) i32.const 1)
      (func (export "configure") (param i32 i32) (result i32) i32.const 2)
      (func (export "log") (param i32 i32) (result i32) i32.const 0))`,
  );
  writeFileSync(join(directory, "refusing.wasm"), refusing.toBinary({}).buffer);
  writeFileSync(join(directory, "source.ts"), "export function onLog(): void {}\n");
  const { code, all } = await check(`workers: two
plugins:
  keeper: { wasm: keeper.wasm }
  refusing: { wasm: refusing.wasm }
  typed: { wasm: source.ts }
  place: { wasm: . }
listeners:
  web:
    address: 127.0.0.1:18080
    chain: [keeper, refusing, { headers: { request: { set: { "a b": x } } } }]
    routes:
      - { match: { prefix: /a }, cluster: app }
      - { match: { prefix: /ab }, cluster: app, chain: [{ jwt: { keys: 5 } }] }
clusters: { app: [127.0.0.1:9001] }
`);
  assert.equal(code, 1);
  const expected: [place: string, message: RegExp][] = [
    ["1:10", /invalid value "two"/],
    ["3:11", /imports sluice:kv\/1, which is not allowed: add `allow: \{ kv: \[NAME\] \}`/],
    ["5:18", /it is text: set `source` to source code/],
    ["6:18", /is a directory, expected a \.wasm file/],
    ["10:21", /plugin refusing: /],
    ["10:62", /headers\.request\.set\.a b: the key "a b" is not allowed/],
    ["13:9", /unreachable route/],
    ["13:72", /jwt\.keys: invalid value "5": expected a list/],
  ];
  const lines = all.trim().split("\n");
  assert.equal(lines.length, expected.length, all);
  for (const [i, [place, message]] of expected.entries()) {
    assert.ok(lines[i]!.includes(`sluice.yaml:${place}: `), `${place}: ${all}`);
    assert.match(lines[i]!, message);
  }
});

test("warnings are reported and reject nothing", async () => {
  const { code, all } = await check(`${base}  spare: [127.0.0.1:9002]\n`);
  assert.equal(code, 0, all);
  assert.match(
    all,
    /sluice\.yaml:5:3: clusters\.spare: warning: no route leads to the cluster "spare"\n.*no problem found, 1 warning$/m,
  );
});

test("input that is not text, too deep or too large is rejected without a crash", async () => {
  for (const text of [
    Buffer.from([0xff, 0xfe, 0, 0xd8]),
    "[".repeat(100_000),
    "{a: ".repeat(10_000),
    `a: ${"x".repeat(5_000_000)}`,
  ]) {
    const { code, all } = await check(text);
    assert.equal(code, 1, all.slice(0, 500));
    assert.doesNotMatch(all, /\n\s+at |RangeError|TypeError/, "no stack");
  }
});

test("nested aliases are rejected within their limits", async () => {
  const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
  for (let i = 1; i < 10; i++)
    lines.push(
      `a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(", ")}]`,
    );
  const { code, all } = await check(`${lines.join("\n")}\n${base}`);
  assert.equal(code, 1, all.slice(0, 500));
});

test("an unreadable file is reported in one line", async () => {
  const { code, stderr } = await runSluice("check", "-c", join(directory, "missing.yaml"));
  assert.equal(code, 1);
  assert.match(stderr, /missing\.yaml/);
  assert.equal(stderr.trim().split("\n").length, 1);
});
