/** An endpoint of a benchmark that handles raw connections. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

export type Endpoint = { readonly address: string; close(): void };

/** `accept` is called with each connection. Closing ends those that are open. */
export async function startTcpServer(accept: (socket: Socket) => unknown): Promise<Endpoint> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    accept(socket);
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
