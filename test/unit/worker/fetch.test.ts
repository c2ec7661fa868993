import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { STATUS } from "../../../src/abi/abi.ts";
import { Origins } from "../../../src/worker/fetch.ts";
import { type Peer, startRawUpstream } from "../../e2e/peers.ts";
import { atEnd, bounded } from "../../e2e/program.ts";

/** The response of an origin to one request. */
function ask(origins: Origins, port: number, method = "GET", timeout = 3_600_000): Promise<number | string> {
  const request = {
    target: `http://127.0.0.1:${port}`,
    endpoint: null,
    head: Buffer.from(`${method} / HTTP/1.1\r\nhost: a\r\n\r\n`),
    body: method === "POST" || method === "PUT" ? Buffer.from("body\r\n\r\n") : Buffer.alloc(0),
    timeout,
    most: 1000,
  };
  const response = new Promise<number | string>((resolve) => {
    origins.fetch(request, (result) => resolve(typeof result === "number" ? result : result.body.toString()));
  });
  return bounded(response, "the response");
}

/** Received requests by connection, and the reaction to each but the first of a connection. */
async function startClosing(
  t: TestContext,
  meet: (peer: Peer) => void,
  first = "ok",
): Promise<{ port: number; heads: string[][] }> {
  const heads: string[][] = [];
  const upstream = await startRawUpstream(t, async (peer, index) => {
    const own: string[] = [];
    heads[index] = own;
    for (;;) {
      const [method = ""] = (await peer.head()).split(" ", 1);
      // A body ends here as a head does.
      if (/^[A-Z]+$/.test(method)) own.push(method);
      if (own.length === 1) peer.send(`HTTP/1.1 200 OK\r\ncontent-length: ${first.length}\r\n\r\n${first}`);
      else meet(peer);
    }
  });
  return { port: upstream.port, heads };
}

test("a request on a reused connection that its origin closes is retried on another, without a failure", async (t) => {
  const ways: [string, (peer: Peer) => void][] = [
    ["reset", (peer) => peer.reset()],
    ["ended", (peer) => void peer.end()],
  ];
  for (const [way, meet] of ways) {
    const { port, heads } = await startClosing(t, meet);
    const origins = new Origins(() => {});
    atEnd(t, () => origins.close());
    for (let i = 0; i < 2; i++) assert.equal(await ask(origins, port), "ok", way);
    assert.deepEqual(heads, [["GET", "GET"], ["GET"]], way);
    for (const method of ["PUT", "DELETE"]) assert.equal(await ask(origins, port, method), "ok", method);
  }
});

test("a request that may have been processed is not retried, and none is retried twice", async (t) => {
  const origins = new Origins(() => {});
  atEnd(t, () => origins.close());
  const posts = await startClosing(t, (peer) => peer.reset());
  assert.equal(await ask(origins, posts.port), "ok");
  assert.equal(await ask(origins, posts.port, "POST"), STATUS.unreachable);
  assert.deepEqual(posts.heads, [["GET", "POST"]]);

  // A byte of a response was received.
  const begins = await startClosing(t, (peer) => {
    peer.send("HTTP/1.1 2");
    peer.end();
  });
  assert.equal(await ask(origins, begins.port), "ok");
  assert.equal(await ask(origins, begins.port), STATUS.unreachable);
  assert.deepEqual(begins.heads, [["GET", "GET"]]);

  // The new connection is closed as well; and one that was never used before.
  let connections = 0;
  const closing = await startRawUpstream(t, async (peer, index) => {
    connections++;
    await peer.head();
    if (index > 0) return peer.reset();
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    await peer.head();
    peer.reset();
  });
  assert.equal(await ask(origins, closing.port), "ok");
  assert.equal(await ask(origins, closing.port), STATUS.unreachable);
  assert.equal(connections, 2);
  assert.equal(await ask(origins, closing.port), STATUS.unreachable);
  assert.equal(connections, 3);
});

test("the timeout of a request covers both attempts", async (t) => {
  const origins = new Origins(() => {});
  atEnd(t, () => origins.close());
  const silent = await startRawUpstream(t, async (peer, index) => {
    await peer.head();
    if (index > 0) return;
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    await peer.head();
    peer.reset();
  });
  assert.equal(await ask(origins, silent.port), "ok");
  assert.equal(await ask(origins, silent.port, "GET", 200), STATUS.timedOut);
  await bounded((await silent.connection(1)).closed, "the end of the other try");
});

test("an origin that demands another protocol fails at once as unreachable", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
  });
  const origins = new Origins(() => {});
  atEnd(t, () => origins.close());
  const request = {
    target: `http://127.0.0.1:${upstream.port}`,
    endpoint: null,
    head: Buffer.from("GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    body: Buffer.alloc(0),
    timeout: 3_600_000,
    most: 1000,
  };
  const response = new Promise((resolve) => {
    const cancel = origins.fetch(request, resolve);
    atEnd(t, cancel);
  });
  assert.equal(await bounded(response, "the response"), STATUS.unreachable);
});
