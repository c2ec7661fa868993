/** WebSockets through each proxy. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Options } from "./options.ts";
import { haproxy } from "./peers/haproxy.ts";
import { nginxUpgrade } from "./peers/nginx.ts";
import { sluice } from "./peers/sluice.ts";
import { connectionsOf, pingPong, type Relay, runRelay, type Work } from "./relay.ts";
import type { Site } from "./site.ts";
import { type Endpoint, startTcpServer } from "./tcp-server.ts";

const SIZES = [100, 10_000, 1024 * 1024];
const TARGETS = { nginx: "≤ 1.1", HAProxy: "≤ 1.1" };

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const REQUEST = `GET /ws HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n`;
const ACCEPT = createHash("sha1").update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const RESPONSE = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`;

const WEBSOCKETS: Relay = {
  peers: [sluice, nginxUpgrade, haproxy],
  works: SIZES.map(
    (size): Work => ({
      name: size.toLocaleString("en"),
      targets: TARGETS,
      begin: async (port, done) => pingPong(await openWebSockets(port, connectionsOf(size)), frameOf(size), done),
    }),
  ),
  head: ["bytes of a message", "µs a message and its echo"],
  startEcho: startWebSocketEcho,
};

export function runWebSockets(site: Site, options: Options): Promise<string> {
  return runRelay(site, options, WEBSOCKETS);
}

/** Connections that were upgraded. */
export function openWebSockets(port: number, count: number): Promise<Socket[]> {
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
export function frameOf(size: number): Buffer {
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
export function startWebSocketEcho(): Promise<Endpoint> {
  return startTcpServer((socket) =>
    socket.once("data", () => {
      socket.write(RESPONSE);
      socket.pipe(socket);
    }),
  );
}
