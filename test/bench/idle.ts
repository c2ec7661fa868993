/** Memory for an idle connection or session, for each protocol. */
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { Http2Client, requestOf } from "./http2-peer.ts";
import type { Options } from "./options.ts";
import { haproxy, haproxyFront, haproxyHttp2, haproxyTcp } from "./peers/haproxy.ts";
import { nginx, nginxDatagrams, nginxFront, nginxHttp2, nginxStream, nginxUpgrade } from "./peers/nginx.ts";
import { sluice, sluiceFront, sluiceTcp, sluiceUdp } from "./peers/sluice.ts";
import { readRss } from "./programs.ts";
import { useLoadCore } from "./relay.ts";
import type { Site } from "./site.ts";
import type { Peer, Subject } from "./subject.ts";
import { renderTable } from "./table.ts";
import { openTcp, startTcpEcho } from "./tcp.ts";
import { frameOf, openWebSockets, startWebSocketEcho } from "./websockets.ts";

type Closable = { close(): void };

type Protocol = {
  readonly name: string;
  readonly peers: readonly Peer[];
  /** Connections of each of the two steps. A proxy has 20,000 descriptors, and those of relays need two. */
  readonly step: number;
  /** KiB each, at most. */
  readonly target?: number;
  /** Opens so many, and exchanges one message on each. */
  open(subject: Subject, count: number): Promise<Closable[]>;
  /** The endpoint; absent: the site's upstream. */
  startEcho?(): Promise<{ address: string; close(): void }>;
};

const GROUP = 100;
const SETTLE = 1500;
/** Opened and closed before: code is compiled, and pools and buffers have their size. */
const WARM_UP = 500;

const PROTOCOLS: readonly Protocol[] = [
  { name: "HTTP/1", peers: [sluice, nginx, haproxy], step: 4000, target: 5, open: openHttp1 },
  { name: "HTTP/1 over TLS", peers: [sluiceFront, nginxFront, haproxyFront], step: 1500, target: 48, open: openHttp1 },
  { name: "HTTP/2", peers: [sluice, nginxHttp2, haproxyHttp2], step: 4000, target: 12, open: openHttp2 },
  { name: "HTTP/2 over TLS", peers: [sluiceFront, nginxFront, haproxyFront], step: 1500, open: openHttp2 },
  {
    ...{ name: "WebSocket", peers: [sluice, nginxUpgrade, haproxy], step: 3000 },
    open: async ({ port }, count) => exchange(await openWebSockets(port, count), frameOf(100)),
    startEcho: startWebSocketEcho,
  },
  {
    ...{ name: "TCP", peers: [sluiceTcp, nginxStream, haproxyTcp], step: 3000 },
    open: async ({ port }, count) => exchange(await openTcp(port, count), Buffer.alloc(100, 7)),
    startEcho: startTcpEcho,
  },
  { name: "UDP", peers: [sluiceUdp, nginxDatagrams], step: 3000, open: openSessions, startEcho: startDatagramEcho },
];

export async function runIdle(shared: Site, options: Options): Promise<string> {
  useLoadCore(shared);
  const rows: string[][] = [];
  const chosen = (name: string): boolean => options.only.length === 0 || options.only.includes(name);
  const isOfProtocol = options.only.some((name) => PROTOCOLS.some((protocol) => protocol.name === name));
  for (const protocol of PROTOCOLS) {
    if (isOfProtocol && !chosen(protocol.name)) continue;
    const peers = protocol.peers.filter(({ name }) => isOfProtocol || chosen(name));
    for (const peer of peers) rows.push(await measureIdle(shared, protocol, peer));
  }
  const head = ["protocol", "proxy", "RSS MiB before", "connections", "KiB each of the first half", "of the second"];
  return `${renderTable([...head, "target"], rows)}

One message is exchanged on each connection, ${GROUP} at a time, then ${SETTLE / 1000} s of silence. Before that, ${WARM_UP} are opened and closed.`;
}

async function measureIdle(shared: Site, protocol: Protocol, peer: Peer): Promise<string[]> {
  const echo = await protocol.startEcho?.();
  const site = echo === undefined ? shared : { ...shared, groups: { app: [echo.address], canary: [echo.address] } };
  const subject = await peer.start(site);
  const open: Closable[] = [];
  const openUntil = async (count: number): Promise<number> => {
    while (open.length < count) open.push(...(await protocol.open(subject, GROUP)));
    await sleep(SETTLE);
    return readRss(subject.pid);
  };
  try {
    await openUntil(WARM_UP);
    for (const each of open.splice(0)) each.close();
    const steps = [await openUntil(0), await openUntil(protocol.step), await openUntil(2 * protocol.step)];
    const each = [1, 2].map((step) => (steps[step]! - steps[step - 1]!) / protocol.step / 1024);
    const target = peer === protocol.peers[0] && protocol.target !== undefined ? `≤ ${protocol.target}` : "";
    const before = (steps[0]! / 1024 ** 2).toFixed(1);
    return [protocol.name, peer.name, before, String(open.length), ...each.map((size) => size.toFixed(2)), target];
  } finally {
    for (const each of open) each.close();
    await subject.close();
    echo?.close();
  }
}

/** @throws if it is closed by the proxy. */
function kept(socket: Socket): Closable {
  const fail = (): never => {
    throw new Error("a connection was closed while idle");
  };
  socket.on("error", fail).on("close", fail).resume();
  return {
    close: () => {
      socket.off("close", fail).off("error", fail);
      socket.on("error", () => {}).destroy();
    },
  };
}

async function exchange(sockets: readonly Socket[], message: Buffer): Promise<Closable[]> {
  const received = sockets.map((socket) => once(socket, "data"));
  for (const socket of sockets) socket.write(message);
  await Promise.all(received);
  return sockets.map(kept);
}

function openHttp1({ port, tls }: Subject, count: number): Promise<Closable[]> {
  const options = { port, host: "127.0.0.1", servername: "localhost", rejectUnauthorized: false };
  const sockets = Array.from({ length: count }, (): Socket => (tls ? connectTls(options) : connect(options)));
  return exchange(sockets, Buffer.from("GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n"));
}

const GET = requestOf("GET", "/");

function openHttp2(subject: Subject, count: number): Promise<Closable[]> {
  const open = (): Promise<Closable> =>
    new Promise((resolve) => {
      const client = new Http2Client(subject);
      const ended = (_: number, isEnd: boolean): void => {
        if (isEnd) resolve(kept(client.socket));
      };
      client.request(GET, { headers: ended, data: (stream, _, __, ___, isEnd) => ended(stream, isEnd) });
    });
  return Promise.all(Array.from({ length: count }, open));
}

function openSessions({ port }: Subject, count: number): Promise<Closable[]> {
  const open = async (): Promise<Closable> => {
    const socket = createSocket("udp4");
    socket.connect(port, "127.0.0.1");
    await once(socket, "connect");
    socket.send("one message");
    await once(socket, "message");
    return { close: () => socket.close() };
  };
  return Promise.all(Array.from({ length: count }, open));
}

async function startDatagramEcho(): Promise<{ address: string; close(): void }> {
  const socket: DatagramSocket = createSocket("udp4");
  socket.on("message", (bytes, { port, address }) => socket.send(bytes, port, address));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return { address: `127.0.0.1:${(socket.address() as AddressInfo).port}`, close: () => socket.close() };
}
