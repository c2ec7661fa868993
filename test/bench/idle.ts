/** Memory for a client connection that is held open and idle, after one request on it. */
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { measure } from "./load.ts";
import type { Options } from "./options.ts";
import { nginx } from "./peers/nginx.ts";
import { sluice } from "./peers/sluice.ts";
import { readRss } from "./programs.ts";
import type { Site } from "./site.ts";
import type { Peer } from "./subject.ts";
import { renderTable } from "./table.ts";

const CONNECTIONS = 5000;
const AT_ONCE = 100;
const SETTLE = 3000;

export async function runIdle(site: Site, options: Options): Promise<string> {
  const lines: string[][] = [];
  for (const peer of [sluice, nginx]) {
    if (options.only.length > 0 && !options.only.includes(peer.name)) continue;
    lines.push(await measureIdle(site, peer, options));
  }
  const head = ["proxy", "RSS before, MiB", "RSS held, MiB", "KiB a connection", "target"];
  return `${renderTable(head, lines)}\n\n${CONNECTIONS} connections, one request on each, then ${SETTLE / 1000} s idle.`;
}

async function measureIdle(site: Site, peer: Peer, options: Options): Promise<string[]> {
  const subject = await peer.start(site);
  const held: Socket[] = [];
  try {
    const { port, pid } = subject;
    const load = {
      port,
      path: "/",
      headers: [],
      upload: 0,
      connections: 64,
      seconds: options.warmUp,
      core: site.loadCore,
    };
    await measure(peer.name, pid, load);
    await sleep(SETTLE);
    const before = readRss(pid);
    while (held.length < CONNECTIONS)
      held.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => openAndAsk(port)))));
    await sleep(SETTLE);
    const after = readRss(pid);
    const open = held.filter((socket) => !socket.destroyed && !socket.readableEnded).length;
    if (open < CONNECTIONS) throw new Error(`${peer.name}: only ${open} of ${CONNECTIONS} connections were kept`);
    const each = (after - before) / 1024 / CONNECTIONS;
    const mebibytes = (bytes: number): string => (bytes / 1024 ** 2).toFixed(1);
    return [peer.name, mebibytes(before), mebibytes(after), each.toFixed(2), peer === sluice ? "≤ 8" : ""];
  } finally {
    for (const socket of held) socket.destroy();
    await subject.close();
  }
}

/** A connection on which one answer has come. */
function openAndAsk(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n");
    socket.once("data", () => resolve(socket));
    socket.on("error", reject);
    socket.resume();
  });
}
