import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";
import type { HOOK } from "../../../src/abi/abi.ts";
import { OUTCOME } from "../../../src/plugin/host/host.ts";
import type { ClientConnection } from "../../../src/protocol/http1/client-connection.ts";
import { ERROR } from "../../../src/proxy/error.ts";
import type { Exchange } from "../../../src/proxy/exchange.ts";
import { findFreePort } from "../../e2e/free-port.ts";
import { connectTo, startRawUpstream, startUpstream } from "../../e2e/peers.ts";
import { until } from "../../e2e/program.ts";
import { makeInstance, type Plane, startPlane, Waits } from "./kit.ts";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const post = (length: number, body = "") => `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n${body}`;
const chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

function settle(plane: Plane, { calls }: Waits, at: number, outcome: number = OUTCOME.continue): void {
  const { hook, x } = calls[at]!;
  plane.pipeline.resume(hook, x, outcome);
}

async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await setImmediate();
}

async function gaveAllBack(plane: Plane): Promise<void> {
  await until(() => plane.inFlight === 0, "nothing is in flight");
  assert.equal(plane.columns.inFlight(0), 0);
  assert.deepEqual(plane.reports, []);
}

test("a chunk that was emptied still passes through the suspended plugin", async (t) => {
  const waits = new Waits();
  const seen: string[] = [];
  const drops = makeInstance(0, {
    request_body: (x) => {
      seen.push("first");
      x.requestBody!.chunk.replace(Buffer.alloc(0));
      return OUTCOME.continue;
    },
  });
  const waiting = makeInstance(1, {
    request_body: (x) => {
      seen.push("second");
      return waits.begin("request_body", x);
    },
  });
  const upstream = await startUpstream(t, (request, response) => response.end(request.body));
  const plane = startPlane(t, [upstream.port], { chain: [drops, waiting] });
  const client = await connectTo(t, plane.port);
  client.send(`${chunked}1\r\na\r\n`);
  await until(() => waits.calls.length === 1, "it waits");
  const { x } = waits.calls[0]!;
  x.requestBody!.chunk.append(Buffer.from("A"), 0, 1);
  settle(plane, waits, 0);
  client.send("1\r\nb\r\n0\r\n\r\n");
  await until(() => waits.calls.length === 2, "it waits again");
  x.requestBody!.chunk.append(Buffer.from("B"), 0, 1);
  settle(plane, waits, 1);
  assert.equal((await client.readResponse()).body.toString(), "AB");
  assert.deepEqual(seen, ["first", "second", "first", "second"]);
  await gaveAllBack(plane);
});

test("reading a request that is buffered after another plugin's suspension continues", async (t) => {
  const waits = new Waits();
  const waiting = makeInstance(0, { request_head: (x) => waits.begin("request_head", x) });
  const holds = makeInstance(1, { request_head: () => OUTCOME.buffer, request_body: () => OUTCOME.continue });
  const upstream = await startUpstream(t, (request, response) => response.end(`${request.body.length}`));
  const plane = startPlane(t, [upstream.port], { chain: [waiting, holds] });
  const client = await connectTo(t, plane.port);
  client.send(post(500_000, "x".repeat(500_000)));
  await until(() => waits.calls.length === 1 && plane.clients[0]!.paused, "the client is not read on");
  settle(plane, waits, 0);
  assert.equal((await client.readResponse()).body.toString(), "500000");
  await gaveAllBack(plane);
});

test("a buffered request that is received in one read is limited too", async (t) => {
  const upstream = await startUpstream(t, (request, response) => response.end(`${request.body.length}`));
  let called = 0;
  const hooks = {
    request_head: () => OUTCOME.buffer,
    request_body: () => {
      called++;
      return OUTCOME.continue;
    },
  };
  const rejects = startPlane(t, [upstream.port], { chain: [makeInstance(0, hooks, { bodyLimit: 10 })] });
  const first = await connectTo(t, rejects.port);
  assert.equal((await first.send(post(11, "x".repeat(11))).readResponse()).status, 413);
  const skips = startPlane(t, [upstream.port], {
    chain: [makeInstance(0, hooks, { bodyLimit: 10, refusesTooLarge: false })],
  });
  const second = await connectTo(t, skips.port);
  assert.equal((await second.send(post(11, "x".repeat(11))).readResponse()).body.toString(), "11");
  assert.equal(called, 0);
  assert.equal((await second.send(post(10, "x".repeat(10))).readResponse()).body.toString(), "10");
  assert.equal(called, 1);
});

test("a plugin skipped for a request that is too large still sees the response body", async (t) => {
  const upstream = await startUpstream(t, (_request, response) => response.end("response"));
  const instance = makeInstance(
    0,
    {
      request_head: () => OUTCOME.buffer,
      request_body: () => OUTCOME.failed,
      response_body: (x) => {
        x.responseBody!.chunk.replace(Buffer.from("seen"));
        return OUTCOME.continue;
      },
    },
    { bodyLimit: 10, refusesTooLarge: false },
  );
  const plane = startPlane(t, [upstream.port], { chain: [instance] });
  const client = await connectTo(t, plane.port);
  const response = await client.send(post(20_000, "x".repeat(20_000))).readResponse();
  assert.deepEqual([response.status, response.body.toString()], [200, "seen"]);
});

