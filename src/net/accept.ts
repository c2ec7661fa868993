/**
 * The one place that touches a private field of `node:net`: a listening handle's `onconnection`, through which accepted
 * sockets are made with a read buffer of ours (`onread`), which the public API offers for outgoing sockets only.
 * It saves a Buffer, an event and a copy for each read. Where the field is missing, or SLUICE_ACCEPT=public is set, the
 * public `connection` event is used: slower, and otherwise the same. So come those that another thread accepted.
 */
import { type Server, Socket } from "node:net";
import { getSystemErrorName } from "node:util";
import type { Connection } from "./connection.ts";

/** What becomes of accepted sockets. */
export interface Acceptor {
  /** The connection that the next socket is for; null refuses it (a limit). */
  accept(): Connection | null;
  /** Its socket is attached, and nothing was read from it. */
  opened(connection: Connection): void;
  /** A connection could not be had. An exception would end the thread. */
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
      const options = { handle: client, allowHalfOpen: true, onread: connection.onread };
      const socket = new Socket(options as unknown as ConstructorParameters<typeof Socket>[0]);
      open(socket, connection, acceptor, false);
    });
  };
}

/** Takes one that was accepted elsewhere, or by the public event: nothing was read from it yet. */
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
