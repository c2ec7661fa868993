/** Connections over real sockets: ownership of memory, order of events, and changes of the handler. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import {
  type ConnectionOptions,
  connect as connectTls,
  createServer as createTlsServer,
  type TLSSocket,
} from "node:tls";
import { type Acceptor, takeConnections } from "../../../src/net/accept.ts";
import { Buffers, HEADROOM } from "../../../src/net/buffers.ts";
import { Clock } from "../../../src/net/clock.ts";
import { Connection } from "../../../src/net/connection.ts";
import { type DialHandler, dial } from "../../../src/net/dial.ts";

/** Records what is reported to it. */
class Recorder implements DialHandler {
  readonly events: string[] = [];
  readonly chunks: { bytes: Buffer; start: number; end: number }[] = [];
  text = "";
  onReceive: (bytes: Buffer, start: number, end: number) => void = () => {};

  receive(bytes: Buffer, start: number, end: number): void {
    this.text += bytes.toString("latin1", start, end);
    this.chunks.push({ bytes, start, end });
    this.onReceive(bytes, start, end);
  }
  connected = () => void this.events.push("connected");
  writeFailed = () => void this.events.push("writeFailed");
  ended = () => void this.events.push("ended");
  closed = (error: Error | null) => void this.events.push(error === null ? "closed" : `closed: ${error.message}`);
  flushed = () => void this.events.push("flushed");
  timedOut = () => void this.events.push("timedOut");
  broken = (error: unknown) => void this.events.push(`broken: ${(error as Error).message}`);
}

const makeContext = () => ({ clock: new Clock(), buffers: new Buffers(), report: () => {} });
type Context = ReturnType<typeof makeContext>;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setImmediate();
}

type Pair = { connection: Connection<Recorder>; handler: Recorder; peer: Socket };

/** An accepted connection, and the socket of its peer. */
async function accept(t: TestContext, context: Context = makeContext(), mode = "handle"): Promise<Pair> {
  const accepted: Connection<Recorder>[] = [];
  const acceptor: Acceptor = {
    accept: () => {
      const connection = new Connection<Recorder>(context, null);
      connection.handler = new Recorder();
      return connection;
    },
    opened: (connection) => void accepted.push(connection as Connection<Recorder>),
    failed: (problem) => assert.fail(problem),
  };
  const server: Server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const before = process.env.SLUICE_ACCEPT;
  process.env.SLUICE_ACCEPT = mode;
  takeConnections(server, acceptor);
  if (before === undefined) delete process.env.SLUICE_ACCEPT;
  else process.env.SLUICE_ACCEPT = before;
  const peer = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  peer.on("error", () => {});
  await until(() => accepted.length === 1);
  t.after(() => {
    server.close();
    peer.destroy();
    accepted[0]!.destroy();
  });
  return { connection: accepted[0]!, handler: accepted[0]!.handler, peer };
}

/** Writes until bytes wait in the process. Returns how many were written. */
function fill(connection: Connection, context: Context): number {
  let written = 0;
  while (connection.unsent === 0) {
    const out = context.buffers.outFor(64 * 1024);
    connection.send(out, 64 * 1024);
    written += 64 * 1024;
  }
  return written;
}

for (const mode of ["handle", "public"])
  test(`a new handler receives pending bytes and all that follow (${mode})`, async (t) => {
    const { connection, handler: first, peer } = await accept(t, makeContext(), mode);
    const second = new Recorder();
    let kept = Buffer.alloc(0);
    first.onReceive = (bytes, start, end) => {
      kept = Buffer.concat([kept, bytes.subarray(start, end)]);
      connection.pause();
    };
    peer.write("hello ");
    await until(() => first.text === "hello ");
    peer.write("tunnel");
    for (let turn = 0; turn < 5; turn++) await setImmediate();
    assert.equal(first.text, "hello ", "a paused connection is not read");

    connection.handler = second;
    second.receive(kept, 0, kept.length);
    connection.resume();
    await until(() => second.text === "hello tunnel");
    peer.end();
    await until(() => second.events.includes("ended"));
    connection.end(() => {});
    await until(() => second.events.includes("closed"));
    assert.deepEqual(first.events, []);
  });

