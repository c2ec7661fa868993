/** Memory while requests wait: 5,000 of HTTP/1 at the same moment, and 10,000 streams of HTTP/2. */
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { GRPC_HEADERS, GRPC_PATH, messageOf } from "./grpc.ts";
import { Http2Client, RequestCounter, requestOf, startGrpcEcho, startSilentHttp2 } from "./http2-peer.ts";
import type { Options } from "./options.ts";
import { haproxy, haproxyHttp2, haproxyHttp2Both } from "./peers/haproxy.ts";
import { nginx, nginxGrpc, nginxHttp2Unbuffered } from "./peers/nginx.ts";
import { sluice, sluiceHttp2Upstream } from "./peers/sluice.ts";
import { readRss } from "./programs.ts";
import { useLoadCore } from "./relay.ts";
import { BODY, type Site } from "./site.ts";
import type { Peer, Subject } from "./subject.ts";
import { renderTable } from "./table.ts";
import { type Endpoint as HttpEndpoint, startTcpServer } from "./tcp-server.ts";

const AT_ONCE = 5000;
const AT_ONCE_PEERS = [sluice, nginx, haproxy];
/** In two steps: the first may use memory that is free already, the second shows the cost of each stream. */
const STEP = 5000;
const GROUP = 500;
const STREAMS = 100;
/** Used and closed before: code is compiled, and pools and buffers have their size. */
const WARM_UP = 1000;
const SETTLE = 1500;

const RESPONSE = `HTTP/1.1 200 OK\r\nContent-Length: ${BODY.app.length}\r\n\r\n${BODY.app}`;
const EVENTS =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";

type Waiting = {
  readonly name: string;
  readonly peers: readonly Peer[];
  readonly startEndpoint: () => Promise<Endpoint>;
  /** Sends a gRPC message on each stream. */
  readonly message?: Buffer;
};

type Endpoint = HttpEndpoint & {
  /** Present if it does not respond: waits for so many requests. */
  readonly received?: (count: number) => Promise<void>;
};

const GRPC = requestOf("POST", GRPC_PATH, GRPC_HEADERS);
const GET = requestOf("GET", "/");

const WAITING: readonly Waiting[] = [
  {
    ...{ name: "no response yet; HTTP/1 to the endpoint", peers: [sluice, nginxHttp2Unbuffered, haproxyHttp2] },
    startEndpoint: () => startSilentHttp1(),
  },
  {
    ...{ name: "server-sent events; HTTP/1 to the endpoint", peers: [sluice, nginxHttp2Unbuffered, haproxyHttp2] },
    startEndpoint: () => startSilentHttp1(EVENTS),
  },
  {
    ...{ name: "no response yet; HTTP/2 to the endpoint", peers: [sluiceHttp2Upstream, haproxyHttp2Both] },
    startEndpoint: startSilentHttp2,
  },
  {
    ...{ name: "gRPC, a message each way", peers: [sluiceHttp2Upstream, nginxGrpc, haproxyHttp2Both] },
    startEndpoint: startGrpcEcho,
    message: messageOf(100),
  },
];

export async function runIdleStreams(site: Site, options: Options): Promise<string> {
  useLoadCore(site);
  const rows: string[][] = [];
  for (const waiting of WAITING)
    for (const peer of chosen(waiting.peers, options)) rows.push(await measureStreams(site, waiting, peer));
  const head = ["stream", "proxy", "RSS MiB before", "of 5,000", "of 10,000", "KiB each of the first"];
  return `${renderTable([...head, "of the second"], rows)}

${STREAMS} streams on each connection of a client, ${GROUP} begun at a time, then ${SETTLE / 1000} s of silence. Before that, ${WARM_UP} are begun and cancelled.`;
}

