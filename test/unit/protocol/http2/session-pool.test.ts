/** The HTTP/2 connections to an endpoint: how many, for how long, and what waits for one. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createServer } from "node:tls";
import { Endpoint } from "../../../../src/cluster/endpoint.ts";
import { CODE, DEFAULT_WINDOW, FRAME, FRAME_FLAG, SETTING } from "../../../../src/http2/frames.ts";
import type { Http2Target } from "../../../../src/protocol/http2/client-stream.ts";
import type { SessionPool } from "../../../../src/protocol/http2/session-pool.ts";
import type { Attempt } from "../../../../src/proxy/attempt.ts";
import type { UpstreamEvents } from "../../../../src/proxy/upstream-stream.ts";
import { makePool } from "../../../../src/worker/endpoint-pools.ts";
import { type EndpointConnection, startHttp2Endpoint } from "../../../e2e/http2-endpoint.ts";
import { connectTo, type Peer } from "../../../e2e/peers.ts";
import { atEnd, bounded, until } from "../../../e2e/program.ts";
import { Authority } from "../../../support/certificates.ts";
import { type Frame, frame, goAway, headers, SETTINGS, settings, uint32 } from "../../../support/http2-frames.ts";
import { mockTime } from "../../../support/time.ts";
import { type Plane, startPlane } from "../../proxy/kit.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const MINUTE = 60_000;
const timeouts = { connect: 10 * MINUTE, response: 0, idle: 0, ping: 0, tunnel: 0 };
const pool = { idle: 64, idleFor: 0, connections: 0, requests: 0, age: 0 };

/** An endpoint whose responses the test sends. */
async function startAsked(t: Parameters<typeof startHttp2Endpoint>[0]) {
  const asked: [EndpointConnection, number][] = [];
  const onFrame = (connection: EndpointConnection, { type, stream }: Frame): void => {
    if (type === FRAME.headers) asked.push([connection, stream]);
  };
  const { port, connections } = await startHttp2Endpoint(t, onFrame);
  const respond = (index: number): void => {
    const [{ socket }, stream] = asked[index]!;
    socket.write(headers(stream, [[":status", "200"]]));
  };
  return { port, connections, asked, respond };
}

const clientsOf = (t: Parameters<typeof connectTo>[0], plane: Plane, count: number): Promise<Peer[]> =>
  Promise.all(Array.from({ length: count }, () => connectTo(t, plane.port)));

test("a connection that is older than pool.age takes no further request, and its last one finishes", async (t) => {
  const advance = mockTime(t);
  const { port, connections, asked, respond } = await startAsked(t);
  const age = 5 * MINUTE;
  const plane = startPlane(t, [port], {
    cluster: { protocol: "http2", timeouts, pool: { ...pool, age } },
    timeouts: { head: 0, body: 0, write: 0, idle: 0 },
  });
  const [first, second] = (await clientsOf(t, plane, 2)) as [Peer, Peer];
  first.send(GET);
  await until(() => asked.length === 1, "the first request");
  advance(age - MINUTE);
  second.send(GET);
  await until(() => asked.length === 2, "the second request");
  respond(1);
  assert.equal((await second.readResponse()).status, 200);
  assert.equal(connections.length, 1, "it is shared until then");

  const { now } = plane.clock;
  advance(2 * MINUTE);
  await until(() => plane.clock.now > now + MINUTE, "the clock to tick");
  second.send(GET);
  await until(() => asked.length === 3, "the third request");
  assert.deepEqual([connections.length, asked[2]![0] === connections[1]], [2, true]);
  assert.equal(connections[0]!.socket.destroyed, false);
  respond(2);
  respond(0);
  assert.deepEqual([(await first.readResponse()).status, (await second.readResponse()).status], [200, 200]);
  await until(() => connections[0]!.socket.destroyed, "the end of the first connection");
  const last = connections[0]!.frames.at(-1)!;
  assert.deepEqual([last.type, last.payload.readUInt32BE(4)], [FRAME.goAway, CODE.noError]);
  assert.equal(connections[1]!.socket.destroyed, false);
});

test("connections that take no further request do not count in the maximum", async (t) => {
  const { port, connections, asked, respond } = await startAsked(t);
  // Each connection takes one request.
  const plane = startPlane(t, [port], {
    cluster: { protocol: "http2", timeouts, pool: { ...pool, requests: 1 } },
    timeouts: { head: 0, body: 0, write: 0, idle: 0 },
  });
  const clients = await clientsOf(t, plane, 104);
  for (const client of clients) client.send(GET);
  await until(() => asked.length === clients.length, "all requests");
  assert.equal(connections.length, clients.length);
  for (const index of asked.keys()) respond(index);
  for (const client of clients) assert.equal((await client.readResponse()).status, 200);
});

