import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";
import { Connection } from "../../../src/net/connection.ts";
import { LISTENER_CELLS } from "../../../src/observe/series.ts";
import { ClientConnection } from "../../../src/protocol/http1/client-connection.ts";
import { findFreePort } from "../../e2e/free-port.ts";
import { connectTo, type Peer, startRawUpstream } from "../../e2e/peers.ts";
import { bounded, until } from "../../e2e/program.ts";
import { CELLS, type Plane, startPlane } from "./kit.ts";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const begin = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

type Way = {
  /** What the client does, and the upstream once it has a head. */
  client: (client: Peer) => unknown;
  upstream: (peer: Peer) => unknown;
};

const ways: Record<string, Way> = {
  "a response": { client: (client) => client.send(get).readResponse(), upstream: (peer) => peer.send(ok) },
  "a pipeline": {
    client: async (client) => {
      client.send(get + get + get);
      for (let i = 0; i < 3; i++) await client.readResponse();
    },
    upstream: (peer) => peer.send(ok),
  },
  "a response that says to close": {
    client: (client) => client.send(get).readResponse(),
    upstream: (peer) => peer.send(ok.replace("OK\r\n", "OK\r\nConnection: close\r\n")),
  },
  "a client that leaves before the response": { client: (client) => client.send(get).end(), upstream: () => {} },
  "a client that resets inside the response": {
    client: async (client) => {
      await client.send(get).head();
      client.reset();
    },
    upstream: (peer) => peer.send(begin),
  },
  "an upstream that ends before its head": {
    client: (client) => client.send(get).readResponse(),
    upstream: (peer) => peer.end(),
  },
  "an upstream that resets inside its response": {
    client: async (client) => {
      await client.send(get).head();
      await client.closed;
    },
    upstream: async (peer) => {
      await peer.sendChunks([begin]);
      peer.reset();
    },
  },
  "a malformed response": {
    client: (client) => client.send(get).readResponse(),
    upstream: (peer) => peer.send("what?\r\n\r\n"),
  },
  "a malformed request": { client: (client) => client.send("what?\r\n\r\n").readResponse(), upstream: () => {} },
  "a response before the request is complete": {
    client: (client) => client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nh").readResponse(),
    upstream: (peer) => peer.send(ok),
  },
  "a body that breaks off": {
    client: (client) => client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nh").end(),
    upstream: () => {},
  },
  "a malformed body": {
    client: (client) =>
      client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nwhat?").readResponse(),
    upstream: () => {},
  },
};

for (const [what, way] of Object.entries(ways))
  test(`an exchange releases its resources: ${what}`, async (t) => {
    const upstream = await startRawUpstream(t, async (peer) => {
      for (;;) {
        await peer.head();
        await way.upstream(peer);
      }
    });
    const refusing = await findFreePort();
    const plane = startPlane(t, [upstream.port, refusing], { retry: { attempts: 2, connect: true, statuses: [502] } });
    // Often enough that each endpoint was the first to be tried, and that connections were used again.
    for (let turn = 0; turn < 8; turn++) {
      const client = await connectTo(t, plane.port);
      await way.client(client);
      client.end();
      await bounded(client.closed, "the client's end");
    }
    await until(() => plane.inFlight === 0 && plane.clients.length === 0, "nothing is in flight");
    assert.deepEqual([plane.columns.inFlight(0), plane.columns.inFlight(1)], [0, 0]);
    assert.deepEqual(plane.reports, []);
    plane.snapshot.retire();
    assert.equal(plane.disposed, true);
  });

test("an exception ends its own exchange only", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      await peer.head();
      peer.send(ok);
    }
  });
  const plane = startPlane(t, [upstream.port]);
  const { snapshot } = plane.listener.port.state!;
  const client = await connectTo(t, plane.port);
  assert.equal((await client.send(get).readResponse()).status, 200);
  // Where the request pipeline throws; restored for the second of two pipelined requests.
  const { clusters } = snapshot;
  const pick = clusters[0]!.pick.bind(clusters[0]);
  clusters[0]!.pick = (...asked) => {
    clusters[0]!.pick = pick;
    throw new Error(`for the test: ${asked.length}`);
  };
  client.send(get + get);
  assert.deepEqual([(await client.readResponse()).status, (await client.readResponse()).status], [500, 200]);
  assert.deepEqual(plane.reports, ["an exception ended an exchange"]);
  client.end();
  await until(() => plane.inFlight === 0 && plane.clients.length === 0, "nothing is in flight");
  plane.snapshot.retire();
  assert.equal(plane.disposed, true);
});