test("reading from the endpoint pauses while a plugin is suspended, also for a fast client", async (t) => {
  const waits = new Waits();
  const waiting = makeInstance(0, { response_head: (x) => waits.begin("response_head", x) });
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
  });
  const plane = startPlane(t, [upstream.port], { chain: [waiting] });
  const client = await connectTo(t, plane.port);
  client.send(get);
  await until(() => waits.calls.length === 1, "it waits");
  plane.pipeline.requests.drained(waits.calls[0]!.x);
  (await upstream.connection(0)).send("0123456789");
  await turns();
  assert.equal(client.text, "");
  settle(plane, waits, 0);
  const response = await client.readResponse();
  assert.deepEqual([response.status, response.body.toString()], [200, "0123456789"]);
  await gaveAllBack(plane);
});

test("a plugin that rejects the request body ends another's suspended call on the response headers", async (t) => {
  const waits = new Waits();
  let calls = 0;
  const waiting = makeInstance(0, {
    response_head: (x) => waits.begin("response_head", x),
    request_body: () => (++calls === 1 ? OUTCOME.continue : OUTCOME.reject),
  });
  const plane = startPlane(t, [await findFreePort()], { chain: [waiting] });
  const client = await connectTo(t, plane.port);
  client.send(`${chunked}1\r\na\r\n`);
  await until(() => waits.calls.length === 1, "it waits with the head of a 502");
  client.send("1\r\nb\r\n");
  await until(() => waits.calls.length === 2, "it waits with the head of a 403");
  assert.equal(waits.calls[0]!.cancelled, true);
  settle(plane, waits, 1);
  assert.equal((await client.readResponse()).status, 403);
  await gaveAllBack(plane);
});

test("a client that disconnects during a suspended call counts as 499, for any result of the plugin", async (t) => {
  const waits = new Waits();
  waits.onCancel = (x: Exchange) => {
    x.response.status = 200;
  };
  const waiting = makeInstance(0, { response_head: (x) => waits.begin("response_head", x) });
  const upstream = await startUpstream(t, (_request, response) => response.end("response"));
  const plane = startPlane(t, [upstream.port], { chain: [waiting] });
  const logged: number[] = [];
  plane.context.accessLog.line = (x) => logged.push(x.response.status);
  const client = await connectTo(t, plane.port);
  client.send(get);
  await until(() => waits.calls.length === 1, "it waits");
  client.reset();
  await gaveAllBack(plane);
  assert.deepEqual(logged, [499]);
});

test("a slow body is not buffered without bound behind a suspended plugin", async (t) => {
  const waits = new Waits();
  const waiting = makeInstance(0, { request_body: (x) => waits.begin("request_body", x) });
  const upstream = await startUpstream(t, (request, response) => response.end(request.body));
  const plane = startPlane(t, [upstream.port], { chain: [waiting] });
  const client = await connectTo(t, plane.port);
  client.send(`${chunked}1\r\na\r\n`);
  for (let at = 0; at < 2; at++) {
    await until(() => waits.calls.length === at + 1, `call ${at} waits`);
    if (at === 0) {
      client.send("1\r\nb\r\n");
      await until(() => plane.clients[0]!.paused, "the client is not read on");
    }
    client.send("1\r\nc\r\n");
    await turns();
    settle(plane, waits, at);
  }
  await until(() => upstream.connections === 1, "the request goes out");
  client.send("0\r\n\r\n");
  for (let at = 2; upstream.requests.length === 0; at++) {
    await until(() => waits.calls.length > at || upstream.requests.length > 0, `call ${at} waits`);
    if (waits.calls.length > at) settle(plane, waits, at);
  }
  assert.equal((await client.readResponse()).body.toString(), "abcc");
  await gaveAllBack(plane);
});

test("every end of an exchange cancels suspended calls, in either direction", async (t) => {
  for (const [name, way] of Object.entries({
    request_head: get,
    request_body: post(3, "abc"),
    response_head: get,
    response_body: get,
  })) {
    const waits = new Waits();
    const hook = name as keyof typeof HOOK;
    const upstream = await startUpstream(t, (_request, response) => response.end("response"));
    const plane = startPlane(t, [upstream.port], {
      chain: [makeInstance(0, { [hook]: (x: Exchange) => waits.begin(hook, x) })],
    });
    const client = await connectTo(t, plane.port);
    client.send(way);
    await until(() => waits.calls.length === 1, `it waits in ${name}`);
    client.reset();
    await gaveAllBack(plane);
    assert.equal(waits.calls[0]!.cancelled, true, name);
    plane.snapshot.retire();
    assert.equal(plane.disposed, true, name);
  }
});