async function measureStreams(shared: Site, waiting: Waiting, peer: Peer): Promise<string[]> {
  const { name, startEndpoint, message } = waiting;
  const endpoint = await startEndpoint();
  const groups = { app: [endpoint.address], canary: [endpoint.address] };
  const subject = await peer.start({ ...shared, groups, http2Groups: groups });
  const clients: Http2Client[] = [];
  let begun = 0;
  const begin = async (count: number): Promise<number> => {
    for (let left = count; left > 0; left -= GROUP) {
      const responses: Promise<void>[] = [];
      for (let stream = 0; stream < GROUP; stream++) {
        if (stream % STREAMS === 0) clients.push(new Http2Client(subject));
        responses.push(beginStream(clients.at(-1)!, message));
      }
      begun += GROUP;
      await (endpoint.received?.(begun) ?? Promise.all(responses));
    }
    await sleep(SETTLE);
    return readRss(subject.pid);
  };
  try {
    await begin(WARM_UP);
    for (const client of clients.splice(0)) client.socket.destroy();
    const steps = [await begin(0), await begin(STEP), await begin(STEP)];
    if (clients.some(({ socket }) => socket.destroyed)) throw new Error(`${peer.name}: a connection was closed`);
    const each = [1, 2].map((step) => kibibytes((steps[step]! - steps[step - 1]!) / STEP));
    return [name, peer.name, ...steps.map(mebibytes), ...each];
  } finally {
    for (const client of clients) client.socket.destroy();
    await subject.close();
    endpoint.close();
  }
}

/** Resolves when the first bytes of content are received. */
function beginStream(client: Http2Client, message: Buffer | undefined): Promise<void> {
  return new Promise((resolve) => {
    const stream = client.request(message === undefined ? GET : GRPC, { data: () => resolve() });
    if (message !== undefined) client.send(stream, message);
  });
}

export async function runAtOnce(site: Site, options: Options): Promise<string> {
  useLoadCore(site);
  const rows: string[][] = [];
  for (const peer of chosen(AT_ONCE_PEERS, options)) rows.push(await measureAtOnce(site, peer));
  return `${renderTable(["proxy", "RSS MiB before", "of 5,000", "after", "KiB each", "after", "target"], rows)}

5,000 requests at the same moment, each on a connection of its own, while all wait for their responses, and ${SETTLE / 1000} s after them.`;
}

async function measureAtOnce(site: Site, peer: Peer): Promise<string[]> {
  const waiting: Socket[] = [];
  const counter = new RequestCounter();
  let delayed = false;
  const endpoint = await startHttp1((socket) => {
    if (!delayed) return socket.write(RESPONSE);
    counter.add();
    return waiting.push(socket);
  });
  const subject = await peer.start({ ...site, groups: { app: [endpoint.address], canary: [endpoint.address] } });
  let sockets: Socket[] = [];
  const request = (count: number): Promise<Socket[]> =>
    Promise.all(Array.from({ length: count }, () => requestHttp1(subject)));
  try {
    for (const socket of await request(WARM_UP)) socket.destroy();
    await sleep(SETTLE);
    const before = readRss(subject.pid);
    delayed = true;
    const responses = request(AT_ONCE);
    await counter.received(AT_ONCE);
    const during = readRss(subject.pid);
    for (const socket of waiting) socket.write(RESPONSE);
    sockets = await responses;
    await sleep(SETTLE);
    if (sockets.some((socket) => socket.destroyed)) throw new Error(`${peer.name}: a connection was closed`);
    const steps = [before, during, readRss(subject.pid)];
    const each = steps.slice(1).map((bytes) => kibibytes((bytes - before) / AT_ONCE));
    return [peer.name, ...steps.map(mebibytes), ...each, peer === sluice ? "≤ 12" : ""];
  } finally {
    for (const socket of sockets) socket.destroy();
    await subject.close();
    endpoint.close();
  }
}

/** A connection on which one response was received. */
function requestHttp1({ port }: Subject): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n");
    socket.once("data", () => resolve(socket));
    socket.on("error", reject);
    socket.resume();
  });
}

/** Responds to no request, or sends the same to each. */
async function startSilentHttp1(response?: string): Promise<Endpoint> {
  const counter = new RequestCounter();
  const endpoint = await startHttp1((socket) => (response === undefined ? counter.add() : socket.write(response)));
  return response === undefined ? { ...endpoint, received: (count) => counter.received(count) } : endpoint;
}

/** `receive`: a request, which is received whole. */
function startHttp1(receive: (socket: Socket) => unknown): Promise<HttpEndpoint> {
  return startTcpServer((socket) => socket.on("data", () => receive(socket)));
}

const chosen = (peers: readonly Peer[], { only }: Options): readonly Peer[] =>
  peers.filter(({ name }) => only.length === 0 || only.includes(name));
const mebibytes = (bytes: number): string => (bytes / 1024 ** 2).toFixed(1);
const kibibytes = (bytes: number): string => (bytes / 1024).toFixed(2);
