/** Metrics defined by plugins are exported under their name, summed over workers, and survive traps and reloads. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { type Ports, type Program, runSluice, startSluice, testInUsualMode } from "./program.ts";

const COUNTS = `import { Config, Request, counter, counterBy, gauge, histogram, latest } from "sluice/sdk";
const seen = counter("seen_total", "Requests\\nseen.", ["kind", 'a "b" \\\\c']);
const held = gauge("held");
const level = latest("level");
const sizes = histogram("path_size", "Length of paths.", [], [5, 10.5]);
const byTenant = counterBy("tenant_total", "", "tenant", 2, ["kind", "k"]);
const greeting = Config.string("greeting", "");
export function onRequest(req: Request): void {
  seen.add();
  held.add(2);
  const tenant = req.headers.get("x-tenant");
  if (tenant !== null) byTenant.of(tenant).add();
  level.set(<f64>req.path.length);
  sizes.observe(<f64>req.path.length);
  if (req.pathIs("/trap")) throw new Error("no");
  req.respond(200, greeting);
}`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(COUNTS);
});

const configOf =
  (config = "", more = "") =>
  (ports: Ports): string =>
    `plugins: { first: { wasm: ./counts.wasm, config: { greeting: "${config}" } }, second: { wasm: ./counts.wasm }${more} }
listeners: { web: { address: "127.0.0.1:${ports.web}", chain: [first] } }
`;

async function send(sluice: Program, path: string, times: number): Promise<void> {
  const init = { headers: { connection: "close" } };
  await Promise.all(
    Array.from({ length: times }, () => fetch(sluice.url + path, init).then((response) => response.text())),
  );
}

testInUsualMode("metrics of a plugin are summed over workers, and survive a trap and a reload", async (t) => {
  const sluice = await startSluice(t, configOf(), { files: { "counts.wasm": wasm }, workers: 3 });
  await send(sluice, "/abc", 40);
  await send(sluice, "/abcdefgh", 20);
  await send(sluice, "/trap", 10);
  const lines = async () => {
    const { text } = await sluice.ask("/metrics");
    return text.split("\n").filter((line) => /(seen|held|level|path_size)/.test(line));
  };
  const expected = (seen: number) => [
    "# HELP seen_total Requests\\nseen.",
    "# TYPE seen_total counter",
    `seen_total{plugin="first",kind="a \\"b\\" \\\\c"} ${seen}`,
    "# TYPE held gauge",
    `held{plugin="first"} ${2 * seen}`,
    "# TYPE level gauge",
    'level{plugin="first"} 5',
    "# HELP path_size Length of paths.",
    "# TYPE path_size histogram",
    `path_size_bucket{plugin="first",le="5"} ${seen - 20}`,
    `path_size_bucket{plugin="first",le="10.5"} ${seen}`,
    `path_size_bucket{plugin="first",le="+Inf"} ${seen}`,
    `path_size_sum{plugin="first"} ${40 * 4 + 20 * 9 + (seen - 60) * 5}`,
    `path_size_count{plugin="first"} ${seen}`,
  ];
  assert.deepEqual(await lines(), expected(70));
  sluice.config(configOf("other")(sluice.ports));
  assert.equal(JSON.parse((await sluice.reload()).text).result, "accepted");
  assert.deepEqual(await lines(), expected(70));
  await send(sluice, "/back", 10);
  assert.deepEqual(await lines(), expected(80));
  // A plugin that is no longer used exports nothing.
  sluice.config(configOf()(sluice.ports).replace("chain: [first]", "chain: [second]"));
  assert.equal(JSON.parse((await sluice.reload()).text).result, "accepted");
  assert.ok((await lines()).includes('held{plugin="second"} 0'));
  assert.ok(!(await lines()).some((line) => line.includes('plugin="first"')));
});

testInUsualMode("label values can be added at run time, and survive a reload", async (t) => {
  const sluice = await startSluice(t, configOf(), { files: { "counts.wasm": wasm }, workers: 3 });
  const sendAs = async (tenant: string, times: number) => {
    const init = { headers: { connection: "close", "x-tenant": tenant } };
    await Promise.all(Array.from({ length: times }, () => fetch(sluice.url, init).then((response) => response.text())));
  };
  const counts = async () => {
    const { text } = await sluice.ask("/metrics");
    const lines = text.split("\n").filter((line) => line.startsWith("tenant_total"));
    return new Map(lines.map((line) => [/tenant="(.*)"\}/.exec(line)![1]!, Number(line.split(" ").at(-1))]));
  };
  await sendAs('a"\\', 20);
  await sendAs("b", 30);
  sluice.config(configOf("other")(sluice.ports));
  assert.equal(JSON.parse((await sluice.reload()).text).result, "accepted");
  await sendAs("b", 30);
  assert.deepEqual(
    await counts(),
    new Map([
      ['a\\"\\\\', 20],
      ["b", 60],
    ]),
  );
  for (let i = 0; i < 30; i++) await sendAs(`x${i}`, 1);
  const after = await counts();
  assert.equal(
    [...after.values()].reduce((sum, count) => sum + count),
    110,
  );
  assert.ok(after.get("other")! > 0);
  assert.ok(after.size <= 1 + 2 * 3);
});

testInUsualMode("invalid metrics are rejected with the place of the plugin", async (t) => {
  const define = (line: string) =>
    compileSource(`import { Request, counter, counterBy, gauge, histogram } from "sluice/sdk";
${line}
export function onRequest(req: Request): void {}`);
  const sluice = await startSluice(t, configOf(), {
    files: {
      "counts.wasm": wasm,
      "gauge.wasm": await define('gauge("seen_total");'),
      "part.wasm": await define('counter("path_size_sum");'),
      "own.wasm": await define('counter("sluice_requests_total");'),
      "many.wasm": await define('for (let i = 0; i < 65; i++) counter("n", "", ["i", i.toString()]);'),
      "values.wasm": await define('counterBy("n", "", "by", 1001);'),
      "none.wasm": await define('counterBy("n", "", "by", 0);'),
      "twice.wasm": await define('counter("n", "", ["by", "x"]); counterBy("n", "", "by", 10);'),
      "buckets.wasm": await define('histogram("n", "", [], [1, 2]); histogram("n", "", [], [1, 5]);'),
      "label.wasm": await define('counter("n", "", ["plugin", "other"]);'),
    },
  });
  await sluice.stop();
  const check = async (file: string) => {
    const config = configOf("", `, third: { wasm: ./${file}.wasm }`)(sluice.ports).replace("[first]", "[first, third]");
    sluice.config(config);
    const { code, stdout } = await runSluice("check", "-c", join(sluice.directory, "sluice.yaml"));
    assert.equal(code, 1, stdout);
    return stdout;
  };
  const at = String.raw`sluice\.yaml:4:\d+: listeners\.web\.chain\.1: plugin third: `;
  const cases: [file: string, problem: string][] = [
    ["gauge", "the gauge seen_total has a name of the counter seen_total of plugin first"],
    ["part", "the counter path_size_sum has a name of the histogram path_size of plugin first"],
    ["own", 'start: cannot define metric "sluice_requests_total": the value is not allowed'],
    ["many", 'start: cannot define metric "n": over the limit'],
    ["values", 'start: cannot define metric "n": over the limit'],
    ["none", 'start: cannot define metric "n": the value is not allowed'],
    ["twice", "metric n with 10 values of by conflicts with n: both have the same series"],
    ["buckets", "metric n with buckets 1, 5 conflicts with n with buckets 1, 2: both have the same series"],
    ["label", 'start: cannot define metric "n": the value is not allowed'],
  ];
  for (const [file, problem] of cases)
    assert.match(await check(file), new RegExp(at + problem.replace(/[()]/g, "\\$&")));
});