test("`flushed` is reported once, and only for writes that did not complete at once", async (t) => {
  const context = makeContext();
  const { connection, handler, peer } = await accept(t, context);
  peer.pause();
  const out = context.buffers.outFor(10);
  assert.equal(connection.send(out, 10), true);
  assert.equal(connection.unsent, 0);
  assert.equal(context.buffers.out, out, "what is written is free again");
  let written = 10 + fill(connection, context);
  assert.notEqual(context.buffers.out, out, "what waits belongs to its write");
  for (let i = 0; i < 3; i++) connection.send(context.buffers.outFor(100), 100);
  written += 300;
  for (let turn = 0; turn < 5; turn++) await setImmediate();
  assert.deepEqual(handler.events, []);
  let received = 0;
  peer.on("data", (data) => (received += data.length));
  peer.resume();
  await until(() => handler.events.length > 0 && received === written);
  for (let turn = 0; turn < 5; turn++) await setImmediate();
  assert.deepEqual(handler.events, ["flushed"]);
  assert.equal(connection.unsent, 0);
});

test("a small write queued behind another does not retain the worker's buffer", async (t) => {
  const context = makeContext();
  const { connection, peer } = await accept(t, context);
  peer.pause();
  let written = fill(connection, context);
  const { out } = context.buffers;
  out.write("first ");
  connection.send(out, 6);
  out.write("second");
  connection.send(out, 6);
  written += 12;
  assert.equal(context.buffers.out, out);
  let text = "";
  peer.on("data", (data) => (text += data.toString("latin1")));
  peer.resume();
  await until(() => text.length === written);
  assert.equal(text.slice(-12), "first second");
});

test("a reset is reported as one, also after pending bytes", async (t) => {
  const context = makeContext();
  const { connection, handler, peer } = await accept(t, context);
  peer.pause();
  fill(connection, context);
  const error = once(peer, "error");
  connection.reset();
  peer.resume();
  assert.equal(((await error)[0] as NodeJS.ErrnoException).code, "ECONNRESET");
  await until(() => handler.events.length > 0);
  assert.deepEqual(handler.events, ["closed"]);
});

test("a closing connection can be reset, and ends", async (t) => {
  const { connection, handler, peer } = await accept(t);
  peer.pause();
  connection.end(() => {});
  connection.reset();
  await until(() => handler.events.includes("closed"));
});

test("both directions end in order with all bytes, before or after the peer's end", async (t) => {
  for (const first of ["peer", "connection", "half"] as const)
    for (const isBackedUp of [false, true]) {
      const context = makeContext();
      const { connection, handler, peer } = await accept(t, context);
      if (first === "peer") peer.end();
      // Its own direction has ended before.
      if (first === "half") connection.end(() => peer.end());
      if (first !== "connection") await until(() => handler.events.includes("ended"));
      let sent = 0;
      if (first !== "half") sent = isBackedUp ? fill(connection, context) : 5;
      if (sent === 5) connection.send(Buffer.from("hello"), 5);
      connection.endBoth();
      let received = 0;
      peer.on("data", (bytes: Buffer) => (received += bytes.length));
      if (!peer.readableEnded) await once(peer, "end");
      peer.end();
      await until(() => handler.events.includes("closed"));
      assert.equal(received, sent, `${first} ${isBackedUp}`);
      assert.equal(handler.events.at(-1), "closed");
    }
});

test("the deadline is reported, and an exception of a handler ends its own connection", async (t) => {
  const context = makeContext();
  const { connection, handler, peer } = await accept(t, context);
  context.clock.start(() => {}, assert.ifError);
  t.after(() => context.clock.close());
  connection.arm(1);
  await until(() => handler.events.length > 0);
  handler.onReceive = () => {
    throw new Error("for the test");
  };
  peer.write("x");
  await until(() => handler.events.length > 1);
  assert.deepEqual(handler.events, ["timedOut", "broken: for the test"]);
});

