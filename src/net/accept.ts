/**
 * Accepts connections through `onconnection` of a listening handle, the only private field of `node:net` in use. It
 * allows accepted sockets with our own read buffer (`onread`), which the public API offers for outgoing sockets only, and
 * saves a Buffer, an event and a copy per read. The handle also sets the options of all its connections: Linux copies those
 * of a listening socket, so they cost no system call of a connection. If the field is missing or SLUICE_ACCEPT=public is
 * set, the public `connection` event is used, with the same behaviour; likewise for connections that another worker
 * accepted.
 */
import { type Server, Socket } from "node:net";
import { getSystemErrorName } from "node:util";
import type { Connection } from "./connection.ts";

/**
 * TCP keep-alive: after 60 s of silence the kernel asks the client every 15 s, and closes the connection when four probes
 * in a row get no response. So a client whose machine or network has failed is noticed before the idle limit of a
 * tunnel, stream or long poll, and entries of a NAT on the way stay. In seconds.
 */
const KEEP_ALIVE = { after: 60, interval: 15, count: 4 } as const;

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
  setNoDelay?: (on: boolean) => number;
  setKeepAlive?: (on: boolean, after: number, interval: number, count: number) => number;
  close: () => void;
};

/** Passes each accepted socket to `acceptor`. Call once the server listens. */
export function takeConnections(server: Server, acceptor: Acceptor): void {
  const handle = (server as unknown as { _handle?: Handle })._handle;
  if (typeof handle?.onconnection !== "function" || process.env.SLUICE_ACCEPT === "public") {
    server.on("connection", (socket: Socket) => takeConnection(socket, acceptor));
    return;
  }
  const areCopied = process.platform === "linux" && setOptions(handle);
  handle.onconnection = (error, client) => {
    if (error !== 0 || client === undefined) return acceptor.failed(`accept: ${getSystemErrorName(error)}`);
    guard(client, acceptor, () => {
      const connection = acceptor.accept();
      if (connection === null) return client.close();
      if (!areCopied) setOptions(client);
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
    const { after, interval, count } = KEEP_ALIVE;
    socket.setKeepAlive(true, 1000 * after, 1000 * interval, count);
    open(socket, connection, acceptor, true);
    socket.resume();
  });
}

/** Returns false if it has none, as a Unix socket, or they cannot be set. */
function setOptions(handle: Handle): boolean {
  const { after, interval, count } = KEEP_ALIVE;
  return handle.setNoDelay?.(true) === 0 && handle.setKeepAlive?.(true, after, interval, count) === 0;
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
