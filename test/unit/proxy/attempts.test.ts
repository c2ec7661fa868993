/** Concurrent attempts of one exchange. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { scanResponse } from "../../../src/http1/scan.ts";
import type { Attempt } from "../../../src/proxy/attempt.ts";
import { ERROR } from "../../../src/proxy/error.ts";
import type { Exchange } from "../../../src/proxy/exchange.ts";
import { connectTo, type Peer, startRawUpstream } from "../../e2e/peers.ts";
import { bounded, until } from "../../e2e/program.ts";
import { makeInstance, type Plane, startPlane } from "./kit.ts";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/** A request that was sent to both endpoints, neither of which has responded. */
async function startTwo(t: TestContext) {
  const upstreams = [await startRawUpstream(t), await startRawUpstream(t)];
  const seen: Exchange[] = [];
  const chain = [makeInstance(0, { request_head: (x) => seen.push(x) && 0 })];
  const plane = startPlane(
    t,
    upstreams.map(({ port }) => port),
    { chain },
  );
  const client = await connectTo(t, plane.port);
  client.send(get);
  await until(() => seen.length === 1 && seen[0]!.attempt.sent, "the first attempt is sent");
  const x = seen[0]!;
  const first = x.attempt;
  const second = beginSecond(plane, x);
  const peers: Peer[] = [];
  for (const { endpoint } of [first, second]) {
    const peer = await upstreams[endpoint!.slot]!.connection(0);
    await peer.head();
    peers.push(peer);
  }
  return { plane, client, x, first, second, peers };
}

/** Begins a second attempt, as hedging would. */
function beginSecond({ columns, snapshot }: Plane, x: Exchange) {
  const cluster = snapshot.clusters[0]!;
  x.endpoint = cluster.members.find(({ endpoint }) => endpoint !== x.endpoint)!.endpoint;
  const attempt = x.beginAttempt();
  attempt.startedAt = performance.now();
  columns.addInFlight(0, x.endpoint.slot, 1);
  cluster.connectorOf(x.endpoint).open(attempt);
  return attempt;
}

test("of two attempts the exchange commits to the second and cancels the first", async (t) => {
  const { plane, client, x, first, second, peers } = await startTwo(t);
  assert.deepEqual([plane.columns.inFlight(0), plane.columns.inFlight(1)], [1, 1]);
  peers[1]!.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nx-from: second\r\n\r\nsec");
  const cancelled = peers[0]!.closed;
  assert.equal((await client.head()).includes("x-from: second"), true);
  await bounded(cancelled, "the end of the first attempt");
  assert.deepEqual([plane.columns.inFlight(0), plane.columns.inFlight(1)], [0, 0]);
  assert.equal(x.attempt, second);
  assert.equal(x.response, second.head);
  assert.equal(x.endpoint, second.endpoint);

  // A later result of the first changes nothing.
  first.head.status = 503;
  plane.pipeline.attempts.interim(first);
  plane.pipeline.attempts.responded(first);
  plane.pipeline.attempts.failed(first, ERROR.upstreamReset, "for the test");
  assert.equal(x.response.status, 200);

  peers[1]!.send("ond");
  await until(() => plane.inFlight === 0, "the exchange has ended");
  assert.deepEqual(plane.reports, []);
});

test("the first attempt can be the one that responds; a client that disconnects ends both", async (t) => {
  const one = await startTwo(t);
  one.peers[0]!.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
  const response = await one.client.readResponse();
  assert.equal(response.body.toString(), "first");
  await bounded(one.peers[1]!.closed, "the end of the second attempt");
  await until(() => one.plane.inFlight === 0, "the exchange has ended");
  assert.deepEqual([one.plane.columns.inFlight(0), one.plane.columns.inFlight(1)], [0, 0]);

  const other = await startTwo(t);
  other.client.reset();
  for (const peer of other.peers) await bounded(peer.closed, "the end of both attempts");
  await until(() => other.plane.inFlight === 0, "the exchange has ended");
  assert.deepEqual([other.plane.columns.inFlight(0), other.plane.columns.inFlight(1)], [0, 0]);
});

test("a request that the endpoint reports as not processed is retried with any method", async (t) => {
  const attempts: Attempt[] = [];
  const stream = { sendBody: () => true, pauseBody() {}, resumeBody() {}, cancel() {} };
  const open = (attempt: Attempt): void => {
    attempts.push(attempt);
    attempt.stream = stream;
    attempt.sent = attempt.complete = true;
  };
  const plane = startPlane(t, [1, 2], { connector: { open } });
  const client = await connectTo(t, plane.port);
  client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
  await until(() => attempts.length === 1, "the first attempt");
  const first = attempts[0]!.endpoint;
  plane.pipeline.attempts.failed(attempts[0]!, ERROR.upstreamReset, "the stream was refused", true);
  assert.equal(attempts.length, 2);
  const second = attempts[1]!;
  assert.notEqual(second.endpoint, first);
  assert.equal(second.exchange.replay!.toString("latin1", 0, 2), "hi");
  const head = Buffer.from("HTTP/1.1 204 No Content\r\n\r\n");
  scanResponse(head, 0, head.length, second.head, second.isHead);
  second.bodyDone = true;
  plane.pipeline.attempts.responded(second);
  assert.equal((await client.readResponse()).status, 204);

  client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
  await until(() => attempts.length === 3, "the next request");
  plane.pipeline.attempts.failed(attempts[2]!, ERROR.upstreamReset, "the stream was reset");
  assert.equal((await client.readResponse()).status, 502);
  await until(() => plane.inFlight === 0, "the exchange has ended");
  assert.deepEqual([plane.columns.inFlight(0), plane.columns.inFlight(1)], [0, 0]);
});

test("a request that was sent is retried only if it is idempotent and complete", async (t) => {
  const attempts: Attempt[] = [];
  const stream = { sendBody: () => true, pauseBody() {}, resumeBody() {}, cancel() {} };
  const open = (attempt: Attempt): void => {
    attempts.push(attempt);
    attempt.stream = stream;
    attempt.sent = true;
  };
  const plane = startPlane(t, [1, 2], { connector: { open }, retry: { reset: true } });
  const cases: [request: string, retried: boolean][] = [
    ["PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", true],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", false],
    ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", false],
    ["PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh", false],
  ];
  for (const [request, isRetried] of cases) {
    attempts.length = 0;
    const client = await connectTo(t, plane.port);
    client.send(request);
    await until(() => attempts.length === 1, "the attempt");
    plane.pipeline.attempts.failed(attempts[0]!, ERROR.upstreamReset, "for the test");
    assert.equal(attempts.length, isRetried ? 2 : 1, request);
    if (isRetried) plane.pipeline.attempts.failed(attempts[1]!, ERROR.upstreamReset, "for the test");
    assert.equal((await client.readResponse()).status, 502);
    client.reset();
  }
  await until(() => plane.inFlight === 0, "the exchanges have ended");
});
