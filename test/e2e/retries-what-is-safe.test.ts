/** A request that may have reached an endpoint is retried only where that is safe. */
import assert from "node:assert/strict";
import { findFreePort } from "./free-port.ts";
import { connectTo, exchange, type Peer, startRawUpstream, startUpstream } from "./peers.ts";
import { reuseSluice, simpleConfig, startSluice, testInEachMode, testInUsualMode } from "./program.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const retry = "retry: { attempts: 3, on: [connect, 502, 503, 504] }";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

testInUsualMode("never-retries-a-sent-post", async (t) => {
  const seen: string[] = [];
  const breaking = await startRawUpstream(t, async (peer) => {
    seen.push(await peer.head());
    peer.reset();
  });
  const other = await startUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig([breaking.port, other.port], { route: retry }));
  let failed = 0;
  for (let turn = 0; turn < 6; turn++) {
    const response = await exchange(t, sluice.port, post);
    if (response.status === 502) failed++;
    else assert.equal(response.status, 200);
  }
  assert.equal(failed, seen.length);
  assert.ok(failed > 0);
  assert.equal(seen.length + other.requests.length, 6);
});

testInUsualMode("never-retries-a-sent-post on a response's status, but retries a GET", async (t) => {
  const failing = await startUpstream(t, (_, response) => response.writeHead(503).end("busy"));
  const other = await startUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig([failing.port, other.port], { route: retry }));
  for (let turn = 0; turn < 4; turn++) assert.equal((await exchange(t, sluice.port, get)).status, 200);
  const before = failing.requests.length;
  assert.ok(before > 0);
  const statuses: number[] = [];
  for (let turn = 0; turn < 4; turn++) statuses.push((await exchange(t, sluice.port, post)).status);
  assert.ok(statuses.includes(503));
  assert.equal(statuses.filter((status) => status === 503).length, failing.requests.length - before);
});

testInUsualMode("a GET whose connection fails before the response is retried where the route lists 502", async (t) => {
  const breaking = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.reset();
  });
  const other = await startUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig([breaking.port, other.port], { route: retry }));
  for (let turn = 0; turn < 4; turn++) assert.equal((await exchange(t, sluice.port, get)).status, 200);
  assert.ok(breaking.peers.length > 0);
  assert.equal(other.requests.length, 4);
});

testInEachMode("retries-a-refused-connect-on-another-endpoint, the body included", async (t) => {
  const upstream = await startUpstream(t, (request, response) => response.end(request.body));
  const sluice = await startSluice(t, simpleConfig([await findFreePort(), upstream.port]));
  for (let turn = 0; turn < 4; turn++) {
    const response = await exchange(t, sluice.port, post);
    assert.deepEqual([response.status, response.body.toString()], [200, "hello"]);
  }
  assert.equal(upstream.requests.length, 4);
  assert.ok((await sluice.metric("sluice_retries_total", { cluster: "app" })) > 0);
});

testInEachMode(
  "a body that is sent while connections are refused reaches the accepting endpoint complete",
  async (t) => {
    const body = Buffer.from(Array.from({ length: 400_000 }, (_, i) => i % 251));
    const upstream = await startUpstream(t, (request, response) => response.end(String(request.body.equals(body))));
    const refusing = [await findFreePort(), await findFreePort()];
    const route = "retry: { attempts: 3, on: [connect] }";
    const sluice = await reuseSluice(t, simpleConfig([...refusing, upstream.port], { route }));
    for (let turn = 0; turn < 6; turn++) {
      const client = await connectTo(t, sluice.port);
      client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`);
      for (let at = 0; at < body.length; at += 30_000) await client.sendChunks([body.subarray(at, at + 30_000)]);
      const response = await client.readResponse();
      assert.deepEqual([response.status, response.body.toString()], [200, "true"]);
    }
  },
);

testInUsualMode("responds with 502 when every endpoint refuses", async (t) => {
  const sluice = await reuseSluice(t, simpleConfig([await findFreePort(), await findFreePort()]));
  const response = await exchange(t, sluice.port, get);
  assert.equal(response.status, 502);
  assert.equal(response.headers["proxy-status"], "sluice; error=connection_refused");
});

testInUsualMode("stale-connection-is-not-an-error", async (t) => {
  // Responds once on each connection, and closes it as the next request arrives: like a keep-alive timeout that expires
  // while a request is in transit.
  const upstream = await startRawUpstream(t, async (peer: Peer, index) => {
    for (let turn = 0; ; turn++) {
      await peer.head();
      if (turn === 1 && index < 5) return void peer.end();
      peer.send(OK);
    }
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  for (let turn = 0; turn < 10; turn++) assert.equal((await exchange(t, sluice.port, get)).status, 200);
  assert.ok(upstream.peers.length >= 5);
});

testInUsualMode(
  "stale-connection-is-not-an-error: a closed idle connection is dropped, and a POST uses a new one",
  async (t) => {
    const upstream = await startRawUpstream(t, async (peer) => {
      await peer.take("hello");
      peer.send(OK).end();
    });
    const sluice = await reuseSluice(t, simpleConfig(upstream.port));
    for (let turn = 0; turn < 5; turn++) {
      assert.equal((await exchange(t, sluice.port, post)).status, 200);
      // The proxy closes its side once it has seen the end of an idle connection.
      await upstream.peers.at(-1)!.closed;
    }
    assert.equal(upstream.peers.length, 5);
  },
);

testInUsualMode("a response that matches the retry policy is forwarded when no other endpoint is left", async (t) => {
  const upstream = await startUpstream(t, (_, response) => response.writeHead(503).end("busy"));
  const sluice = await reuseSluice(t, simpleConfig(upstream.port, { route: retry }));
  const response = await exchange(t, sluice.port, get);
  assert.deepEqual(
    [response.status, response.body.toString(), response.headers["proxy-status"]],
    [503, "busy", undefined],
  );
  assert.equal(upstream.requests.length, 1);
});
