import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Listeners, type Opening, type Wanted } from "../../../src/control/listeners.ts";
import { makeDirectory } from "./parts.ts";

function wish(name: string, host: string, port: number): Wanted {
  return { name, address: { text: `${host}:${port}`, host, port, path: "" } };
}

function wishPath(path: string): Wanted {
  return { name: "web", address: { text: `unix:${path}`, host: "", port: 0, path } };
}

function makeListeners(workers: number, reusePort = true): Listeners {
  return new Listeners(() => Array.from({ length: workers }, (_, worker) => worker), reusePort);
}

/** Listens as workers would. */
function listen(t: TestContext, opening: Opening): Server[] {
  return opening.sockets.flatMap(({ workers }) =>
    workers.map((socket) => {
      assert.ok(socket);
      const server = createServer();
      server.listen(socket as unknown as object);
      t.after(() => server.close());
      return server;
    }),
  );
}

test("a port 0 becomes a number that all workers share, and stays while its listener does", async (t) => {
  const listeners = makeListeners(3);
  const opening = await listeners.open([wish("web", "127.0.0.1", 0)]);
  const address = opening.places.get("web")!.text;
  assert.match(address, /^127\.0\.0\.1:[1-9]\d*$/);
  const ports = listen(t, opening).map((server) => (server.address() as AddressInfo).port);
  assert.deepEqual(new Set(ports), new Set([Number(address.split(":")[1])]));
  assert.equal(ports.length, 3);
  listeners.commit(opening);
  const again = await listeners.open([wish("web", "127.0.0.1", 0)]);
  assert.equal(again.places.get("web")!.text, address);
  assert.deepEqual(again.sockets, []);
});

test("a port in use is reported by name, also if its user shares it, and ports bound before are released", async (t) => {
  const other = makeListeners(1);
  const taken = await other.open([wish("theirs", "127.0.0.1", 0)]);
  listen(t, taken);
  const { port } = taken.places.get("theirs")!;
  const listeners = makeListeners(2);
  await assert.rejects(
    listeners.open([wish("free", "127.0.0.1", 0), wish("web", "127.0.0.1", port)]),
    new RegExp(`listener web: cannot listen at 127.0.0.1:${port}: address already in use`),
  );
});

test("an address that this process has closed can be bound again while a worker still closes it", async (t) => {
  const listeners = makeListeners(1);
  const first = await listeners.open([wish("web", "127.0.0.1", 0)]);
  listen(t, first);
  listeners.commit(first);
  const { port } = first.places.get("web")!;
  listeners.commit(await listeners.open([]));
  const again = await listeners.open([wish("web", "127.0.0.1", port)]);
  assert.equal(again.sockets.length, 1);
  listeners.release(again);
});

test("all addresses in service are bound again for a worker's replacement", async (t) => {
  const listeners = makeListeners(2);
  const opening = await listeners.open([wish("a", "127.0.0.1", 0), wish("b", "127.0.0.1", 0)]);
  listen(t, opening);
  listeners.commit(opening);
  const bound = listeners.bindAgain(1);
  assert.deepEqual(
    bound.map(({ address }) => address),
    ["a", "b"].map((name) => opening.places.get(name)!.text),
  );
  for (const { socket } of bound) socket?.close();
});

test("a Unix socket is the first worker's; a stale socket file is removed, one in use and any other file are not", async (t) => {
  const directory = makeDirectory(t);
  const path = join(directory, "web.sock");
  const server = createServer().listen(join(directory, "old.sock"));
  await once(server, "listening");
  await assert.rejects(makeListeners(2).open([wishPath(join(directory, "old.sock"))]), /address already in use/);
  // Closing removes the socket's file; a renamed one stays, as after a killed process.
  renameSync(join(directory, "old.sock"), path);
  server.close();
  const opening = await makeListeners(2).open([wishPath(path)]);
  assert.deepEqual(opening.sockets, [{ address: `unix:${path}`, workers: [null], shared: false, udp: null }]);
  assert.ok(!existsSync(path));
  writeFileSync(path, "precious");
  await assert.rejects(makeListeners(1).open([wishPath(path)]), /the path is a file that is not a socket/);
});

test("a Unix socket is not taken from a process that is too busy to accept, and a missing directory is named", async (t) => {
  const directory = makeDirectory(t);
  const path = join(directory, "busy.sock");
  const listen = 'require("net").createServer().listen({ path: process.argv[1], backlog: 1 }, () => console.log("up"))';
  const busy = spawn(process.execPath, ["-e", listen, path], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => busy.kill("SIGKILL"));
  await once(busy.stdout!, "data");
  busy.kill("SIGSTOP");
  // Its queue is full, so the next connection fails with EAGAIN.
  for (let full = false; !full; ) {
    const socket = connect({ path });
    t.after(() => socket.destroy());
    full = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(false));
      socket.once("error", () => resolve(true));
    });
  }
  await assert.rejects(makeListeners(1).open([wishPath(path)]), /busy\.sock: address already in use/);
  assert.ok(existsSync(path));
  await assert.rejects(
    makeListeners(1).open([wishPath(join(directory, "none/web.sock"))]),
    /listener web: cannot listen at unix:.*none\/web\.sock: its directory does not exist$/,
  );
});

test("where a port cannot be shared the first worker accepts for all, and so does its replacement", async (t) => {
  const listeners = makeListeners(3, false);
  const opening = await listeners.open([wish("web", "127.0.0.1", 0)]);
  const [server] = listen(t, opening);
  assert.equal(opening.sockets[0]!.workers.length, 1);
  assert.equal(opening.sockets[0]!.shared, true);
  listeners.commit(opening);
  assert.deepEqual(listeners.bindAgain(1), []);
  await once(server!.close(), "close");
  const [again] = listeners.bindAgain(0);
  assert.equal(again!.socket!.address().port, opening.places.get("web")!.port);
  again!.socket!.close();
});

test("the replacement of a worker reuses its sockets, and binds only missing ones", async (t) => {
  const listeners = makeListeners(2);
  const opening = await listeners.open([wish("a", "127.0.0.1", 0), wish("b", "127.0.0.1", 0)]);
  listen(t, opening);
  listeners.commit(opening);
  const [a, b] = ["a", "b"].map((name) => opening.places.get(name)!.text);
  const bind = (worker: number): string[] =>
    listeners.bindAgain(worker).map(({ address, socket }) => {
      socket!.close();
      return address;
    });
  listeners.addTransferred(a!);
  assert.deepEqual(bind(1), [b]);
  assert.deepEqual(listeners.takeAssigned(1), [a]);
  assert.deepEqual(bind(2), [a, b]);
  assert.deepEqual(listeners.takeAssigned(2), []);
  listeners.addTransferred(a!);
  assert.deepEqual(bind(1), [b]);
  assert.deepEqual(bind(1), [b], "it ended before it took it over: its successor does");
  // Sockets transferred to the first worker end with it.
  listeners.addTransferred(b!);
  assert.deepEqual(bind(0), [a, b]);
  assert.deepEqual(bind(2), [a, b]);
});
