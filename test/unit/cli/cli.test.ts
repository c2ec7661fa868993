import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, test } from "node:test";
import { parse } from "yaml";
import { makePlugin } from "../../e2e/bad-plugins.ts";
import { Authority } from "../../support/certificates.ts";

const root = join(import.meta.dirname, "../../..");
const launcher = join(root, "bin/sluice.js");
const directory = mkdtempSync(join(tmpdir(), "sluice-cli-"));
after(() => rmSync(directory, { recursive: true, force: true }));

type Result = { code: number; stdout: string; stderr: string };

function sluice(args: readonly string[], node = process.execPath): Promise<Result> {
  return new Promise((resolve) => {
    execFile(node, [launcher, ...args], { cwd: directory }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

test("--version is the package's", async () => {
  assert.deepEqual(await sluice(["--version"]), { code: 0, stdout: `sluice ${version}\n`, stderr: "" });
});

test("--help lists the commands, and each of them has its own", async () => {
  const { code, stdout } = await sluice(["--help"]);
  assert.equal(code, 0);
  const commands = [...stdout.matchAll(/^ {2}sluice ([a-z]+(?: (?:new|build|inspect|test|bench)\b)?)/gm)].map(
    (found) => found[1]!,
  );
  for (const command of ["run", "check", "schema", "init", "plugin new"])
    assert.ok(commands.includes(command), command);
  for (const kind of ["filter", "router", "strategy", "health"])
    assert.match((await sluice(["plugin", "new", "--help"])).stdout, new RegExp(`--kind KIND .*${kind}`), kind);
  const all = await Promise.all(commands.map((command) => sluice([...command.split(" "), "--help"])));
  for (const [i, help] of all.entries()) {
    assert.equal(help.code, 0, help.stderr);
    assert.ok(help.stdout.startsWith(`sluice ${commands[i]}`), help.stdout);
    assert.match(help.stdout, /--help/);
  }
});

test("wrong usage exits with 64 and one line that names it", async () => {
  const cases: [args: string[], named: RegExp][] = [
    [["chekc"], /unknown command "chekc"/],
    [["toString"], /unknown command "toString"/],
    [["--nope"], /unknown command "--nope"/],
    [["plugin"], /"plugin" requires a subcommand: new/],
    [["check", "--nope"], /--nope/],
    [["check", "-c"], /-c/],
    [["check", "file.yaml"], /'file\.yaml': write -c file\.yaml /],
    [["run", "a b.yml"], /write -c a b\.yml /],
    [["schema", "x"], /'x'/],
    [["init", "a", "b"], /init takes one DIRECTORY/],
  ];
  const results = await Promise.all(cases.map(([args]) => sluice(args)));
  for (const [i, { code, stdout, stderr }] of results.entries()) {
    assert.equal(code, 64, cases[i]![0].join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, cases[i]![1]);
    assert.match(stderr, /^sluice: [^\n]+\n$/);
  }
});

test("without a command the help goes to standard error, with 64", async () => {
  const { code, stdout, stderr } = await sluice([]);
  assert.deepEqual([code, stdout], [64, ""]);
  assert.match(stderr, /sluice run/);
});

test("schema prints JSON", async () => {
  const { code, stdout } = await sluice(["schema"]);
  assert.equal(code, 0);
  assert.equal(JSON.parse(stdout).required[0], "listeners");
});

test("init writes a valid file, and never overwrites one", async () => {
  const made = await sluice(["init", "new/place"]);
  assert.equal(made.code, 0, made.stderr);
  const file = join(directory, "new/place/sluice.yaml");
  assert.ok(Object.hasOwn(parse(readFileSync(file, "utf8")), "listeners"));
  const checked = await sluice(["check", "-c", file]);
  assert.deepEqual(checked, { code: 0, stdout: `${file}: no problem found\n`, stderr: "" });
  writeFileSync(file, "mine");
  const again = await sluice(["init", "new/place"]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /sluice\.yaml already exists/);
  assert.equal(readFileSync(file, "utf8"), "mine");
});

test("explain of a connection that is relayed shows no response; the method may be omitted", async () => {
  const file = join(directory, "relay.yaml");
  writeFileSync(
    file,
    `listeners:
  sni:
    address: ":8443"
    protocol: tcp
    routes: [{ match: { sni: a.example }, cluster: app }]
clusters:
  app: [127.0.0.1:9001]
`,
  );
  const [relayed, reset, none] = await Promise.all([
    sluice(["explain", "-c", file, "https://a.example/"]),
    sluice(["explain", "-c", file, "https://b.example/"]),
    sluice(["explain", "-c", file]),
  ]);
  assert.match(relayed.stdout, /^a connection that is relayed; of the URL only the server name counts\n/);
  assert.match(
    relayed.stdout,
    / attempt +127\.0\.0\.1:9001 +connected \(simulated\)\n\nrelayed to 127\.0\.0\.1:9001\n$/,
  );
  assert.match(reset.stdout, /: sni does not match\n\nreset\n {2}no route of the listener matches\n$/);
  assert.doesNotMatch(relayed.stdout + reset.stdout, /\bresponse\b/);
  assert.match(none.stderr, /explain takes a URL, after a METHOD or not/);
});

test("check reports configuration and modules together, one line per problem", async () => {
  writeFileSync(join(directory, "bad.wasm"), "no module");
  const file = join(directory, "bad.yaml");
  writeFileSync(
    file,
    `workers: two
plugins:
  one: { wasm: ./bad.wasm }
  two: { wasm: ./missing.wasm }
listeners:
  web: { address: ":0", cluster: app }
clusters:
  app: ["127.0.0.1:1"]
`,
  );
  const { code, stdout } = await sluice(["check", "-c", file]);
  const lines = stdout.trimEnd().split("\n");
  assert.equal(code, 1);
  assert.equal(lines.length, 3, stdout);
  assert.ok(lines[0]!.startsWith(`${file}:1:10: workers: invalid value "two"`));
  assert.ok(lines[1]!.startsWith(`${file}:3:16: plugins.one.wasm: `), stdout);
  assert.ok(lines[2]!.startsWith(`${file}:4:16: plugins.two.wasm: there is no file `), stdout);
  const log = (path: string) => `log: { access: { file: ${path} } }\n`;
  const right = readFileSync(file, "utf8").replace("two", "2");
  writeFileSync(file, right + log("new.log"));
  const plugins = await sluice(["check", "-c", file]);
  assert.equal(plugins.code, 1);
  assert.deepEqual(plugins.stdout.trimEnd().split("\n"), lines.slice(1), "the same without the first");
  assert.ok(!existsSync(join(directory, "new.log")), "it is created by run");
  writeFileSync(file, right + log(directory));
  const last = (await sluice(["check", "-c", file])).stdout.trimEnd().split("\n").at(-1)!;
  assert.ok(last.startsWith(`${file}:9:24: log.access.file: EISDIR`), last);
  writeFileSync(file, right.replace("2", "two") + log(directory));
  const all = (await sluice(["check", "-c", file])).stdout.trimEnd().split("\n");
  assert.deepEqual(all, [...lines, last], "beside problems of the structure");
});

test("check reports files of TLS beside other problems, and warns of certificates and of plugins' limits", async () => {
  const authority = new Authority();
  after(() => authority.remove());
  authority.issue("old", { days: -1 });
  writeFileSync(authority.path("mask.wasm"), makePlugin("request_body", "i32.const 0"));
  const file = authority.path("sluice.yaml");
  const text = `plugins:
  mask: { wasm: mask.wasm, limits: { body: 8MiB, memory: 8MiB } }
listeners:
  web: { address: ":0", tls: { certificates: [{ cert: old.pem, key: old.key }] }, chain: [mask], cluster: app }
clusters: { app: [127.0.0.1:9001] }
`;
  const check = async (changed: string) => {
    writeFileSync(file, changed);
    const { code, stdout } = await sluice(["check", "-c", file]);
    return {
      code,
      lines: stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.replace(`${file}:`, "")),
    };
  };
  const valid = await check(text);
  assert.equal(valid.code, 0, valid.lines.join("\n"));
  assert.match(valid.lines[0]!, /^2:3: plugins\.mask: warning: a body of 8MiB \(limits\.body\) .* over limits\.memory/);
  assert.match(valid.lines[1]!, /^4:55: listeners\.web\.tls\S+\.cert: warning: the certificate in \S+ expired on /);
  assert.equal(valid.lines[2], " no problem found, 2 warnings");
  const wrong = await check(`workers: two\n${text.replace("old.key", "none.key")}`);
  assert.equal(wrong.code, 1);
  assert.match(wrong.lines[0]!, /^1:10: workers: /);
  assert.match(wrong.lines[1]!, /^5:\d+: listeners\.web\.tls\.certificates\.0\.key: there is no file \S+none\.key$/);
});

test("check reports violations of a plugin's schema by line and column, beside other problems", async () => {
  const file = join(directory, "schema.yaml");
  const text = `plugins:
  edit: { wasm: ${join(root, "plugins/headers.wasm")}, config: { request: { sett: { a: b } } } }
listeners:
  web:
    address: ":0"
    chain:
      - request-id: { trust: yes, heder: x }
      - redirect
    cluster: app
clusters:
  app: { strategy: { random: { seed: 1 } }, endpoints: [127.0.0.1:9001] }
`;
  writeFileSync(file, text);
  const { code, stdout } = await sluice(["check", "-c", file]);
  assert.equal(code, 1);
  const column = text.split("\n")[1]!.indexOf("sett") + 1;
  assert.deepEqual(stdout.trimEnd().split("\n"), [
    `${file}:2:${column}: plugins.edit.config.request.sett: unknown key "sett", did you mean "set"`,
    `${file}:7:30: listeners.web.chain.0.request-id.trust: invalid value "yes": expected true or false`,
    `${file}:7:35: listeners.web.chain.0.request-id.heder: unknown key "heder", did you mean "header"`,
    `${file}:8:9: listeners.web.chain.1: expected one of the keys to, https, host, found none of them`,
    `${file}:11:32: clusters.app.strategy.random.seed: unknown key "seed", there is none`,
  ]);
  // A plugin in a place where it cannot be: what its configuration lacks does not matter.
  const misplaced = text.replace("{ random: { seed: 1 } }", "cors").replace("      - redirect\n", "");
  writeFileSync(
    file,
    misplaced.replace(
      "    cluster: app",
      `    cluster: app
  db: { address: "127.0.0.1:0", protocol: tcp, chain: [redirect], cluster: app }`,
    ),
  );
  const reported = (await sluice(["check", "-c", file])).stdout.trimEnd().split("\n").slice(3);
  assert.deepEqual(
    reported.map((line) => line.slice(file.length, file.length + 70)),
    [
      ":9:56: listeners.db.chain.0: redirect is not a filter of connections: ",
      ':11:20: clusters.app.strategy: "cors" is a filter, expected a strategy',
    ],
  );
  writeFileSync(file, `workers: two\n${text}`);
  const both = await sluice(["check", "-c", file]);
  assert.match(both.stdout, /:1:10: workers: [^\n]+\n.*:3:\d+: plugins\.edit\.config\.request\.sett: unknown key/);
});

test("a schema is read without running the module: check uses it, inspect lists it", async () => {
  const schema = JSON.stringify({
    type: "object",
    properties: { header: { type: "string", description: "What is set." } },
    additionalProperties: false,
  });
  const length = (value: number) => Buffer.from([(value & 127) | 128, value >>> 7]);
  const name = Buffer.from("\x14sluice:config-schema", "latin1");
  const content = Buffer.concat([name, Buffer.from(schema)]);
  const traps = makePlugin("request_head", "i32.const 0", "(func $start unreachable) (start $start)");
  writeFileSync(
    join(directory, "traps.wasm"),
    Buffer.concat([traps, Buffer.from([0]), length(content.length), content]),
  );
  const file = join(directory, "traps.yaml");
  const text = `plugins:
  p:
    wasm: ./traps.wasm
    config:
      heder: x
listeners: { web: { address: ":0", chain: [p], cluster: app } }
clusters: { app: [127.0.0.1:9001] }
`;
  writeFileSync(file, text);
  const { code, stdout } = await sluice(["check", "-c", file]);
  assert.equal(code, 1);
  assert.equal(stdout, `${file}:5:7: plugins.p.config.heder: unknown key "heder", did you mean "header"\n`);
  const inspected = await sluice(["plugin", "inspect", "traps.wasm"]);
  assert.equal(inspected.code, 0, inspected.stderr);
  assert.match(inspected.stdout, /^ {2}config {3}header: string {2}\(What is set\.\)$/m);
  assert.match(inspected.stdout, /not measured .*start: unreachable/);
  // What runs it does meet the trap.
  writeFileSync(file, text.replace("heder", "header"));
  assert.match((await sluice(["check", "-c", file])).stdout, /plugin p: start: unreachable/);
});

test("an unreadable configuration is one line and exit code 1", async () => {
  const { code, stdout, stderr } = await sluice(["check"]);
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(stderr, /^sluice: sluice\.yaml: [^\n]+\n$/);
});

test("an older Node starts the one beside the package", async (t) => {
  const candidates = (process.env.PATH ?? "").split(delimiter).map((path) => join(path, "node"));
  const older = candidates
    .filter((path) => existsSync(path))
    .find((node) => {
      const major = Number.parseInt(execFileSync(node, ["--version"], { encoding: "utf8" }).slice(1), 10);
      return major >= 18 && major < 26;
    });
  if (!older) return t.skip("there is none on this machine");
  assert.deepEqual(await sluice(["--version"], older), { code: 0, stdout: `sluice ${version}\n`, stderr: "" });
  assert.equal((await sluice(["nope"], older)).code, 64, "the exit code comes through");
});