test("a connection whose endpoint stops taking streams is no obstacle to another one, unless that takes none", async (t) => {
  const asked: [EndpointConnection, number][] = [];
  const limitTo = (count: number): Buffer => settings([SETTING.maxConcurrentStreams, count]);
  const { port, connections } = await startHttp2Endpoint(
    t,
    (connection, { type, stream }) => {
      if (type === FRAME.headers) asked.push([connection, stream]);
    },
    (n) => limitTo(n < 2 ? 1 : 0),
  );
  const plane = startPlane(t, [port], {
    cluster: { protocol: "http2", timeouts, pool },
    timeouts: { head: 0, body: 0, write: 0, idle: 0 },
  });
  const respond = (index: number): void => {
    const [{ socket }, stream] = asked[index]!;
    socket.write(headers(stream, [[":status", "200"]]));
  };
  const [first, second, third] = (await clientsOf(t, plane, 3)) as [Peer, Peer, Peer];
  first.send(GET);
  await until(() => asked.length === 1, "the first request");
  connections[0]!.socket.write(limitTo(0));
  respond(0);
  assert.equal((await first.readResponse()).status, 200);

  second.send(GET);
  await until(() => asked.length === 2, "a request on another connection");
  assert.equal(asked[1]![0], connections[1]);
  // The third connection takes none: no fourth is opened, and the request waits for any of them.
  first.send(GET);
  const acknowledges = ({ type, flags }: Frame): boolean =>
    type === FRAME.settings && (flags & FRAME_FLAG.acknowledge) !== 0;
  await until(() => connections.length === 3 && connections[2]!.frames.length > 0, "a third connection");
  await until(() => connections[2]!.frames.some(acknowledges), "its SETTINGS to be read");
  third.send(GET);
  connections[0]!.socket.write(limitTo(1));
  await until(() => asked.length === 3, "a request on the first connection");
  respond(1);
  await until(() => asked.length === 4, "a request on the second connection");
  assert.deepEqual([asked[2]![0], asked[3]![0]], [connections[0], connections[1]]);
  for (const index of [2, 3]) respond(index);
  for (const client of [first, second, third]) assert.equal((await client.readResponse()).status, 200);
  assert.equal(connections.length, 3);
});

test("a connection whose window was used up for a second takes no bodies until it has some again", async (t) => {
  const advance = mockTime(t);
  const { port, connections, asked, respond } = await startAsked(t);
  const plane = startPlane(t, [port], {
    cluster: { protocol: "http2", timeouts, pool },
    timeouts: { head: 0, body: 0, write: 0, idle: 0 },
  });
  const pass = async (ms: number): Promise<void> => {
    const { now } = plane.clock;
    advance(ms);
    await until(() => plane.clock.now >= now + ms, "the clock to tick");
  };
  const sizeOf = ({ frames }: EndpointConnection): number =>
    frames.reduce((sum, { type, payload }) => sum + (type === FRAME.data ? payload.length : 0), 0);
  const post = (size: number): string => `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`;
  const grant = (size: number) => frame(FRAME.windowUpdate, 0, 0, uint32(size));
  const [large, small, get] = (await clientsOf(t, plane, 3)) as [Peer, Peer, Peer];
  let count = 0;
  /** Sends a request and its response; returns the index of its connection. */
  const ask = async (client: Peer, request: string): Promise<number> => {
    client.send(request);
    count++;
    await until(() => asked.length === count, `request ${count}`);
    respond(count - 1);
    assert.equal((await client.readResponse()).status, 200);
    return connections.indexOf(asked[count - 1]![0]);
  };
  large.send(post(300_000) + "x".repeat(300_000));
  count++;
  await until(
    () => connections[0] !== undefined && sizeOf(connections[0]) === DEFAULT_WINDOW,
    "the window to be used up",
  );
  connections[0]!.socket.write(settings([SETTING.initialWindowSize, 1 << 20]));
  // Little by little: such an endpoint is as slow.
  connections[0]!.socket.write(grant(1));
  await until(() => sizeOf(connections[0]!) === DEFAULT_WINDOW + 1, "another byte");
  await pass(1500);
  assert.equal(await ask(get, GET), 0, "a request without a body needs no window");
  assert.equal(await ask(small, `${post(1)}x`), 1);
  assert.equal(sizeOf(connections[1]!), 1);
  // A large upload at a usual rate keeps it used up, too.
  connections[0]!.socket.write(grant(DEFAULT_WINDOW));
  await until(() => sizeOf(connections[0]!) === 2 * DEFAULT_WINDOW + 1, "the window to be used up again");
  assert.equal(await ask(get, GET), 0);
  assert.equal(await ask(small, `${post(0)}`), 0);
  await pass(1500);
  assert.equal(await ask(small, `${post(1)}x`), 1);
  connections[0]!.socket.write(grant(1 << 20));
  await until(() => sizeOf(connections[0]!) === 300_000, "the whole body");
  assert.equal(await ask(small, `${post(1)}x`), 0);
  assert.equal(connections.length, 2);
  respond(0);
  assert.equal((await large.readResponse()).status, 200);
});

