/** The key-value store of plugins is shared by all workers, expires entries, and survives a reload. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { type Ports, runSluice, startSluice, testInUsualMode, until } from "./program.ts";

const COUNTS = `import { Config, kv, Request } from "sluice/sdk";
const hits = kv("hits");
const greeting = Config.string("greeting", "");
export function onRequest(req: Request): void {
  if (req.pathIs("/short")) {
    hits.set("short", "1", 300);
    req.respond(204);
  } else if (req.pathIs("/has")) {
    req.respond(hits.has("short") ? 200 : 404);
  } else if (req.pathIs("/flood")) {
    for (let i = 0; i < 100; i++) hits.set(req.id + " " + i.toString(), "x".repeat(1000));
    req.respond(204);
  } else if (req.pathIs("/once")) {
    req.respond(hits.compareAndSet("once", 0, req.id) ? 200 : 409);
  } else {
    const name = req.headers.get("x-client");
    req.respond(200, greeting + (<i32>hits.increment(name == null ? "nobody" : name)).toString());
  }
}`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(COUNTS);
});

const configOf =
  (plugin: string) =>
  (ports: Ports): string =>
    `plugins: { counts: { wasm: ./counts.wasm${plugin} } }
listeners: { web: { address: "127.0.0.1:${ports.web}", chain: [counts] } }
`;

/** A new connection, so that every worker gets some. */
async function ask(url: string, client: string): Promise<string> {
  const response = await fetch(url, { headers: { "x-client": client, connection: "close" } });
  return response.text();
}

testInUsualMode("workers count exactly into one entry, and a reload keeps it", async (t) => {
  const allow = ", allow: { kv: [hits, more] }";
  const sluice = await startSluice(t, configOf(allow), { files: { "counts.wasm": wasm }, workers: 3 });
  const clients = ["ann", "bob"];
  const responses = await Promise.all(Array.from({ length: 120 }, (_, i) => ask(sluice.url, clients[i % 2]!)));
  for (const client of [0, 1]) {
    const sums = responses.filter((_, i) => i % 2 === client).map(Number);
    assert.deepEqual(
      sums.sort((a, b) => a - b),
      Array.from({ length: 60 }, (_, i) => i + 1),
    );
  }
  assert.ok((await sluice.metric("sluice_plugin_calls_total", { plugin: "counts" })) >= 120);
  await sluice.metricIs(2, "sluice_kv_entries", { namespace: "hits" });
  assert.ok((await sluice.metric("sluice_kv_bytes", { namespace: "hits" })) > 0);
  await sluice.metricIs(0, "sluice_kv_entries", { namespace: "more" });

  sluice.config(configOf(`${allow}, config: { greeting: "n=" }`)(sluice.ports));
  assert.equal(JSON.parse((await sluice.reload()).text).result, "accepted");
  assert.equal(await ask(sluice.url, "ann"), "n=61");

  const first = await Promise.all(Array.from({ length: 20 }, () => fetch(`${sluice.url}/once`)));
  assert.equal(first.filter(({ status }) => status === 200).length, 1, "compare-and-set lets one through");
});

testInUsualMode("an entry expires", async (t) => {
  const sluice = await startSluice(t, configOf(", allow: { kv: [hits] }"), {
    files: { "counts.wasm": wasm },
    workers: 2,
  });
  const has = async () => (await fetch(`${sluice.url}/has`)).status;
  assert.equal(await has(), 404);
  await fetch(`${sluice.url}/short`);
  await until(async () => (await has()) === 404, "the entry has ended");
  assert.ok((await sluice.metric("sluice_kv_expired_total", { namespace: "hits" })) <= 1);
});

testInUsualMode("a full store evicts entries, counts that in a metric, and stays within its size", async (t) => {
  const config = configOf(", allow: { kv: [hits] }");
  const sluice = await startSluice(t, (ports) => `kv: { size: 1MiB }\n${config(ports)}`, {
    files: { "counts.wasm": wasm },
    workers: 2,
  });
  const read = (name: string) => sluice.metric(`sluice_kv_${name}`, { namespace: "hits" });
  await ask(sluice.url, "ann");
  assert.deepEqual([await read("entries"), await read("evictions_total")], [1, 0]);
  for (let i = 0; i < 20; i++) assert.equal((await fetch(`${sluice.url}/flood`)).status, 204);
  const [entries, evicted, bytes] = [await read("entries"), await read("evictions_total"), await read("bytes")];
  assert.equal(entries + evicted, 2001);
  assert.ok(bytes > 512 * 1024 && bytes <= 1024 * 1024, `${bytes} bytes`);
});

testInUsualMode(
  "a store without permission is rejected with its place and the line to add, as is an undeclared namespace",
  async (t) => {
    const sluice = await startSluice(t, configOf(", allow: { kv: [hits] }"), { files: { "counts.wasm": wasm } });
    await sluice.stop();
    const file = join(sluice.directory, "sluice.yaml");
    const check = async (plugin: string) => {
      sluice.config(configOf(plugin)(sluice.ports));
      const { code, stdout } = await runSluice("check", "-c", file);
      assert.equal(code, 1);
      return stdout;
    };
    for (const plugin of ["", ", allow: { clusters: [] }", ", allow: { kv: [] }"])
      assert.match(
        await check(plugin),
        /sluice\.yaml:3:\d+: plugins\.counts(\.allow)?: imports sluice:kv\/1, which is not allowed: add `allow: \{ kv: \[NAME\] \}`/,
      );
    assert.match(
      await check(", allow: { kv: [other] }"),
      /sluice\.yaml:4:\d+: listeners\.web\.chain\.0: plugin counts: start: cannot use key-value namespace "hits"/,
    );
  },
);
