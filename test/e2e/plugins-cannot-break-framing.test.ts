/** Framing stays correct when a plugin changes a method or status: the next response is the next request's. */
import assert from "node:assert/strict";
import { makePlugin } from "./bad-plugins.ts";
import { connectTo, type Peer, type RawUpstream, startRawUpstream } from "./peers.ts";
import { type LiveTest, type Program, reuseSluice, simpleConfig, testInUsualMode } from "./program.ts";

const METHOD = 0;
const STATUS = 5;

/** A plugin that sets one attribute in one hook. */
const sets = (hook: string, attribute: number, value: string): Uint8Array =>
  makePlugin(
    hook,
    `(call $set (i32.const ${attribute}) (i32.const 16) (i32.const ${value.length}))`,
    `(import "sluice:core/1" "attribute_set" (func $set (param i32 i32 i32) (result i32)))
     (data (i32.const 16) "${value}")`,
  );

/** A proxy whose route for /changed has that plugin, for an upstream that sends `response` to every request. */
async function startChanging(t: LiveTest, wasm: Uint8Array, response: (head: string) => string | string[]) {
  const asked: string[] = [];
  const upstream = await startRawUpstream(t, async (peer: Peer) => {
    for (;;) {
      const head = await peer.head();
      asked.push(head.split(" ")[0]!);
      await peer.sendChunks([response(head)].flat());
    }
  });
  const config = (ports: Program["ports"]): string =>
    `plugins: { changes: { wasm: ./changes.wasm } }\n${simpleConfig(upstream.port)(ports).replace(
      "routes: [",
      "routes: [{ match: { path: /changed }, chain: [changes], cluster: app }, ",
    )}`;
  const sluice = await reuseSluice(t, config, { files: { "changes.wasm": wasm } });
  return { sluice, asked };
}

/** Sends a changed request and an ordinary one after it; returns the response to the first. */
async function askTwice(t: LiveTest, sluice: Program, method: string) {
  const client = await connectTo(t, sluice.port);
  client.send(`${method} /changed HTTP/1.1\r\nHost: a\r\n\r\n`);
  const changed = await client.readResponse(method === "HEAD");
  const next = await client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").readResponse();
  assert.deepEqual([next.status, next.body.toString(), client.text], [200, "next", ""]);
  return changed;
}

const NEXT = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";
const SIZED = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKS = ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n", "5\r\nworld\r\n0\r\n\r\n"];

for (const [what, response] of [
  ["at once", SIZED],
  ["in chunks", CHUNKS],
] as const) {
  const say = (head: string): string | string[] => (head.includes("/changed") ? [...[response].flat()] : NEXT);

  testInUsualMode(`a HEAD changed to GET has no response body (${what})`, async (t) => {
    const { sluice, asked } = await startChanging(t, sets("request_head", METHOD, "GET"), say);
    assert.equal((await askTwice(t, sluice, "HEAD")).status, 200);
    assert.deepEqual(asked, ["GET", "GET"]);
  });

  for (const status of [204, 304]) {
    testInUsualMode(`a 200 changed to ${status} has no body (${what})`, async (t) => {
      const { sluice } = await startChanging(t, sets("response_head", STATUS, String(status)), say);
      assert.equal((await askTwice(t, sluice, "GET")).status, status);
    });
  }
}

for (const status of [204, 304]) {
  testInUsualMode(`a ${status} changed to 200 has an empty body`, async (t) => {
    const length = status === 304 ? "Content-Length: 1000\r\n" : "";
    const { sluice } = await startChanging(t, sets("response_head", STATUS, "200"), (head) =>
      head.includes("/changed") ? `HTTP/1.1 ${status} Some\r\n${length}\r\n` : NEXT,
    );
    const response = await askTwice(t, sluice, "GET");
    assert.deepEqual([response.status, response.headers["content-length"]], [200, "0"]);
    assert.equal(response.headers["transfer-encoding"], undefined);
  });
}

testInUsualMode("a GET changed to HEAD has an empty response body", async (t) => {
  const { sluice } = await startChanging(t, sets("request_head", METHOD, "HEAD"), (head) =>
    head.includes("/changed") ? "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" : NEXT,
  );
  const response = await askTwice(t, sluice, "GET");
  assert.deepEqual([response.status, response.body.length, response.whole], [200, 0, true]);
});

testInUsualMode("never-retries-a-sent-post: also a request that a plugin changed to POST", async (t) => {
  let heads = 0;
  const upstreams: RawUpstream[] = [];
  for (let i = 0; i < 2; i++)
    upstreams.push(
      await startRawUpstream(t, async (peer) => {
        await peer.head();
        heads++;
        peer.reset();
      }),
    );
  const config = (ports: Program["ports"]): string =>
    `plugins: { changes: { wasm: ./changes.wasm } }\n${simpleConfig(
      upstreams.map(({ port }) => port),
      { route: "retry: { attempts: 3, on: [connect, 502] }, chain: [changes]" },
    )(ports)}`;
  const sluice = await reuseSluice(t, config, {
    files: { "changes.wasm": sets("request_head", METHOD, "POST") },
  });
  const client = await connectTo(t, sluice.port);
  assert.equal((await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").readResponse()).status, 502);
  assert.equal(heads, 1);
});
