/** WebSockets through each proxy: processor time of a message and its echo, and memory of connections that are idle. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Options } from "./options.ts";
import { haproxy } from "./peers/haproxy.ts";
import { nginxUpgrade } from "./peers/nginx.ts";
import { sluice } from "./peers/sluice.ts";
import { readRss, readTimes } from "./programs.ts";
import type { Site } from "./site.ts";
import { spreadOf } from "./statistics.ts";
import type { Peer, Subject } from "./subject.ts";
import { renderTable } from "./table.ts";

const SIZES = [100, 10_000, 1024 * 1024];
/** A proxy needs two descriptors for each, and has 20,000. */
const STEP = 4000;
const GROUP = 50;
const SETTLE = 3000;
const PEERS = [sluice, nginxUpgrade, haproxy];
const TARGET = 1.1;

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const REQUEST = `GET /ws HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n`;
const ACCEPT = createHash("sha1").update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const RESPONSE = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`;

export async function runWebSockets(shared: Site, options: Options): Promise<string> {
  // The load and the echo are in this process: it must leave the proxies' core alone.
  execFileSync("taskset", ["-acp", String(shared.loadCore), String(process.pid)]);
  const echo = await startEcho();
  const site = { ...shared, groups: { app: [echo.address], canary: [echo.address] } };
  const peers = PEERS.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
  try {
    const messages: string[][] = [];
    for (const size of SIZES) messages.push(...(await measureMessages(site, peers, size, options)));
    const idle: string[][] = [];
    for (const peer of peers) idle.push(await measureIdle(site, peer));
    return `${renderTable(["bytes of a message", "proxy", "µs a message and its echo", "Sluice ÷ it", "target"], messages)}

${renderTable(["proxy", "RSS MiB before", "of 4,000", "of 8,000", "KiB each of the first", "of the second"], idle)}

Idle: one message and its echo on each, then ${SETTLE / 1000} s of silence.`;
  } finally {
    echo.close();
  }
}

/** All proxies in turn, as often as options say; the ratios are of the same turn. */
async function measureMessages(site: Site, peers: readonly Peer[], size: number, options: Options) {
  const subjects: Subject[] = [];
  const times = new Map<string, number[]>(peers.map(({ name }) => [name, []]));
  try {
    for (const peer of peers) subjects.push(await peer.start(site));
    for (let turn = -1; turn < options.turns; turn++)
      for (let place = 0; place < subjects.length; place++) {
        const subject = subjects[(turn + 1 + place) % subjects.length]!;
        const time = await talk(subject, size, turn < 0 ? options.warmUp : options.seconds);
        if (turn >= 0) times.get(subject.name)!.push(time);
      }
  } finally {
    await Promise.all(subjects.map((subject) => subject.close()));
  }
  const ours = times.get(sluice.name) ?? [];
  return peers.map(({ name }) => {
    const taken = times.get(name)!;
    const ratio = spreadOf(taken.map((time, turn) => ours[turn]! / time));
    const isOurs = name === sluice.name;
    const shown = `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)})`;
    const compares = !isOurs && ours.length > 0;
    return [
      size.toLocaleString("en"),
      name,
      spreadOf(taken).median.toFixed(1),
      compares ? shown : "",
      compares ? `≤ ${TARGET}` : "",
    ];
  });
}

/** Every connection sends its next message when it has the last one back. Processor time of the proxy for each, µs. */
async function talk({ port, pid }: Subject, size: number, seconds: number): Promise<number> {
  const message = frameOf(size);
  const sockets = await open(port, size > 100_000 ? 4 : 32);
  let count = 0;
  for (const socket of sockets) {
    let got = 0;
    socket.on("data", (bytes: Buffer) => {
      got += bytes.length;
      if (got < message.length) return;
      got = 0;
      count++;
      socket.write(message);
    });
    socket.write(message);
  }
  await sleep(200);
  const [ran, before] = [readTimes(pid).ran, count];
  await sleep(seconds * 1000);
  const time = (readTimes(pid).ran - ran) / (count - before);
  for (const socket of sockets) socket.destroy();
  return time;
}

async function measureIdle(site: Site, peer: Peer): Promise<string[]> {
  const subject = await peer.start(site);
  const sockets: Socket[] = [];
  const message = frameOf(100);
  try {
    for (const socket of await open(subject.port, GROUP)) socket.destroy();
    await sleep(SETTLE);
    const steps = [readRss(subject.pid)];
    for (const count of [STEP, 2 * STEP]) {
      while (sockets.length < count) {
        const opened = await open(subject.port, GROUP);
        for (const socket of opened) socket.write(message);
        await Promise.all(opened.map((socket) => once(socket, "data")));
        sockets.push(...opened);
      }
      await sleep(SETTLE);
      steps.push(readRss(subject.pid));
    }
    const ended = sockets.filter((socket) => socket.destroyed || socket.readableEnded).length;
    if (ended > 0) throw new Error(`${peer.name}: ${ended} of ${sockets.length} connections have ended`);
    const each = [1, 2].map((step) => (steps[step]! - steps[step - 1]!) / STEP / 1024);
    return [peer.name, ...steps.map((bytes) => (bytes / 1024 ** 2).toFixed(1)), ...each.map((size) => size.toFixed(2))];
  } finally {
    for (const socket of sockets) socket.destroy();
    await subject.close();
  }
}

/** Connections that were upgraded. */
function open(port: number, count: number): Promise<Socket[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      socket.write(REQUEST);
      const [head] = (await once(socket, "data")) as [Buffer];
      if (!head.includes(" 101 ")) throw new Error(`no upgrade: ${head.toString("latin1", 0, 200)}`);
      socket.on("error", () => socket.destroy());
      return socket;
    }),
  );
}

/** A masked binary frame. */
function frameOf(size: number): Buffer {
  const length = size < 126 ? Buffer.of(0x80 | size) : Buffer.alloc(size < 65_536 ? 3 : 9);
  if (size >= 65_536) {
    length[0] = 0xff;
    length.writeUInt32BE(size, 5);
  } else if (size >= 126) {
    length[0] = 0xfe;
    length.writeUInt16BE(size, 1);
  }
  return Buffer.concat([Buffer.of(0x82), length, Buffer.alloc(4), Buffer.alloc(size, 7)]);
}

/** Confirms every upgrade and sends every byte back. */
async function startEcho(): Promise<{ address: string; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    socket.once("data", () => {
      socket.write(RESPONSE);
      socket.pipe(socket);
    });
  });
  await once(server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }), "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
