/**
 * Accepts connections through `onconnection` of a listening handle, the only private field of `node:net` in use. It
 * allows accepted sockets with our own read buffer (`onread`), which the public API offers for outgoing sockets only, and
 * saves a Buffer, an event and a copy per read. If the field is missing or SLUICE_ACCEPT=public is set, the public
 * `connection` event is used, with the same behaviour; likewise for connections that another worker accepted.
 */
import { type Server, Socket } from "node:net";
import { getSystemErrorName } from "node:util";
import type { Connection } from "./connection.ts";

/** Receives accepted sockets. */
export interface Acceptor {
  /** Returns the connection for the next socket; null closes the socket (limit reached). */
  accept(): Connection | null;
  /** The socket is attached; nothing was read from it yet. */
  opened(connection: Connection): void;
  /** Reports a failed accept. Must not throw: an exception would end the worker. */
  failed(problem: string): void;
}

type Handle = {
  onconnection?: (error: number, client?: Handle) => void;
  setNoDelay?: (on: boolean) => void;
  close: () => void;
};

/** Passes each accepted socket to `acceptor`. Call once the server listens. */
export function takeConnections(server: Server, acceptor: Acceptor): void {
  const handle = (server as unknown as { _handle?: Handle })._handle;
  if (typeof handle?.onconnection !== "function" || process.env.SLUICE_ACCEPT === "public") {
    server.on("connection", (socket: Socket) => takeConnection(socket, acceptor));
    return;
  }
  handle.onconnection = (error, client) => {
    if (error !== 0 || client === undefined) return acceptor.failed(`accept: ${getSystemErrorName(error)}`);
    guard(client, acceptor, () => {
      const connection = acceptor.accept();
      if (connection === null) return client.close();
      client.setNoDelay?.(true);
      const options = { handle: client, allowHalfOpen: true, onread: connection.makeReads() };
      const socket = new Socket(options as unknown as ConstructorParameters<typeof Socket>[0]);
      open(socket, connection, acceptor, false);
    });
  };
}

/** Takes a socket accepted by another worker or by the public event; nothing was read from it yet. */
export function takeConnection(socket: Socket, acceptor: Acceptor): void {
  guard(socket, acceptor, () => {
    const connection = acceptor.accept();
    if (connection === null) return void socket.destroy();
    socket.setNoDelay(true);
    open(socket, connection, acceptor, true);
    socket.resume();
  });
}

function open(socket: Socket, connection: Connection, acceptor: Acceptor, deliversData: boolean): void {
  connection.attach(socket, deliversData);
  connection.readPeer();
  acceptor.opened(connection);
}

function guard(socket: Socket | Handle, acceptor: Acceptor, run: () => void): void {
  try {
    run();
  } catch (error) {
    if (socket instanceof Socket) socket.destroy();
    else socket.close();
    acceptor.failed(`accept: ${String(error)}`);
  }
}