test("a request that was lost is sent again on the next connection, even if others end while that is opened", async (t) => {
  const asked: [EndpointConnection, number][] = [];
  const { port, connections } = await startHttp2Endpoint(
    t,
    (connection, { type, stream }) => {
      if (type === FRAME.headers) asked.push([connection, stream]);
    },
    // The third connection gets its SETTINGS later.
    (n) => (n === 2 ? null : settings([SETTING.maxConcurrentStreams, 1])),
  );
  const plane = startPlane(t, [port], {
    cluster: { protocol: "http2", timeouts, pool },
    timeouts: { head: 0, body: 0, write: 0, idle: 0 },
  });
  const clients = await clientsOf(t, plane, 2);
  for (const client of clients) client.send(GET);
  await until(() => asked.length === 2, "a request on each of two connections");
  for (const [{ socket }, stream] of asked) socket.write(headers(stream, [[":status", "200"]]));
  for (const client of clients) assert.equal((await client.readResponse()).status, 200);

  const [client] = clients as [Peer];
  client.send(GET);
  await until(() => asked.length === 3, "a request on a known connection");
  const lost = asked[2]![0];
  const other = connections.find((connection) => connection !== lost)!;
  lost.socket.destroy();
  await until(() => connections.length === 3, "a new connection");
  other.socket.write(goAway(0, CODE.noError));
  await until(() => other.socket.destroyed, "the end of the other connection");
  connections[2]!.socket.write(SETTINGS);
  await until(() => asked.length === 4, "the request on the new connection");
  assert.deepEqual([connections.length, asked[3]![0] === connections[2]], [3, true]);
  connections[2]!.socket.write(headers(asked[3]![1], [[":status", "200"]]));
  assert.equal((await client.readResponse()).status, 200);
});

test("at most 1,000 requests wait for a connection, each for at most timeouts.connect", async (t) => {
  const advance = mockTime(t);
  // It sends no SETTINGS.
  const { port, connections } = await startHttp2Endpoint(
    t,
    () => {},
    () => null,
  );
  const plane = startPlane(t, [port], { cluster: { protocol: "http2", timeouts, pool } });
  const failures: string[] = [];
  const failed: UpstreamEvents["failed"] = (_attempt, { code }, problem) => failures.push(`${code}: ${problem}`);
  const { plan } = plane.snapshot.clusters[0]!;
  const { sessions } = makePool(plane.context, { failed } as UpstreamEvents, plan) as { sessions: SessionPool };
  const target = { endpoint: new Endpoint(plan.set.endpoints[0]!), plan } as Http2Target;
  for (let i = 0; i < 1003; i++) {
    const attempt = { exchange: { deadline: 0, upgrade: null }, noReuse: false };
    sessions.open(attempt as unknown as Attempt, target);
  }
  assert.deepEqual(failures, [], "none fails before open() returns");
  await until(() => failures.length > 0, "a failure");
  assert.deepEqual(failures, Array(3).fill("stream_limit: 1000 requests wait for a stream"));
  assert.ok(connections.length <= 11, `${connections.length} connections`);
  advance(timeouts.connect);
  await until(() => failures.length === 1003, "the others to fail");
  for (const failure of failures.slice(3)) assert.match(failure, /^connect_timeout: no /);
});

test("an endpoint that selected HTTP/1 is asked for HTTP/2 again after a minute", async (t) => {
  const advance = mockTime(t);
  const authority = new Authority();
  authority.issue("server", { names: "IP:127.0.0.1" });
  atEnd(t, () => authority.remove());
  const offers: string[] = [];
  const server = createServer(
    {
      cert: authority.read("server.pem"),
      key: authority.read("server.key"),
      ALPNCallback: ({ protocols }) => {
        offers.push(protocols.join());
        return "http/1.1";
      },
    },
    (socket) => {
      socket.on("error", () => undefined);
      // A connection for each request.
      socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"));
    },
  );
  await once(server.listen(0, "127.0.0.1"), "listening");
  atEnd(t, () => void server.close());
  const tls = { key: "test", verify: false, serverName: "", ca: [], crl: [], certificate: null };
  const plane = startPlane(t, [(server.address() as AddressInfo).port], {
    cluster: { protocol: "auto", tls, timeouts, pool },
    timeouts: { head: 0, body: 0, write: 0, idle: 0 },
  });
  const client = await connectTo(t, plane.port);
  const ask = async (): Promise<void> => {
    assert.equal((await bounded(client.send(GET).readResponse(), "a response")).status, 200);
  };
  const pass = async (ms: number): Promise<void> => {
    const { now } = plane.clock;
    advance(ms);
    await until(() => plane.clock.now >= now + ms, "the clock to tick");
  };
  await ask();
  await ask();
  assert.deepEqual(offers.splice(0), ["h2,http/1.1", "http/1.1"]);
  await pass(MINUTE - 10_000);
  await ask();
  assert.deepEqual(offers.splice(0), ["http/1.1"]);
  await pass(10_000);
  await ask();
  await ask();
  assert.deepEqual(offers, ["h2,http/1.1", "http/1.1"]);
});
