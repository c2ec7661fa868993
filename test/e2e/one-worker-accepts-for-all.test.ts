/** Where workers cannot share a port, the first accepts for all: it distributes in turn, and no byte is lost. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { makePlugin } from "./bad-plugins.ts";
import { connectTo, exchange, type Peer, startUpstream } from "./peers.ts";
import {
  type AcceptMode,
  bounded,
  type LiveTest,
  type Program,
  simpleConfig,
  startSluice,
  testInEachMode,
  until,
} from "./program.ts";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const modes: AcceptMode[] = ["transfer"];

/** A plugin that reports the number of responses of its worker. */
let counts: Uint8Array;
before(async () => {
  counts = await compileSource(`import { Request, Response } from "sluice/sdk";
let responses: i32 = 0;
export function onResponse(req: Request, res: Response): void { res.headers.set("x-responses", (++responses).toString()); }
`);
});

const startCounting = (t: LiveTest, upstream: number, workers: number): Promise<Program> =>
  startSluice(
    t,
    (ports) =>
      `plugins: { counts: { wasm: ./counts.wasm } }\n${simpleConfig(upstream, { listener: "chain: [counts]" })(ports)}`,
    { workers, files: { "counts.wasm": counts } },
  );

/** Sends a request on each of `connections` new connections: the response counts of their workers, in ascending order. */
async function askOnNew(t: LiveTest, sluice: Program, connections: number): Promise<number[]> {
  const responses: number[] = [];
  for (let i = 0; i < connections; i++)
    responses.push(Number((await exchange(t, sluice.port, get)).headers["x-responses"]));
  return responses.sort((a, b) => a - b);
}

testInEachMode(
  "connections are distributed to all workers in turn",
  async (t) => {
    const sluice = await startCounting(t, (await startUpstream(t)).port, 3);
    assert.deepEqual(await askOnNew(t, sluice, 9), [1, 1, 1, 2, 2, 2, 3, 3, 3]);
  },
  modes,
);

testInEachMode(
  "bytes sent immediately after connecting are not lost",
  async (t) => {
    const upstream = await startUpstream(t, ({ body }, response) => response.end(body));
    const sluice = await startSluice(t, simpleConfig(upstream.port), { workers: 3 });
    const echo = async (id: number): Promise<void> => {
      const body = Buffer.alloc(id % 3 === 0 ? 300_000 : 30, `${id} `);
      const response = await new Promise<Buffer>((resolve, reject) => {
        const sent = request({ host: "127.0.0.1", port: sluice.port, method: "POST", agent: false }, (response) => {
          assert.equal(response.statusCode, 200);
          response.toArray().then((chunks) => resolve(Buffer.concat(chunks)), reject);
        });
        sent.on("error", reject).end(body);
      });
      assert.ok(response.equals(body), `the body of connection ${id}`);
    };
    await bounded(Promise.all(Array.from({ length: 200 }, (_, id) => echo(id))), "every echo", 60_000);
    // Also if it ends at once.
    const peer = await connectTo(t, sluice.port);
    assert.equal(
      (await peer.send(get.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).readResponse()).status,
      200,
    );
  },
  modes,
);

testInEachMode(
  "limits and removed listeners apply on every worker",
  async (t) => {
    const upstream = await startUpstream(t);
    const config = simpleConfig(upstream.port, { listener: "limits: { connections: 2 }" });
    const sluice = await startSluice(t, config, { workers: 2, ports: ["other"] });
    const clients = await Promise.all([connectTo(t, sluice.port), connectTo(t, sluice.port)]);
    for (const client of clients) assert.equal((await client.send(get).readResponse()).status, 200);
    for (let i = 0; i < 4; i++) await bounded((await connectTo(t, sluice.port)).closed, "its end");
    await sluice.metricIs(2, "sluice_connections_active");
    sluice.config(sluice.configText.replace(`127.0.0.1:${sluice.port}`, `127.0.0.1:${sluice.ports.other}`));
    assert.equal((await sluice.reload()).status, 200);
    for (const client of clients) await bounded(client.closed, "its end");
    const others = await Promise.all([1, 2].map(() => connectTo(t, sluice.ports.other!)));
    for (const client of others) assert.equal((await client.send(get).readResponse()).status, 200);
  },
  modes,
);

/** The loop costs little fuel per iteration and much time: the fuel lasts for minutes. */
const slow = makePlugin(
  "request_head",
  `(local $x i64) (local.set $x (i64.const 0x7fffffffffffffff))
   (loop $turn
     ${"(local.set $x (i64.add (i64.const 0x7ffffffffffffff1) (i64.rem_u (i64.const -1) (local.get $x))))".repeat(40)}
     br $turn)
   i32.const 0`,
);

testInEachMode(
  "connections of a worker that ends are closed, and its replacement takes part in the distribution",
  async (t) => {
    const upstream = await startUpstream(t);
    const plugins =
      "plugins: { counts: { wasm: ./counts.wasm }, slow: { wasm: ./slow.wasm, limits: { fuel: 2000000000 } } }";
    const sluice = await startSluice(
      t,
      (ports) =>
        `${plugins}\n${simpleConfig(upstream.port, { listener: "chain: [counts]" })(ports).replace("routes: [", "routes: [{ match: { path: /slow }, chain: [slow], cluster: app }, ")}`,
      { workers: 2, files: { "counts.wasm": counts, "slow.wasm": slow } },
    );
    // The first connection is the other worker's, the second the accepting one's.
    const stuck = await connectTo(t, sluice.port);
    stuck.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    const clients: Peer[] = [];
    for (let i = 0; i < 8; i++) clients.push((await connectTo(t, sluice.port)).send(get));
    await until(
      () => clients.filter(({ text }) => text.startsWith("HTTP/1.1 200")).length === 4,
      "half have responses",
    );
    await sluice.logged((line) => /stuck/.test(line.msg ?? ""), "that the worker is stuck", 60_000);
    for (const client of [stuck, ...clients.filter(({ text }) => text === "")]) await bounded(client.closed, "its end");
    const workers = async () => (await sluice.status()).workers as { serving: boolean; restarts: number }[];
    const isReplaced = async (): Promise<boolean> => {
      const [first, second] = await workers();
      return first!.restarts === 0 && second!.restarts === 1 && second!.serving;
    };
    await until(isReplaced, "its successor serves");
    // Four were transferred before, by the worker that is still running.
    assert.deepEqual(await askOnNew(t, sluice, 4), [1, 2, 5, 6]);
  },
  modes,
);
