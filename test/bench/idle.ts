/** Memory for a client connection: idle after one request, and while 5,000 requests wait for their responses. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { measure } from "./load.ts";
import type { Options } from "./options.ts";
import { nginx, nginxFront } from "./peers/nginx.ts";
import { sluice, sluiceFront } from "./peers/sluice.ts";
import { readRss } from "./programs.ts";
import { BODY, type Site } from "./site.ts";
import type { Peer, Subject } from "./subject.ts";
import { renderTable } from "./table.ts";

/** Opened in two steps: the first may use memory that is free already, the second shows the cost of each connection. */
const STEP = 5000;
const GROUP = 100;
const SETTLE = 3000;
const PEERS = [sluice, nginx];
/** As for the others; the client's side is in this process and needs more memory than the proxy's. */
const TLS_STEP = 2000;
const TLS_PEERS = [sluiceFront, nginxFront];

export async function runIdle(site: Site, options: Options): Promise<string> {
  const peers = PEERS.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
  const idle: string[][] = [];
  for (const peer of peers) idle.push(await measureIdle(site, peer, { options, step: STEP, target: "≤ 8" }));
  const atOnce: string[][] = [];
  for (const peer of peers) atOnce.push(await measureAtOnce(site, peer, options));
  return `${renderTable(["proxy", "RSS MiB before", "of 5,000", "of 10,000", "KiB each of the first", "of the second", "target"], idle)}

5,000 connections and 5,000 more, one request on each, ${GROUP} at a time, then ${SETTLE / 1000} s idle.

${renderTable(["proxy", "RSS MiB before", "of 5,000", "after", "KiB each", "after", "target"], atOnce)}

5,000 requests at the same moment, each on a connection of its own, while all wait for their responses, and ${SETTLE / 1000} s after them.`;
}

export async function runIdleTls(site: Site, options: Options): Promise<string> {
  const peers = TLS_PEERS.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
  const idle: string[][] = [];
  for (const peer of peers) idle.push(await measureIdle(site, peer, { options, step: TLS_STEP, target: "≤ 48" }));
  return `${renderTable(["proxy", "RSS MiB before", "of 2,000", "of 4,000", "KiB each of the first", "of the second", "target"], idle)}

2,000 TLS 1.3 connections and 2,000 more, a full handshake and one request on each, ${GROUP} at a time, then ${SETTLE / 1000} s idle.`;
}

type Idle = { readonly options: Options; readonly step: number; readonly target: string };

async function measureIdle(site: Site, peer: Peer, { options, step, target }: Idle): Promise<string[]> {
  const subject = await peer.start(site);
  const sockets: Socket[] = [];
  try {
    await warmUp(site, subject, options);
    const steps = [readRss(subject.pid)];
    for (const count of [step, 2 * step]) {
      while (sockets.length < count)
        sockets.push(...(await Promise.all(Array.from({ length: GROUP }, () => request(subject)))));
      await sleep(SETTLE);
      steps.push(readRss(subject.pid));
    }
    checkOpen(peer, sockets);
    const each = [1, 2].map((at) => (steps[at]! - steps[at - 1]!) / step);
    return [peer.name, ...steps.map(mebibytes), ...each.map(kibibytes), peer.name === sluice.name ? target : ""];
  } finally {
    for (const socket of sockets) socket.destroy();
    await subject.close();
  }
}

async function measureAtOnce(site: Site, peer: Peer, options: Options): Promise<string[]> {
  const upstream = await startSlowUpstream();
  const subject = await peer.start({ ...site, groups: { app: [upstream.address], canary: [upstream.address] } });
  let sockets: Socket[] = [];
  try {
    upstream.respond();
    await warmUp(site, subject, options);
    const before = readRss(subject.pid);
    upstream.delay();
    const responses = Array.from({ length: STEP }, () => request(subject));
    await upstream.received(STEP);
    const during = readRss(subject.pid);
    upstream.respond();
    sockets = await Promise.all(responses);
    await sleep(SETTLE);
    checkOpen(peer, sockets);
    const steps = [before, during, readRss(subject.pid)];
    const each = steps.slice(1).map((bytes) => (bytes - before) / STEP);
    return [peer.name, ...steps.map(mebibytes), ...each.map(kibibytes), peer === sluice ? "≤ 12" : ""];
  } finally {
    for (const socket of sockets) socket.destroy();
    await subject.close();
    upstream.close();
  }
}

async function warmUp(site: Site, { name, port, pid, tls }: Subject, { warmUp: seconds }: Options): Promise<void> {
  const load = { port, tls, path: "/", headers: [], upload: 0, connections: 64, seconds, core: site.loadCore };
  await measure(name, pid, load);
  await sleep(SETTLE);
}

/** An endpoint that responds at once, or not before `respond` is called. */
async function startSlowUpstream(): Promise<{
  address: string;
  delay(): void;
  respond(): void;
  received(count: number): Promise<void>;
  close(): void;
}> {
  const response = `HTTP/1.1 200 OK\r\nContent-Length: ${BODY.app.length}\r\n\r\n${BODY.app}`;
  const sockets = new Set<Socket>();
  const waiting = new Set<Socket>();
  let delayed = false;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("data", () => (delayed ? waiting.add(socket) : socket.write(response)));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      waiting.delete(socket);
    });
  });
  await once(server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }), "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    delay: () => {
      delayed = true;
    },
    respond: () => {
      delayed = false;
      for (const socket of waiting) socket.write(response);
      waiting.clear();
    },
    received: async (count) => {
      while (waiting.size < count) await sleep(50);
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** A connection on which one response was received. */
function request({ port, tls }: Subject): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", servername: "localhost", rejectUnauthorized: false };
    const socket: Socket = tls ? connectTls(options) : connect(options);
    socket.write("GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n");
    socket.once("data", () => resolve(socket));
    socket.on("error", reject);
    socket.resume();
  });
}

function checkOpen({ name }: Peer, sockets: readonly Socket[]): void {
  const open = sockets.filter((socket) => !socket.destroyed && !socket.readableEnded).length;
  if (open < sockets.length) throw new Error(`${name}: only ${open} of ${sockets.length} connections were kept`);
}

const mebibytes = (bytes: number): string => (bytes / 1024 ** 2).toFixed(1);
const kibibytes = (bytes: number): string => (bytes / 1024).toFixed(2);
