/** An HTTP/2 connection to an endpoint that is silent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { FRAME, FRAME_FLAG } from "../../../../src/http2/frames.ts";
import { type EndpointConnection, startHttp2Endpoint } from "../../../e2e/http2-endpoint.ts";
import { connectTo } from "../../../e2e/peers.ts";
import { until } from "../../../e2e/program.ts";
import { type Frame, frame, headers } from "../../../support/http2-frames.ts";
import { mockTime } from "../../../support/time.ts";
import { startPlane } from "../../proxy/kit.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const timeouts = { connect: 30 * MINUTE, response: 0, idle: 0, ping: 10 * SECOND, tunnel: 0 };
const pool = { idle: 64, idleFor: 0, connections: 0, requests: 0, age: 0 };

test("PINGs verify a silent connection, and are not too many for servers of gRPC", async (t) => {
  const advance = mockTime(t);
  const asked: [EndpointConnection, number][] = [];
  let pings = 0;
  let strikes = 0;
  let pingAt = -Infinity;
  const onFrame = (connection: EndpointConnection, { type, stream, flags }: Frame): void => {
    if (type === FRAME.headers) asked.push([connection, stream]);
    if (type !== FRAME.ping || (flags & FRAME_FLAG.acknowledge) !== 0) return;
    pings++;
    // As servers of gRPC do by default: the third within five minutes of the one before it ends the connection.
    if (performance.now() - pingAt < 5 * MINUTE) strikes++;
    pingAt = performance.now();
    connection.socket.write(frame(FRAME.ping, FRAME_FLAG.acknowledge, 0, Buffer.alloc(8)));
  };
  const { port, connections } = await startHttp2Endpoint(t, onFrame);
  const plane = startPlane(t, [port], {
    cluster: { protocol: "http2", timeouts, pool },
    timeouts: { head: 0, body: 0, write: 0, idle: 0 },
  });
  const [first, second, third] = [
    await connectTo(t, plane.port),
    await connectTo(t, plane.port),
    await connectTo(t, plane.port),
  ];
  /** Passes the time, in steps, and returns the number of PINGs in it. */
  const pass = async (ms: number, step = 11 * SECOND): Promise<number> => {
    const before = pings;
    for (let passed = 0; passed < ms; passed += step) {
      const { now } = plane.clock;
      advance(step);
      await until(() => plane.clock.now >= now + step + 50, "the clock to tick");
      // The PING of this step is received, and its response: both ends are in this process, one turn of its loop each.
      for (let turn = 0; turn < 10; turn++) await setImmediate();
    }
    assert.ok(strikes <= 2, "too_many_pings");
    return pings - before;
  };
  const respond = (index: number): void => {
    const [{ socket }, stream] = asked[index]!;
    strikes = 0;
    pingAt = -Infinity;
    socket.write(headers(stream, [[":status", "200"]], FRAME_FLAG.endHeaders));
  };

  first.send(GET);
  await until(() => asked.length === 1, "a request");
  assert.equal(await pass(MINUTE), 2, "two soon");
  assert.equal(await pass(20 * MINUTE, 2 * MINUTE), 3, "then one in six minutes");
  // A request that is sent verifies it once more.
  second.send(GET);
  await until(() => asked.length === 2, "a second request");
  assert.equal(await pass(30 * SECOND), 1);
  third.send(GET);
  await until(() => asked.length === 3, "a third request");
  assert.equal(await pass(30 * SECOND), 0);
  // So does a response.
  respond(0);
  await first.waits(() => first.text.includes("200 OK"), "the head");
  assert.equal(await pass(30 * SECOND), 2);
  assert.equal(connections.length, 1);
});
