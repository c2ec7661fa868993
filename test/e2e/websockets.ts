/** WebSocket servers and clients of others, for tests of tunnels. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
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
