/** The relay between two connections over real sockets: every byte arrives, in order, and every end is forwarded. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { WebSocketFrames } from "../../../src/http/websocket.ts";
import { takeConnections } from "../../../src/net/accept.ts";
import { BLOCK_SIZE, Buffers } from "../../../src/net/buffers.ts";
import { Clock } from "../../../src/net/clock.ts";
import { Connection } from "../../../src/net/connection.ts";
import { type DialHandler, dial } from "../../../src/net/dial.ts";
import { Tunnel, type TunnelEnd, type TunnelOwner } from "../../../src/net/tunnel.ts";

class Owner implements TunnelOwner {
  grace = 60_000;
  received = 0;
  sent = 0;
  ends: [TunnelEnd, string][] = [];
  errors: unknown[] = [];
  relayed(fromClient: number, fromEndpoint: number): void {
    this.received += fromClient;
    this.sent += fromEndpoint;
  }
  ended = (reason: TunnelEnd, cause: string) => void this.ends.push([reason, cause]);
  broken = (error: unknown) => void this.errors.push(error);
}

class CountingBuffers extends Buffers {
  taken = 0;
  override take() {
    this.taken++;
    return super.take();
  }
  override free(block: Parameters<Buffers["free"]>[0]): void {
    this.taken--;
    super.free(block);
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setImmediate();
}

const NONE = { bytes: Buffer.alloc(0), start: 0, end: 0 };
const UNUSED = { receive() {}, ended() {}, closed() {}, flushed() {}, timedOut() {}, broken() {} };
const UNUSED_DIAL: DialHandler = { ...UNUSED, connected() {}, writeFailed() {} };

type Ends = { tunnel: Tunnel; owner: Owner; clock: Clock; buffers: CountingBuffers; client: Socket; endpoint: Socket };

/** A tunnel between two sockets, which are paused. */
async function open(
  t: TestContext,
  { idle = 60_000, lifetime = 0, isWebSocket = false, early = "" } = {},
): Promise<Ends> {
  const clock = new Clock();
  const buffers = new CountingBuffers();
  const context = { clock, buffers, report: () => {} };
  const accepted: Connection[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  takeConnections(server, {
    accept: () => new Connection(context, null),
    opened: (connection) => {
      connection.handler = UNUSED;
      connection.pause();
      accepted.push(connection);
    },
    failed: (problem) => assert.fail(problem),
  });
  const endpoints: Socket[] = [];
  const upstream = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => endpoints.push(socket));
  upstream.listen(0, "127.0.0.1");
  await once(upstream, "listening");
  const portOf = (of: typeof server) => (of.address() as AddressInfo).port;
  const client = connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
  client.pause();
  const dialled = new Connection<DialHandler>(context, null);
  let isConnected = false;
  dialled.handler = { ...UNUSED_DIAL, connected: () => void (isConnected = true) };
  dial(dialled, { path: "", host: "127.0.0.1", port: portOf(upstream) }, null);
  await until(() => accepted.length === 1 && endpoints.length === 1 && isConnected);
  const endpoint = endpoints[0]!;
  for (const socket of [client, endpoint]) socket.on("error", () => {});
  const owner = new Owner();
  const frames = isWebSocket
    ? { fromClient: new WebSocketFrames(true), fromEndpoint: new WebSocketFrames(false) }
    : null;
  const limits = { idle, halfClosedIdle: 30_000, lifetime };
  const tunnel = new Tunnel({ client: accepted[0]!, endpoint: dialled, owner, buffers, frames, ...limits });
  tunnel.begin({ bytes: Buffer.from(early), start: 0, end: early.length }, NONE);
  t.after(() => {
    for (const one of [server, upstream]) one.close();
    for (const one of [client, endpoint, accepted[0]!, dialled]) one.destroy();
  });
  return { tunnel, owner, clock, buffers, client, endpoint };
}

/** Reads all that a socket gets. */
function collect(socket: Socket) {
  let chunks: Buffer[] = [];
  const got = {
    ended: false,
    closed: false,
    error: "",
    get bytes(): Buffer {
      if (chunks.length !== 1) chunks = [Buffer.concat(chunks)];
      return chunks[0]!;
    },
  };
  socket.on("data", (data: Buffer) => chunks.push(data));
  socket.on("end", () => void (got.ended = true));
  socket.on("error", (error: NodeJS.ErrnoException) => void (got.error = error.code ?? error.message));
  socket.on("close", () => void (got.closed = true));
  socket.resume();
  return got;
}

/** Bytes that differ from place to place and from seed to seed. */
function pattern(seed: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 31 + (i >> 8) * 17 + seed) & 0xff;
  return bytes;
}

const chunks = fc.array(fc.oneof(fc.nat(300), fc.nat(20_000), fc.constantFrom(BLOCK_SIZE, 200_000)), { maxLength: 6 });

