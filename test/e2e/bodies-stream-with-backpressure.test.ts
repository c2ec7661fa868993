/** Bodies of any size stream, and the proxy buffers a bounded part of them for slow readers. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { TestContext } from "node:test";
import { connectTo, startRawUpstream } from "./peers.ts";
import { atEnd, bounded, type Program, simpleConfig, startSluice, testInAllModes, times, until } from "./program.ts";

const MiB = 1024 * 1024;
const TOTAL = 512 * MiB;
const CHUNK = Buffer.alloc(256 * 1024, "x");
/** A proxy without backpressure would buffer TOTAL. */
const GROWTH = 96 * MiB;

async function startServer(
  t: TestContext,
  serve: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<number> {
  const server = createServer(serve);
  await once(server.listen(0, "127.0.0.1"), "listening");
  atEnd(t, () => server.close().closeAllConnections());
  return (server.address() as AddressInfo).port;
}

/** Writes `total` bytes as fast as the connection accepts them. */
async function pour(to: ServerResponse, total: number): Promise<void> {
  for (let sent = 0; sent < total && !to.destroyed; sent += CHUNK.length) if (!to.write(CHUNK)) await once(to, "drain");
  to.end();
}

async function watchSize(sluice: Program): Promise<() => Promise<number>> {
  const before = await sluice.metric("process_resident_memory_bytes");
  let most = before;
  const timer = setInterval(async () => {
    most = Math.max(most, await sluice.metric("process_resident_memory_bytes"));
  }, 100);
  return async () => {
    clearInterval(timer);
    return Math.max(most, await sluice.metric("process_resident_memory_bytes")) - before;
  };
}

testInAllModes("a large response body streams in bounded memory", async (t) => {
  const total = times(t, TOTAL);
  const port = await startServer(t, (_, response) => void pour(response, total));
  const sluice = await startSluice(t, simpleConfig(port));
  const growth = await watchSize(sluice);
  const client = connect({ host: "127.0.0.1", port: sluice.port });
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  let received = 0;
  for await (const chunk of client as AsyncIterable<Buffer>) received += chunk.length;
  assert.ok(received > total);
  const grown = await growth();
  assert.ok(grown < GROWTH, `it grew by ${grown} bytes`);
});

testInAllModes("slow readers: reading from the upstream pauses, and the proxy's memory is bounded", async (t) => {
  let poured = 0;
  const port = await startServer(t, (_, response) => {
    const write = (): void => {
      while (response.write(CHUNK)) poured += CHUNK.length;
      poured += CHUNK.length;
    };
    response.on("drain", write);
    write();
  });
  const sluice = await startSluice(t, simpleConfig(port));
  const growth = await watchSize(sluice);
  const clients = await Promise.all(Array.from({ length: 20 }, () => connectTo(t, sluice.port)));
  for (const client of clients) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.waits(() => client.received > 0, "the first bytes");
    client.socket.pause();
  }
  await settles(() => poured);
  const grown = await growth();
  assert.ok(grown < GROWTH, `it grew by ${grown} bytes for ${poured} bytes poured`);
  // And it continues where it stopped.
  const before = clients[0]!.received;
  clients[0]!.socket.resume();
  assert.ok(await clients[0]!.waits(() => clients[0]!.received > before + 16 * MiB, "more"));
});

testInAllModes("slow upstreams: reading from the client pauses", async (t) => {
  const upstream = await startRawUpstream(t, (peer) => void peer.socket.pause());
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "shutdown: { grace: 500ms }" }));
  const growth = await watchSize(sluice);
  let taken = 0;
  for (let i = 0; i < 10; i++) {
    const client = connect({ host: "127.0.0.1", port: sluice.port });
    atEnd(t, () => client.destroy());
    client.on("error", () => client.destroy());
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${TOTAL}\r\n\r\n`);
    const write = (): void => {
      while (client.write(CHUNK)) taken += CHUNK.length;
      taken += CHUNK.length;
    };
    client.on("drain", write);
    write();
  }
  await settles(() => taken);
  const grown = await growth();
  assert.ok(grown < GROWTH, `it grew by ${grown} bytes for ${taken} bytes taken`);
  upstream.peers[0]!.socket.resume();
  const [peer] = upstream.peers;
  assert.ok(await peer!.waits(() => peer!.received > 16 * MiB, "more"));
});

testInAllModes("a client that pipelines and does not read: responses are not buffered without bound", async (t) => {
  const port = await startServer(t, (_, response) => void response.end(CHUNK.subarray(0, 1024)));
  const sluice = await startSluice(t, simpleConfig(port));
  const growth = await watchSize(sluice);
  const client = connect({ host: "127.0.0.1", port: sluice.port });
  atEnd(t, () => client.destroy());
  client.pause();
  client.on("error", () => client.destroy());
  await once(client, "connect");
  const requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
  let taken = 0;
  const write = (): void => {
    while (taken < 64 * MiB && client.write(requests)) taken += requests.length;
    taken += requests.length;
  };
  client.on("drain", write);
  write();
  await settles(() => taken);
  const counted = await sluice.metric("sluice_requests_total");
  await bounded(
    settles(() => sluice.metric("sluice_requests_total")),
    "it stops responding",
    30_000,
  );
  const grown = await growth();
  assert.ok(grown < GROWTH, `it grew by ${grown} bytes with ${counted} responses`);
});

/** Waits until a number has not changed for a while. */
async function settles(figure: () => number | Promise<number>): Promise<void> {
  let last = -1;
  let still = 0;
  await until(
    async () => {
      const now = await figure();
      still = now === last ? still + 1 : 0;
      last = now;
      return still >= 20;
    },
    "the flow has stopped",
    60_000,
  );
}