test("an exception while logging an exchange does not leak it", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send(ok);
  });
  const plane = startPlane(t, [upstream.port]);
  plane.context.accessLog.line = () => {
    throw new Error("for the test");
  };
  const client = await connectTo(t, plane.port);
  assert.equal((await client.send(get).readResponse()).status, 200);
  client.end();
  await until(() => plane.inFlight === 0 && plane.clients.length === 0, "nothing is in flight");
  plane.snapshot.retire();
  assert.equal(plane.disposed, true);
});

test("a client that paused briefly is not disconnected by the timeout of that write", async (t) => {
  const upstream = await startRawUpstream(t);
  const plane = startPlane(t, [upstream.port], { timeouts: { write: 300 } });
  const client = await connectTo(t, plane.port);
  client.send(get);
  const peer = await upstream.connection(0);
  await peer.head();
  client.socket.pause();
  peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  const [connection] = plane.clients;
  // Until bytes are buffered in the proxy, but too few for an event when they were sent.
  const sent = (): number => plane.context.cells[CELLS.listener + LISTENER_CELLS.bytesSent]!;
  while (connection!.unsent === 0) {
    const before = sent();
    peer.send(`8000\r\n${"x".repeat(0x8000)}\r\n`);
    while (sent() < before + 0x8000) await setImmediate();
  }
  assert.equal(connection!.socket.writableNeedDrain, false);
  client.socket.resume();
  await until(() => connection!.unsent === 0, "the client has taken it");
  await setTimeout(600);
  peer.send("0\r\n\r\n");
  assert.equal((await client.readResponse()).whole, true);
});

test("a connection that is closing can be reset", async (t) => {
  const plane = startPlane(t, [await findFreePort()]);
  const client = await connectTo(t, plane.port);
  await until(() => plane.clients.length === 1, "it is accepted");
  client.socket.pause();
  plane.clients[0]!.socket.end();
  plane.listener.close();
  await until(() => plane.clients.length === 0, "it is gone");
});

test("the response timeout starts when the request was sent", async (t) => {
  const upstream = await startRawUpstream(t, (peer) => void peer.socket.pause());
  const plane = startPlane(t, [upstream.port], {
    cluster: { timeouts: { connect: 5000, response: 5000, idle: 300, ping: 5000, tunnel: 5000 } },
  });
  const wires = collectUpstreams(plane);
  const client = await connectTo(t, plane.port);
  client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  const received = (): number => plane.context.cells[CELLS.listener + LISTENER_CELLS.bytesReceived]!;
  const peer = await upstream.connection(0);
  // Until bytes are buffered in the proxy, but too few for an event when they were sent.
  while (wires[0]!.unsent === 0) {
    const before = received();
    client.send(`4000\r\n${"x".repeat(0x4000)}\r\n`);
    while (received() < before + 0x4000) await setImmediate();
    await setImmediate();
  }
  client.send("0\r\n\r\n");
  peer.socket.resume();
  await until(() => wires[0]!.unsent === 0, "the endpoint has taken it");
  await setTimeout(600);
  peer.send(ok);
  assert.equal((await client.readResponse()).status, 200);
});

test("a response that stalls after its slow reader continued is aborted", async (t) => {
  const upstream = await startRawUpstream(t);
  const plane = startPlane(t, [upstream.port], {
    cluster: { timeouts: { connect: 5000, response: 5000, idle: 300, ping: 5000, tunnel: 5000 } },
  });
  const wires = collectUpstreams(plane);
  const client = await connectTo(t, plane.port);
  client.send(get);
  const peer = await upstream.connection(0);
  await peer.head();
  client.socket.pause();
  peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  const sent = (): number => plane.context.cells[CELLS.listener + LISTENER_CELLS.bytesSent]!;
  // Chunk by chunk, so that when the endpoint is paused all that it has sent was read: no byte is received after that.
  while (!wires[0]!.paused) {
    const before = sent();
    peer.send(`4000\r\n${"x".repeat(0x4000)}\r\n`);
    while (sent() < before + 0x4000 && !wires[0]!.paused) await setImmediate();
  }
  await setTimeout(600);
  assert.equal(client.ended, false, "a slow reader is no slow endpoint");
  client.socket.resume();
  assert.equal(await bounded(client.closed, "the end of the connection"), "reset");
});

/** The connections to endpoints, in order of arrival. */
function collectUpstreams(plane: Plane): Connection[] {
  const found: Connection[] = [];
  const add = plane.clock.add.bind(plane.clock);
  plane.clock.add = (timed) => {
    if (timed instanceof Connection && timed.handler instanceof ClientConnection) found.push(timed);
    add(timed);
  };
  return found;
}
