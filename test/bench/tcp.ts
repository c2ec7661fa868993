/** TCP connections through each proxy: messages, new connections, and memory of idle ones. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Options } from "./options.ts";
import { haproxyTcp } from "./peers/haproxy.ts";
import { nginxStream } from "./peers/nginx.ts";
import { sluiceTcp } from "./peers/sluice.ts";
import { readTimes } from "./programs.ts";
import { type Relay, runRelay } from "./relay.ts";
import type { Site } from "./site.ts";
import { spreadOf } from "./statistics.ts";
import type { Peer, Subject } from "./subject.ts";
import { renderTable } from "./table.ts";

const TARGETS = ["≤ 1.2", "≤ 1.10", "≤ 0.70"];
/** Connections that are opened at a time, each for one message. */
const AT_ONCE = 16;
const ASKED = Buffer.alloc(30, 7);

const TCP: Relay = {
  peers: [sluiceTcp, nginxStream, haproxyTcp],
  sizes: [30, 10 * 1024, 1024 * 1024],
  targets: { nginx: TARGETS, HAProxy: TARGETS },
  message: (size) => Buffer.alloc(size, 7),
  open,
  startEcho,
};

export function runTcp(shared: Site, options: Options): Promise<string> {
  return runRelay(shared, options, TCP, (site, peers) => measureNew(site, peers, options));
}

/** Processor time of a connection with one message, in turns. */
async function measureNew(site: Site, peers: readonly Peer[], options: Options): Promise<string> {
  const subjects: Subject[] = [];
  const times = new Map<string, number[]>(peers.map(({ name }) => [name, []]));
  try {
    for (const peer of peers) subjects.push(await peer.start(site));
    for (let turn = -1; turn < options.turns; turn++)
      for (const subject of subjects) {
        const time = await renew(subject, turn < 0 ? options.warmUp : options.seconds);
        if (turn >= 0) times.get(subject.name)!.push(time);
      }
  } finally {
    await Promise.all(subjects.map((subject) => subject.close()));
  }
  const ours = times.get(sluiceTcp.name) ?? [];
  const rows = peers.map(({ name }) => {
    const taken = times.get(name)!;
    const { median, low, high } = spreadOf(taken.map((time, turn) => ours[turn]! / time));
    const ratio = `${median.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
    return [name, spreadOf(taken).median.toFixed(1), name === sluiceTcp.name || ours.length === 0 ? "" : ratio];
  });
  return `${renderTable(["proxy", "µs a new connection with one message", "Sluice ÷ it"], rows)}\n\n`;
}

async function renew({ port, pid }: Subject, seconds: number): Promise<number> {
  let count = 0;
  let runs = true;
  const loop = async (): Promise<void> => {
    while (runs) {
      const [socket] = await open(port, 1);
      socket!.write(ASKED);
      await once(socket!, "data");
      socket!.end();
      await once(socket!, "close");
      count++;
    }
  };
  const loops = Array.from({ length: AT_ONCE }, loop);
  const [ran, before] = [readTimes(pid).ran, count];
  await sleep(seconds * 1000);
  const time = (readTimes(pid).ran - ran) / (count - before);
  runs = false;
  await Promise.all(loops);
  return time;
}

function open(port: number, count: number): Promise<Socket[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      socket.on("error", () => socket.destroy());
      await once(socket, "connect");
      return socket;
    }),
  );
}

/** Sends every byte back. */
async function startEcho(): Promise<{ address: string; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    socket.pipe(socket);
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