test("a block in use by a pending write is returned after it, and not read into meanwhile", async (t) => {
  const context = makeContext();
  const { buffers } = context;
  const from = await accept(t, context);
  const to = await accept(t, context);
  const taken: Buffer[] = [];
  const freed: Buffer[] = [];
  const take = buffers.take.bind(buffers);
  const free = buffers.free.bind(buffers);
  buffers.take = () => {
    const block = take();
    taken.push(block.bytes);
    return block;
  };
  buffers.free = (block) => {
    freed.push(block.bytes);
    free(block);
  };

  // The block of the next read is chosen when this returns.
  from.handler.onReceive = () => from.connection.stream(true);
  from.peer.write("head");
  await until(() => from.handler.text === "head");
  assert.equal(from.connection.lends(from.handler.chunks[0]!.bytes), false, "the shared block is not lent");

  to.peer.pause();
  let written = fill(to.connection, context);
  const relay = (bytes: Buffer, start: number, end: number): void => {
    assert.ok(start >= HEADROOM);
    assert.equal(from.connection.lends(bytes), true);
    // Framing goes around the data in place.
    bytes[start - 1] = 0x5b;
    bytes[end] = 0x5d;
    to.connection.sendLent(from.connection, bytes, start - 1, end + 1);
    written += end - start + 2;
    assert.equal(from.connection.lends(bytes), false, "it is the write's");
  };
  from.handler.onReceive = relay;
  from.peer.write("one");
  await until(() => from.handler.text === "headone");
  from.peer.write("two");
  await until(() => from.handler.text === "headonetwo");
  assert.deepEqual([taken.length, new Set(taken).size, freed.length], [3, 3, 0]);

  let text = "";
  to.peer.on("data", (data) => (text += data.toString("latin1")));
  to.peer.resume();
  await until(() => text.length === written && to.handler.events.length > 0);
  assert.equal(text.slice(-10), "[one][two]");
  assert.deepEqual(freed, taken.slice(0, 2));
  from.connection.destroy();
  await until(() => from.handler.events.length > 0);
  assert.deepEqual(freed, taken);
  assert.deepEqual(from.handler.events, ["closed"]);
});

/** State of the kernel's timer of the connection to this port, and its time in ms; from /proc/net/tcp. */
function timerOf(remotePort: number): { readonly kind: number; readonly ms: number } | null {
  const port = remotePort.toString(16).toUpperCase().padStart(4, "0");
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n")) {
    const [, , remote = "", state, , timer = ""] = line.trim().split(/\s+/);
    const [kind, ticks] = timer.split(":").map((part) => Number.parseInt(part, 16));
    if (remote.endsWith(`:${port}`) && state === "01") return { kind: kind!, ms: ticks! * 10 };
  }
  return null;
}

test("the kernel verifies silent outgoing connections", { skip: process.platform !== "linux" }, async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const connection = new Connection<Recorder>(makeContext(), null);
  connection.handler = new Recorder();
  const accepted = once(server, "connection") as Promise<[Socket]>;
  dial(connection, { path: "", host: "127.0.0.1", port }, null);
  await until(() => connection.handler.events.includes("connected"));
  const [peer] = await accepted;
  // 2: the timer of keep-alive.
  const timer = timerOf(port)!;
  assert.equal(timer.kind, 2);
  assert.ok(timer.ms > 20_000 && timer.ms <= 31_000, `a probe in ${timer.ms} ms`);
  connection.destroy();
  peer.destroy();
});

for (const mode of ["handle", "public"])
  test(`the kernel verifies silent clients (${mode})`, { skip: process.platform !== "linux" }, async (t) => {
    const { peer } = await accept(t, makeContext(), mode);
    const timer = timerOf(peer.localPort!)!;
    assert.equal(timer.kind, 2);
    assert.ok(timer.ms > 50_000 && timer.ms <= 61_000, `a probe in ${timer.ms} ms`);
  });

test("an outgoing connection keeps reading after a failed write", async (t) => {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const context = makeContext();
  const connection = new Connection<Recorder>(context, null);
  const handler = new Recorder();
  connection.handler = handler;
  const accepted = once(server, "connection") as Promise<[Socket]>;
  dial(connection, { path: "", host: "127.0.0.1", port: (server.address() as AddressInfo).port }, null);
  await until(() => handler.events.includes("connected"));
  const [peer] = await accepted;
  connection.pause();
  await new Promise((resolve) => peer.write("a response", resolve));
  peer.resetAndDestroy();
  while (!handler.events.includes("writeFailed") && connection.alive) {
    connection.send(context.buffers.outFor(10), 10);
    await setImmediate();
  }
  assert.equal(connection.alive, true, "it is not destroyed by the write");
  connection.destroy();
});