test("bytes arrive complete and in order in both directions at once, and both ends are forwarded", (t) =>
  fc.assert(
    fc.asyncProperty(chunks, chunks, fc.boolean(), async (up, down, isWebSocket) => {
      const { owner, client, endpoint, buffers } = await open(t, { isWebSocket, early: "early" });
      const [fromClient, fromEndpoint] = [up, down].map((sizes, seed) => sizes.map((size) => pattern(seed, size)));
      const [atClient, atEndpoint] = [collect(client), collect(endpoint)];
      for (const bytes of fromClient!) client.write(bytes);
      for (const bytes of fromEndpoint!) {
        endpoint.write(bytes);
        await setImmediate();
      }
      client.end();
      endpoint.end();
      await until(() => atClient.closed && atEndpoint.closed && owner.ends.length === 1);
      assert.ok(atEndpoint.bytes.equals(Buffer.concat([Buffer.from("early"), ...fromClient!])));
      assert.ok(atClient.bytes.equals(Buffer.concat(fromEndpoint!)));
      assert.deepEqual([atClient.error, atEndpoint.error, owner.errors], ["", "", []]);
      assert.deepEqual([owner.received, owner.sent], [atEndpoint.bytes.length, atClient.bytes.length]);
      assert.match(owner.ends[0]![0], /^(client|endpoint)_closed$/);
      assert.equal(buffers.taken, 0, "no block is held");
    }),
    { numRuns: 30 },
  ));

for (const from of ["client", "endpoint"] as const)
  test(`a reader that stops pauses the ${from}: little is buffered, nothing is lost, and blocks are freed`, async (t) => {
    const ends = await open(t);
    const [writer, reader] = from === "client" ? [ends.client, ends.endpoint] : [ends.endpoint, ends.client];
    const connection = ends.tunnel[from].connection as Connection;
    const all = pattern(7, 24 * 1024 * 1024);
    writer.end(all);
    await until(() => connection.paused);
    const before = from === "client" ? ends.owner.received : ends.owner.sent;
    assert.ok(before < all.length);
    assert.ok(ends.buffers.taken <= 3, `${ends.buffers.taken} blocks`);
    const got = collect(reader);
    await until(() => got.ended);
    assert.ok(got.bytes.equals(all));
    reader.write("then small");
    const back = collect(writer);
    await until(() => back.bytes.length > 0);
    assert.equal(ends.buffers.taken, 0, "an idle tunnel holds none");
  });

for (const from of ["client", "endpoint"] as const)
  test(`half-close: only the direction from the ${from} ends`, async (t) => {
    const ends = await open(t, { idle: 3_600_000 });
    const [first, second] = from === "client" ? [ends.client, ends.endpoint] : [ends.endpoint, ends.client];
    const [atFirst, atSecond] = [collect(first), collect(second)];
    first.end("last words");
    await until(() => atSecond.ended);
    assert.equal(String(atSecond.bytes), "last words");
    const { deadline } = ends.tunnel.client.connection;
    assert.ok(deadline > 0 && deadline <= ends.clock.after(30_000), "a silent half is not kept for an hour");
    for (const word of ["one ", "two ", "three"]) {
      second.write(word);
      await until(() => String(atFirst.bytes).endsWith(word));
    }
    assert.deepEqual([atFirst.ended, ends.owner.ends.length], [false, 0]);
    second.end();
    await until(() => atFirst.closed && atSecond.closed && ends.owner.ends.length === 1);
    assert.deepEqual([String(atFirst.bytes), ends.owner.ends[0]], ["one two three", [`${from}_closed`, ""]]);
  });

for (const from of ["client", "endpoint"] as const)
  test(`a reset by the ${from} resets the other side`, async (t) => {
    const ends = await open(t);
    const [first, second] = from === "client" ? [ends.client, ends.endpoint] : [ends.endpoint, ends.client];
    const got = collect(second);
    second.write("hello");
    await until(() => ends.owner.received + ends.owner.sent > 0);
    first.resetAndDestroy();
    await until(() => got.closed && ends.owner.ends.length === 1);
    assert.equal(got.error, "ECONNRESET");
    assert.equal(ends.owner.ends[0]![0], `${from}_reset`);
    assert.notEqual(ends.owner.ends[0]![1], "", "with its cause");
  });

test("bytes that an endpoint sent before it closed reach the client, also if it accepts no more", async (t) => {
  const ends = await open(t);
  const got = collect(ends.client);
  ends.endpoint.write("goodbye");
  ends.endpoint.destroySoon();
  await until(() => got.ended);
  // The endpoint's system responds with a reset: its connection is closed.
  for (let i = 0; i < 50 && !got.closed; i++) {
    ends.client.write("more");
    await setImmediate();
  }
  ends.client.end();
  await until(() => got.closed && ends.owner.ends.length === 1);
  assert.equal(String(got.bytes), "goodbye");
  assert.equal(ends.owner.ends[0]![0], "endpoint_closed");
});

