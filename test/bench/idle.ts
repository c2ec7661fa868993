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

/** Held in two steps: the first may find room in memory that is there already, the second shows what one more takes. */
const STEP = 5000;
const AT_ONCE = 100;
const SETTLE = 3000;

export async function runIdle(site: Site, options: Options): Promise<string> {
  const lines: string[][] = [];
  for (const peer of [sluice, nginx]) {
    if (options.only.length > 0 && !options.only.includes(peer.name)) continue;
    lines.push(await measureIdle(site, peer, options));
  }
  const head = ["proxy", "RSS MiB before", "of 5,000", "of 10,000", "KiB each of the first", "of the second", "target"];
  return `${renderTable(head, lines)}\n\n5,000 connections and 5,000 more, one request on each, then ${SETTLE / 1000} s idle.`;
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
    const steps = [readRss(pid)];
    for (const count of [STEP, 2 * STEP]) {
      while (held.length < count)
        held.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => openAndAsk(port)))));
      await sleep(SETTLE);
      steps.push(readRss(pid));
    }
    const open = held.filter((socket) => !socket.destroyed && !socket.readableEnded).length;
    if (open < held.length) throw new Error(`${peer.name}: only ${open} of ${held.length} connections were kept`);
    const each = [1, 2].map((step) => (steps[step]! - steps[step - 1]!) / 1024 / STEP);
    return [
      peer.name,
      ...steps.map((bytes) => (bytes / 1024 ** 2).toFixed(1)),
      ...each.map((kibibytes) => kibibytes.toFixed(2)),
      peer === sluice ? "≤ 8" : "",
    ];
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