/** A shared key in place of certificates. */
const PSK = { key: Buffer.alloc(16, 1), identity: "test" };
const PSK_OPTIONS = { ciphers: "PSK-AES128-GCM-SHA256", minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;

test("while reading is paused nothing is delivered, also not of TLS records that were read with others", async (t) => {
  const text = Array.from({ length: 4000 }, (_, i) => `<${i}>`).join("");
  const { connection, handler } = await connectPausing(t, text);
  while (!handler.events.includes("ended")) {
    await untilPaused(connection, handler);
    connection.resume();
    assert.ok(connection.alive, handler.events.join());
  }
  assert.equal(handler.text, text);
  assert.deepEqual([handler.events, connection.hasEnded], [["ended"], true]);
  assert.ok(handler.chunks.length > 1);
});

test("what a TLS connection has kept during a pause is delivered, also if both directions have ended", async (t) => {
  // Two records, in one read with the end.
  const text = Array.from({ length: 4000 }, (_, i) => `<${i}>`).join("");
  // "soon": reading continues between the end of the socket and its event.
  for (const way of ["read", "soon", "destroy", "reset", "endBoth"] as const) {
    const { connection, handler, socket } = await connectPausing(t, text);
    await until(() => handler.text !== "");
    if (way === "soon") {
      handler.onReceive = () => {};
      socket.prependOnceListener("finish", () => connection.resume());
    }
    connection.end(() => {});
    if (way === "soon") {
      await until(() => handler.events.includes("closed"));
      assert.equal(handler.text, text);
      continue;
    }
    if (!socket.closed) await once(socket, "close");
    assert.deepEqual([connection.paused, connection.alive, connection.hasEnded], [true, true, false]);
    const received = handler.text;
    while (way === "read" && !handler.events.includes("closed")) {
      await untilPaused(connection, handler);
      connection.resume();
    }
    if (way !== "read") connection[way]();
    await until(() => handler.events.includes("closed"));
    await setImmediate();
    assert.equal(connection.alive, false);
    assert.equal(handler.text, way === "read" ? text : received);
    assert.deepEqual(
      handler.events.filter((event) => event !== "flushed"),
      way === "read" ? ["ended", "closed"] : ["closed"],
    );
  }
});

async function untilPaused(connection: Connection, { events }: Recorder): Promise<void> {
  await until(() => connection.paused || events.length > 0);
  for (let turn = 0; turn < 3; turn++) await setImmediate();
}

/** A connection to a server that sends the text in small TLS records, and ends. Its handler pauses at each chunk. */
async function connectPausing(t: TestContext, text: string) {
  const server = createTlsServer({ ...PSK_OPTIONS, allowHalfOpen: true, pskCallback: () => PSK.key }, (socket) => {
    socket.on("error", () => {}).resume();
    // Records of less than their maximum, and the end, in one write to the network.
    socket.cork();
    for (let at = 0; at < text.length; at += 100) socket.write(text.slice(at, at + 100));
    socket.end();
    socket.uncork();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());
  const connection = new Connection<Recorder>(makeContext(), null);
  const handler = new Recorder();
  connection.handler = handler;
  handler.onReceive = () => {
    assert.equal(connection.paused, false, "received while paused");
    connection.pause();
  };
  const options = {
    ...PSK_OPTIONS,
    port: (server.address() as AddressInfo).port,
    host: "127.0.0.1",
    allowHalfOpen: true,
    pskCallback: () => ({ psk: PSK.key, identity: PSK.identity }),
    checkServerIdentity: () => undefined,
    onread: connection.makeReads(),
  };
  const socket = connectTls(options as ConnectionOptions);
  t.after(() => socket.destroy());
  connection.attach(socket, false);
  return { connection, handler, socket };
}

test("the peer of a reset TLS connection sees no orderly end, for every kind of socket", async (t) => {
  for (const kind of ["accepted", "dialled"])
    for (const way of ["reset", "end"] as const) {
      const sides: Record<string, TLSSocket> = {};
      const server = createTlsServer({ ...PSK_OPTIONS, pskCallback: () => PSK.key }, (socket) => {
        sides.accepted = socket;
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      t.after(() => server.close());
      const { port } = server.address() as AddressInfo;
      const client = connectTls({
        ...PSK_OPTIONS,
        port,
        host: "127.0.0.1",
        pskCallback: () => ({ psk: PSK.key, identity: PSK.identity }),
        checkServerIdentity: () => undefined,
      });
      sides.dialled = client;
      t.after(() => client.destroy());
      await Promise.all([once(client, "secureConnect"), until(() => sides.accepted !== undefined)]);
      const peer = sides[kind === "accepted" ? "dialled" : "accepted"]!;
      const events: string[] = [];
      peer.on("end", () => events.push("end")).on("error", (error) => events.push((error as { code?: string }).code!));
      peer.resume();
      const connection = new Connection<Recorder>(makeContext(), null);
      connection.handler = new Recorder();
      connection.attach(sides[kind]!, true);
      if (way === "reset") connection.reset();
      else connection.endBoth();
      await Promise.all([once(peer, "close").catch(() => {}), until(() => connection.handler.events.length > 0)]);
      assert.deepEqual(events, way === "reset" ? ["ECONNRESET"] : ["end"], `${kind} ${way}`);
      assert.deepEqual(connection.handler.events.slice(-1), ["closed"]);
    }
});