test("a plugin's response is sent, also if the endpoint's fails", async (t) => {
  const waits = new Waits();
  const waiting = makeInstance(0, { response_head: (x) => waits.begin("response_head", x) });
  const responds = makeInstance(1, {
    response_head: (x) => {
      x.response.reset();
      x.localStatus = 410;
      x.localBody = Buffer.from("gone");
      return OUTCOME.respond;
    },
  });
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
  });
  const plane = startPlane(t, [upstream.port], { chain: [waiting, responds] });
  const client = await connectTo(t, plane.port);
  client.send(get);
  await until(() => waits.calls.length === 1, "it waits");
  const { x } = waits.calls[0]!;
  (x.attempt.stream as ClientConnection).close();
  plane.pipeline.attempts.failed(x.attempt, ERROR.upstreamBroken, "for the test");
  assert.equal(waits.calls[0]!.cancelled, false);
  settle(plane, waits, 0);
  const response = await client.readResponse();
  assert.deepEqual([response.status, response.body.toString()], [410, "gone"]);
  await gaveAllBack(plane);
});

test("the route's timeout runs during a suspended call: the call is cancelled, and the client gets 504", async (t) => {
  const held = { request_head: () => OUTCOME.buffer, response_head: () => OUTCOME.buffer };
  for (const [name, request, holds] of [
    ["request_head", get, {}],
    ["request_body", post(3, "abc"), {}],
    ["request_body", post(3, "abc"), held],
    ["response_head", get, {}],
    ["response_body", get, {}],
    ["response_body", get, held],
  ] as const) {
    const waits = new Waits();
    const upstream = await startUpstream(t, (_request, response) => response.end("response"));
    const waiting = makeInstance(0, { ...holds, [name]: (x: Exchange) => waits.begin(name, x) });
    // After the route, which has the timeout; before it there is none yet.
    const plane = startPlane(t, [upstream.port], { routeChain: [waiting], timeout: 100 });
    const client = await connectTo(t, plane.port);
    client.send(request);
    const response = await client.readResponse();
    assert.deepEqual(
      [response.status, response.headers["proxy-status"]],
      [504, "sluice; error=http_response_timeout"],
      name,
    );
    assert.equal(waits.calls[0]!.cancelled, true, name);
    client.socket.destroy();
    await gaveAllBack(plane);
    plane.snapshot.retire();
    assert.equal(plane.disposed, true, name);
  }
});

test("a buffered body and a slow endpoint's body are limited by the route's timeout", async (t) => {
  const slow = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  });
  for (const [hooks, request] of [
    [{ request_head: () => OUTCOME.buffer, request_body: () => OUTCOME.continue }, post(10, "half")],
    [{ response_head: () => OUTCOME.buffer, response_body: () => OUTCOME.continue }, get],
  ] as const) {
    const plane = startPlane(t, [slow.port], { routeChain: [makeInstance(0, hooks)], timeout: 100 });
    const client = await connectTo(t, plane.port);
    assert.equal((await client.send(request).readResponse()).status, 504);
    await gaveAllBack(plane);
  }
});

test("a response timeout ends with the response headers: it limits neither the body nor a local response", async (t) => {
  const waits = new Waits();
  const late = makeInstance(0, { response_body: (x) => waits.begin("response_body", x) });
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
  });
  const plane = startPlane(t, [upstream.port], { routeChain: [late], timeout: 100 });
  const client = await connectTo(t, plane.port);
  await client.send(get).head();
  (await upstream.connection(0)).send("answer");
  await until(() => waits.calls.length === 1, "it waits");
  await setTimeout(300);
  assert.equal(waits.calls[0]!.cancelled, false);
  settle(plane, waits, 0);
  assert.match((await client.take("\r\n0\r\n\r\n")).toString(), /answer/);
  await gaveAllBack(plane);

  const waiting = makeInstance(0, { response_head: (x) => waits.begin("response_head", x) });
  const refused = startPlane(t, [await findFreePort()], { routeChain: [waiting], timeout: 100 });
  const other = await connectTo(t, refused.port);
  other.send(get);
  await until(() => waits.calls.length === 2, "it waits with the head of a 502");
  await setTimeout(300);
  settle(refused, waits, 1);
  assert.equal((await other.readResponse()).status, 502);
  await gaveAllBack(refused);
});

test("a plugin failure on the body causes a 500 while no headers were sent", async (t) => {
  for (const [outcome, status] of [
    [OUTCOME.failed, 500],
    [OUTCOME.busy, 503],
    [OUTCOME.reject, 403],
  ] as const) {
    const waits = new Waits();
    let calls = 0;
    const waiting = makeInstance(0, {
      response_head: (x) => waits.begin("response_head", x),
      request_body: () => (++calls === 1 ? OUTCOME.continue : outcome),
    });
    const upstream = await startRawUpstream(t, async (peer) => {
      await peer.head();
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer");
    });
    const plane = startPlane(t, [upstream.port], { chain: [waiting] });
    const client = await connectTo(t, plane.port);
    client.send(`${chunked}1\r\na\r\n`);
    await until(() => waits.calls.length === 1, "it waits with the endpoint's head");
    client.send("1\r\nb\r\n");
    assert.equal((await client.readResponse()).status, status);
    assert.equal(waits.calls.length, 1, "what comes instead is not shown to it");
    assert.equal(waits.calls[0]!.cancelled, true);
    await gaveAllBack(plane);
  }
});
