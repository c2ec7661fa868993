/** connection-filters-run-before-the-first-byte: a plugin admits or denies a connection before a byte is read, in each accept mode. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { makePlugin, SPIN, TRAP } from "./bad-plugins.ts";
import { startUpstream } from "./peers.ts";
import {
  bounded,
  type LiveTest,
  type Program,
  simpleConfig,
  startSluice,
  testInAllModes,
  testInUsualMode,
  times,
  until,
} from "./program.ts";

const SOURCES = {
  denies: `import { Config, Connection } from "sluice/sdk";
const denied = Config.string("address");
export function onConnection(connection: Connection): void {
  if (connection.clientAddress == denied && connection.listener == "web") connection.deny();
}`,
  fails: `import { Connection } from "sluice/sdk";
export function onConnection(connection: Connection): void {
  if (connection.clientAddress == "127.0.0.2") throw new Error("not this one");
}`,
  counts: `import { Connection, kv } from "sluice/sdk";
const seen = kv("connections");
export function onConnection(connection: Connection): void {
  if (seen.increment(connection.clientAddress, 1, 3600000) > 5) connection.deny();
}`,
};
const files: Record<string, Uint8Array> = {};

before(async () => {
  for (const [name, source] of Object.entries(SOURCES)) files[`${name}.wasm`] = await compileSource(source);
});

const REQUEST = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/** Sends a request on a new connection from that address: its status, or how the connection ended without one. */
function ask(port: number, localAddress = "127.0.0.1"): Promise<number | "reset" | "end"> {
  const socket = connect({ host: "127.0.0.1", port, localAddress });
  let text = "";
  let ending: "reset" | "end" = "end";
  socket.on("data", (data: Buffer) => {
    text += data.toString("latin1");
  });
  socket.on("error", () => {
    ending = "reset";
  });
  socket.write(REQUEST);
  const ended = new Promise<number | "reset" | "end">((resolve) => {
    socket.on("close", () => resolve(text === "" ? ending : Number(text.slice(9, 12))));
  });
  return bounded(ended, "the connection's end");
}

const denied = (sluice: Program, listener = "web"): Promise<number> =>
  sluice.metric("sluice_connections_denied_total", { listener });
const evaluated = (sluice: Program): Promise<number> =>
  sluice.metric("sluice_plugin_calls_total", { hook: "connection" });
const descriptors = (sluice: Program): number => readdirSync(`/proc/${sluice.pid}/fd`).length;

function startDenying(t: LiveTest, upstream: number): Promise<Program> {
  const plugin = "plugins: { denies: { wasm: ./denies.wasm, config: { address: 127.0.0.2 } } }\n";
  return startSluice(t, (ports) => plugin + simpleConfig(upstream, { listener: "chain: [denies]" })(ports), { files });
}

testInAllModes(
  "a denied connection is reset without a response, others are served, and a reload takes effect",
  async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await startDenying(t, upstream.port);
    for (let turn = 0; turn < 4; turn++) {
      assert.equal(await ask(sluice.port, "127.0.0.2"), "reset");
      assert.equal(await ask(sluice.port), 200);
    }
    assert.deepEqual([await denied(sluice), await evaluated(sluice)], [4, 8]);
    assert.equal(upstream.requests.length, 4);
    await sluice.metricIs(0, "sluice_connections_active");
    sluice.config(sluice.configText.replace("address: 127.0.0.2", "address: 127.0.0.3"));
    assert.equal((await sluice.reload()).status, 200);
    assert.deepEqual([await ask(sluice.port, "127.0.0.2"), await ask(sluice.port, "127.0.0.3")], [200, "reset"]);
    assert.doesNotMatch(sluice.output, /127\.0\.0\.[23]/, "no connection has a line in the log");
  },
);

testInUsualMode(
  "a failing plugin closes the connection, under `skip` accepts it; the listener continues to accept",
  async (t) => {
    const upstream = await startUpstream(t);
    const failing = {
      trap: makePlugin("connection", TRAP),
      spin: makePlugin("connection", SPIN),
      "invalid-result": makePlugin("connection", "i32.const 1"),
    };
    const names = Object.keys(failing);
    const sluice = await startSluice(
      t,
      (ports) => `plugins:
  fails: { wasm: ./fails.wasm }
${names.map((name) => `  ${name}: { wasm: ./${name}.wasm }\n  ${name}-skipped: { wasm: ./${name}.wasm, onFailure: skip }`).join("\n")}
listeners:
  web: { address: 127.0.0.1:${ports.web}, chain: [fails], cluster: app }
${names
  .flatMap((name) => [name, `${name}-skipped`])
  .map((name) => `  ${name}: { address: 127.0.0.1:${ports[name]}, chain: [${name}], cluster: app }\n`)
  .join("")}clusters: { app: [127.0.0.1:${upstream.port}] }
`,
      {
        files: {
          ...files,
          ...Object.fromEntries(names.map((name) => [`${name}.wasm`, failing[name as keyof typeof failing]])),
        },
        ports: names.flatMap((name) => [name, `${name}-skipped`]),
      },
    );
    for (const name of names) {
      const skipped = `${name}-skipped`;
      for (let turn = 0; turn < 4; turn++) {
        assert.equal(await ask(sluice.ports[name]!), "reset", name);
        assert.equal(await ask(sluice.ports[skipped]!), 200, name);
      }
      assert.equal(await denied(sluice, name), 4, "closed for a failure is denied, too");
      assert.ok((await sluice.metric("sluice_plugin_failures_total", { plugin: skipped, hook: "connection" })) > 0);
    }
    for (let turn = 0; turn < 4; turn++) {
      assert.equal(await ask(sluice.port, "127.0.0.2"), "reset");
      assert.equal(await ask(sluice.port), 200);
    }
  },
);

testInAllModes("ten thousand denied connections leak nothing", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startDenying(t, upstream.port);
  assert.equal(await ask(sluice.port, "127.0.0.2"), "reset");
  await denied(sluice);
  const before = descriptors(sluice);
  const count = times(t, 10_000);
  for (let done = 0; done < count; done += 100) {
    const endings = await Promise.all(Array.from({ length: 100 }, () => ask(sluice.port, "127.0.0.2")));
    assert.ok(endings.every((ending) => ending === "reset"));
  }
  await until(async () => (await denied(sluice)) === count + 1, "all of them are counted");
  await until(() => descriptors(sluice) <= before, "their descriptors are closed");
  await sluice.metricIs(0, "sluice_connections_active");
  assert.equal(await ask(sluice.port), 200);
});

testInUsualMode("connections of an address are counted over all workers", async (t) => {
  const upstream = await startUpstream(t);
  const plugin = "plugins: { counts: { wasm: ./counts.wasm, allow: { kv: [connections] } } }\n";
  const sluice = await startSluice(
    t,
    (ports) => plugin + simpleConfig(upstream.port, { listener: "chain: [counts]" })(ports),
    { files, workers: 2 },
  );
  const addresses = Array.from({ length: 40 }, (_, i) => `127.0.0.${2 + (i % 2)}`);
  const results = await Promise.all(addresses.map((address) => ask(sluice.port, address)));
  for (const parity of [0, 1]) {
    const own = results.filter((_, i) => i % 2 === parity);
    assert.deepEqual([own.filter((end) => end === 200).length, own.filter((end) => end === "reset").length], [5, 15]);
  }
  assert.equal(await denied(sluice), 30);
});
