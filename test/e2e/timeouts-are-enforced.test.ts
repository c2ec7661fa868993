/** Clients and endpoints that are too slow get a status or a closed connection. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { connectTo, exchange, startRawUpstream, startUpstream } from "./peers.ts";
import { atEnd, bounded, reuseSluice, simpleConfig, startSluice, testInEachMode, testInUsualMode } from "./program.ts";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

testInEachMode("clients: 408 for a missing head or body, an orderly close of an idle connection", async (t) => {
  const upstream = await startUpstream(t);
  const listener = "timeouts: { head: 300ms, body: 300ms, idle: 300ms }";
  const sluice = await reuseSluice(t, simpleConfig(upstream.port, { listener }));

  const head = await connectTo(t, sluice.port);
  const late = await head.send("GET / HTTP/1.1\r\nHost: ").readResponse();
  assert.deepEqual([late.status, late.headers.connection], [408, "close"]);
  assert.match(late.headers["proxy-status"]!, /^sluice; error=/);
  await head.waits(() => head.ended, "the end");

  const body = await connectTo(t, sluice.port);
  const cut = await body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").readResponse();
  assert.equal(cut.status, 408);
  await body.waits(() => body.ended, "the end");

  const silent = await connectTo(t, sluice.port);
  assert.equal((await silent.rest()).length, 0);
  const idle = await connectTo(t, sluice.port);
  assert.equal((await idle.send(get).readResponse()).status, 200);
  assert.equal((await idle.rest()).length, 0);
});

testInEachMode("the head timeout runs from the first byte, however slowly the rest arrives", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig(upstream.port, { listener: "timeouts: { head: 500ms }" }));
  const client = await connectTo(t, sluice.port);
  // The second request of a connection: only its begin may take long.
  assert.equal((await client.send(get).readResponse()).status, 200);
  client.send("GET / HTTP/1.1\r\nX: ");
  const trickle = setInterval(() => client.send("x"), 50);
  atEnd(t, () => clearInterval(trickle));
  assert.equal((await client.readResponse()).status, 408);
});

testInUsualMode("upstreams: 504 for a missing response, and the connection is closed", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig(upstream.port, { cluster: "timeouts: { response: 300ms }" }));
  const response = await exchange(t, sluice.port, get);
  assert.equal(response.status, 504);
  assert.equal(response.headers["proxy-status"], "sluice; error=http_response_timeout");
  await bounded(upstream.peers[0]!.closed, "the upstream connection's end");
});

testInEachMode("upstreams: the response timeout does not run while the request is being sent", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig(upstream.port, { cluster: "timeouts: { response: 300ms }" }));
  const client = await connectTo(t, sluice.port);
  client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
  for (const byte of "hello") {
    await new Promise((resolve) => setTimeout(resolve, 200));
    client.send(byte);
  }
  assert.equal((await client.readResponse()).status, 200);
});

testInUsualMode("routes: the timeout covers all attempts", async (t) => {
  const silent = await Promise.all([1, 2, 3].map(() => startRawUpstream(t)));
  const sluice = await reuseSluice(
    t,
    simpleConfig(
      silent.map(({ port }) => port),
      { route: "timeout: 400ms, retry: { attempts: 5, on: [connect, 504] }" },
    ),
  );
  const response = await exchange(t, sluice.port, get);
  assert.equal(response.status, 504);
});

testInUsualMode("upstreams: 504 for a connection that is not established", async (t) => {
  const port = await startDeaf(t);
  const sluice = await reuseSluice(t, simpleConfig(port, { cluster: "timeouts: { connect: 300ms }" }));
  const response = await exchange(t, sluice.port, get);
  assert.equal(response.status, 504);
  assert.equal(response.headers["proxy-status"], "sluice; error=connection_timeout");
});

/** A port that neither accepts nor refuses a connection: its program is stopped, and its queue is full. */
async function startDeaf(t: TestContext): Promise<number> {
  const script = `require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, function () {
    console.log(this.address().port);
  })`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  atEnd(t, () => child.kill("SIGKILL"));
  const [line] = await once(child.stdout, "data");
  child.kill("SIGSTOP");
  for (let i = 0; i < 8; i++) {
    const socket = connect({ host: "127.0.0.1", port: Number(line) });
    socket.on("error", () => socket.destroy());
    atEnd(t, () => socket.destroy());
  }
  return Number(line);
}

testInEachMode("a stalled response is aborted, visibly to the client", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port, { cluster: "timeouts: { idle: 300ms }" }));
  const client = await connectTo(t, sluice.port);
  const response = await client.send(get).readResponse();
  assert.deepEqual([response.status, response.whole], [200, false]);
  assert.equal(await bounded(client.closed, "the end"), "reset");
});

testInEachMode("a response that stalls after its reader was slow is aborted too", async (t) => {
  const size = 16 * 1024 * 1024;
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${size + 10}\r\n\r\n`).send(Buffer.alloc(size));
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port, { cluster: "timeouts: { idle: 500ms }" }));
  const client = await connectTo(t, sluice.port);
  client.send(get);
  await client.waits(() => client.received > 0, "the first bytes");
  client.socket.pause();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const [peer] = upstream.peers;
  assert.equal(peer!.ended, false, "a slow reader is no slow upstream");
  client.socket.resume();
  assert.equal(await bounded(client.closed, "the end"), "reset");
  // Not the bytes that the client has: a reset discards unread ones.
  assert.equal(peer!.socket.writableLength, 0, "not all of it was asked for");
});

testInEachMode("a client that does not read its response is disconnected after the write timeout", async (t) => {
  const upstream = await startUpstream(t, (_, response) => response.end(Buffer.alloc(32 * 1024 * 1024)));
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener: "timeouts: { write: 500ms }" }));
  const client = await connectTo(t, sluice.port, { pauseOnConnect: true });
  client.send(get);
  await bounded(
    (async () => {
      while ((await sluice.metric("sluice_requests_total", { status: "200" })) === 0) await new Promise(setImmediate);
    })(),
    "the request's end",
  );
  await sluice.metricIs(0, "sluice_requests_in_flight");
});
