/** WebSocket servers and clients of others, for tests of tunnels. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import {
  createServer,
  type Http2Stream,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";
import { atEnd, bounded, type LiveTest } from "./program.ts";

export type Echo = {
  readonly port: number;
  readonly requests: IncomingMessage[];
  readonly sockets: WebSocket[];
  /** Codes and reasons with which its connections were closed. */
  readonly closes: [number, string][];
  /** Pings and pongs that it received. */
  readonly control: string[];
};

/** A WebSocket server that sends every message back; protocols `chat` and `none` are known. */
export async function startEcho(t: LiveTest): Promise<Echo> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: true });
  await once(server, "listening");
  const echo: Echo = {
    port: (server.address() as AddressInfo).port,
    requests: [],
    sockets: [],
    closes: [],
    control: [],
  };
  server.on("connection", (socket, request) => {
    echo.requests.push(request);
    echo.sockets.push(socket);
    socket.on("message", (data, binary) => socket.send(data as Buffer, { binary }));
    socket.on("close", (code, reason) => echo.closes.push([code, String(reason)]));
    socket.on("ping", (data) => echo.control.push(`ping ${data}`));
    socket.on("pong", (data) => echo.control.push(`pong ${data}`));
    socket.on("error", () => {});
  });
  atEnd(t, () => {
    server.close();
    for (const socket of server.clients) socket.terminate();
  });
  return echo;
}

/** An open connection of the package `ws`. */
export async function open(t: LiveTest, port: number, path = "/", options: object = {}): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, options);
  atEnd(t, () => socket.terminate());
  socket.on("error", () => {});
  await bounded(once(socket, "open"), "a WebSocket connection");
  return socket;
}

/** Sends the message and waits for the next one. */
export async function ask(socket: WebSocket, message: string | Buffer): Promise<string> {
  const next = once(socket, "message");
  socket.send(message);
  const [data] = await bounded(next, "a message");
  return String(data);
}

export async function closed(socket: WebSocket): Promise<[number, string]> {
  if (socket.readyState === WebSocket.CLOSED) throw new Error("it is closed already");
  const [code, reason] = await bounded(once(socket, "close"), "the connection's end");
  return [code as number, String(reason)];
}

/** The package `ws` over a stream, without its handshake. */
export function overStream(stream: Http2Stream, isServer = false): WebSocket {
  const socket = new WebSocket(null as unknown as string, undefined, { autoPong: true }) as WebSocket & {
    setSocket(stream: Duplex, head: Buffer, options: object): void;
    _isServer: boolean;
  };
  socket._isServer = isServer;
  // `ws` sets options of a TCP socket.
  const duplex = Object.assign(stream as unknown as Duplex, { setNoDelay() {}, setTimeout() {} });
  socket.setSocket(duplex, Buffer.alloc(0), { allowSynchronousEvents: true, maxPayload: 0, skipUTF8Validation: false });
  return socket;
}

export type Http2Echo = {
  readonly port: number;
  readonly sessions: ServerHttp2Session[];
  /** Request headers of all streams, and those that carry tunnels. */
  readonly requests: IncomingHttpHeaders[];
  readonly streams: ServerHttp2Stream[];
  readonly sockets: WebSocket[];
  readonly closes: [number, string][];
};

/**
 * A WebSocket server over HTTP/2 that sends every message back. `/raw`: the test uses the stream itself; `/status/N`: responds
 * with N and a body. `enableConnectProtocol`: of its settings.
 */
export async function startHttp2Echo(t: LiveTest, enableConnectProtocol = true): Promise<Http2Echo> {
  const server = createServer({ settings: { enableConnectProtocol } });
  const echo: Omit<Http2Echo, "port"> = { sessions: [], requests: [], streams: [], sockets: [], closes: [] };
  server.on("session", (session) => {
    echo.sessions.push(session);
    session.on("error", () => {});
  });
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    echo.requests.push(headers);
    stream.on("error", () => {});
    const path = headers[":path"]!;
    if (headers[":method"] !== "CONNECT") {
      stream.respond();
      return stream.end("plain");
    }
    if (path.startsWith("/status/")) {
      stream.respond({ ":status": Number(path.slice(8)) });
      return stream.end("no tunnel");
    }
    const protocol = headers["sec-websocket-protocol"];
    stream.respond(protocol === undefined ? {} : { "sec-websocket-protocol": protocol });
    echo.streams.push(stream);
    if (path === "/raw") return;
    const socket = overStream(stream, true);
    echo.sockets.push(socket);
    socket.on("message", (data, binary) => socket.send(data as Buffer, { binary }));
    socket.on("close", (code, reason) => echo.closes.push([code, String(reason)]));
    socket.on("error", () => {});
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  atEnd(t, () => {
    server.close();
    for (const session of echo.sessions) session.destroy();
  });
  return { ...echo, port: (server.address() as AddressInfo).port };
}