test("after the idle timeout both sides get a Close with 1001 at a frame boundary, else a reset", async (t) => {
  for (const [isWebSocket, sent, close] of [
    [true, Buffer.alloc(0), true],
    [true, Buffer.from([0x82, 5, 1, 2]), false],
    [false, Buffer.from("raw"), false],
  ] as const) {
    const ends = await open(t, { idle: 5000, isWebSocket });
    const [atClient, atEndpoint] = [collect(ends.client), collect(ends.endpoint)];
    if (sent.length > 0) ends.endpoint.write(sent);
    await until(() => atClient.bytes.length === sent.length);
    const connection = ends.tunnel.client.connection as Connection;
    assert.ok(connection.deadline > ends.clock.now + 4000 && connection.deadline < ends.clock.now + 6000);
    connection.expire();
    await until(() => atClient.ended || atClient.closed);
    ends.client.end();
    await until(() => atEndpoint.ended || atEndpoint.closed);
    ends.endpoint.end();
    await until(() => ends.owner.ends.length === 1);
    const got = atClient.bytes.subarray(sent.length);
    if (close) assert.deepEqual([...got], [0x88, 2, 3, 0xe9]);
    else assert.deepEqual([got.length, atClient.error], [0, "ECONNRESET"]);
    assert.equal(atEndpoint.bytes.length, isWebSocket ? 8 : 0);
    assert.equal(ends.owner.ends[0]![0], "idle_timeout");
  }
});

test("drain: the client gets a Close after the current frame, then nothing; its Close is forwarded to the endpoint", async (t) => {
  const ends = await open(t, { isWebSocket: true });
  const [atClient, atEndpoint] = [collect(ends.client), collect(ends.endpoint)];
  const message = Buffer.concat([Buffer.from([0x82, 126, 1, 0]), pattern(1, 256)]);
  ends.endpoint.write(message.subarray(0, 100));
  await until(() => atClient.bytes.length === 100);
  ends.tunnel.drain();
  assert.ok(ends.tunnel.endpoint.connection.deadline > 0, "within the grace");
  ends.client.write("from the client");
  await until(() => atEndpoint.bytes.length === 15);
  assert.equal(atClient.bytes.length, 100);
  ends.endpoint.write(Buffer.concat([message.subarray(100), message]));
  await until(() => atClient.bytes.length >= message.length + 4);
  const reply = new WebSocketFrames(true).closeFrame();
  ends.client.write(reply);
  await until(() => atEndpoint.bytes.length === 15 + reply.length);
  ends.endpoint.end(message);
  await until(() => atClient.ended);
  ends.client.end();
  await until(() => ends.owner.ends.length === 1);
  assert.ok(atClient.bytes.equals(Buffer.concat([message, Buffer.from([0x88, 2, 3, 0xe9])])));
  assert.deepEqual(ends.owner.ends[0], ["drained", ""]);
});

test("drain: at the end of the grace period the endpoint gets a Close, and the client is reset", async (t) => {
  const ends = await open(t, { isWebSocket: true });
  const [atClient, atEndpoint] = [collect(ends.client), collect(ends.endpoint)];
  ends.tunnel.drain();
  await until(() => atClient.bytes.length === 4);
  (ends.tunnel.endpoint.connection as Connection).expire();
  await until(() => atEndpoint.ended && (atClient.ended || atClient.closed));
  assert.deepEqual([...atEndpoint.bytes.subarray(0, 2)], [0x88, 0x82]);
  ends.client.end();
  await until(() => ends.owner.ends.length === 1);
  assert.equal(ends.owner.ends[0]![0], "drained");
});

test("drain: after a Close of the endpoint no further one is sent", async (t) => {
  const ends = await open(t, { isWebSocket: true });
  const atClient = collect(ends.client);
  ends.endpoint.write(Buffer.from([0x88, 2, 3, 0xe8]));
  await until(() => atClient.bytes.length === 4);
  ends.tunnel.drain();
  ends.endpoint.end();
  await until(() => atClient.ended);
  assert.deepEqual([...atClient.bytes], [0x88, 2, 3, 0xe8]);
});

test("drain: after the end of the endpoint's direction no Close is written, and the client's direction continues", async (t) => {
  const ends = await open(t, { isWebSocket: true });
  const [atClient, atEndpoint] = [collect(ends.client), collect(ends.endpoint)];
  ends.endpoint.end();
  await until(() => atClient.ended);
  ends.tunnel.drain();
  ends.client.write("last words");
  await until(() => atEndpoint.bytes.length === 10);
  ends.client.end();
  await until(() => atEndpoint.ended && ends.owner.ends.length === 1);
  assert.deepEqual([atClient.error, atClient.bytes.length, ends.owner.ends[0]![1]], ["", 0, ""]);
});

test("an exception in the relay resets both sides and is reported", async (t) => {
  const ends = await open(t);
  const [atClient, atEndpoint] = [collect(ends.client), collect(ends.endpoint)];
  ends.owner.relayed = () => assert.fail("broken");
  ends.client.write("x");
  await until(() => atClient.closed && atEndpoint.closed && ends.owner.ends.length === 1);
  assert.equal(ends.owner.ends[0]![0], "internal");
  assert.equal(ends.owner.errors.length, 1);
});
