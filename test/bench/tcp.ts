/** TCP connections through each proxy: messages and new connections. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Options } from "./options.ts";
import { haproxyTcp } from "./peers/haproxy.ts";
import { nginxStream } from "./peers/nginx.ts";
import { sluiceTcp } from "./peers/sluice.ts";
import { connectionsOf, pingPong, type Relay, runRelay, type Work } from "./relay.ts";
import type { Site } from "./site.ts";
import { type Endpoint, startTcpServer } from "./tcp-server.ts";

/** Connections that are opened at a time, each for one message. */
const AT_ONCE = 16;
const ASKED = Buffer.alloc(30, 7);

const SIZES = [
  [30, "≤ 1.2"],
  [10 * 1024, "≤ 1.10"],
  [1024 * 1024, "≤ 0.70"],
] as const;

const TCP: Relay = {
  peers: [sluiceTcp, nginxStream, haproxyTcp],
  works: [
    ...SIZES.map(
      ([size, target]): Work => ({
        name: `${size.toLocaleString("en")} bytes`,
        targets: { nginx: target, HAProxy: target },
        begin: async (port, done) => pingPong(await openTcp(port, connectionsOf(size)), Buffer.alloc(size, 7), done),
      }),
    ),
    { name: "a new connection with one message", begin: renew },
  ],
  head: ["message", "µs a message and its echo"],
  startEcho: startTcpEcho,
};

export function runTcp(site: Site, options: Options): Promise<string> {
  return runRelay(site, options, TCP);
}

async function renew(port: number, done: () => void): Promise<() => unknown> {
  let runs = true;
  const loop = async (): Promise<void> => {
    while (runs) {
      const [socket] = await openTcp(port, 1);
      socket!.write(ASKED);
      await once(socket!, "data");
      socket!.end();
      await once(socket!, "close");
      done();
    }
  };
  const loops = Array.from({ length: AT_ONCE }, loop);
  return () => {
    runs = false;
    return Promise.all(loops);
  };
}

export function openTcp(port: number, count: number): Promise<Socket[]> {
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
export function startTcpEcho(): Promise<Endpoint> {
  return startTcpServer((socket) => socket.pipe(socket));
}
