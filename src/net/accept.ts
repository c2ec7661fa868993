/**
 * The one place that touches a private field of `node:net`: a listening handle's `onconnection`, through which accepted
 * sockets are made with a read buffer of ours (`onread`), which the public API offers for outgoing sockets only.
 * It saves a Buffer, an event and a copy for each read. Where the field is missing, or SLUICE_ACCEPT=public is set, the
 * public `connection` event is used: slower, and the same to everybody else. So come those that another thread accepted.
 */
import { type Server, Socket } from "node:net";
import { getSystemErrorName } from "node:util";

export type OnRead = { buffer: () => Uint8Array; callback: (size: number) => boolean };

/** What a connection needs to be born: its read callbacks before the socket is there, then the socket. */
export interface Accepted {
  readonly onread: OnRead;
  attach(socket: Socket, deliversData: boolean): void;
  opened(): void;
}

type Handle = {
  onconnection?: (error: number, client?: Handle) => void;
  setNoDelay?: (on: boolean) => void;
  close: () => void;
};

/**
 * Calls `make` for each accepted connection; null refuses it (a limit). `failed` is told of one that could not be had: an
 * exception that left here would end the thread. Call once the server listens.
 */
export function takeConnections(server: Server, make: () => Accepted | null, failed: (problem: string) => void): void {
  const handle = (server as unknown as { _handle?: Handle })._handle;
  if (typeof handle?.onconnection !== "function" || process.env.SLUICE_ACCEPT === "public") {
    server.on("connection", (socket: Socket) => takeConnection(socket, make, failed));
    return;
  }
  handle.onconnection = (error, client) => {
    if (error !== 0 || client === undefined) return failed(`accept: ${getSystemErrorName(error)}`);
    guard(client, failed, () => {
      const accepted = make();
      if (accepted === null) return client.close();
      client.setNoDelay?.(true);
      const options = { handle: client, allowHalfOpen: true, onread: accepted.onread };
      acceptSocket(new Socket(options as unknown as ConstructorParameters<typeof Socket>[0]), false, accepted);
    });
  };
}

/** Takes one that was accepted elsewhere, or by the public event: nothing was read from it yet. */
export function takeConnection(socket: Socket, make: () => Accepted | null, failed: (problem: string) => void): void {
  guard(socket, failed, () => {
    socket.setNoDelay(true);
    acceptSocket(socket, true, make());
    socket.resume();
  });
}

function acceptSocket(socket: Socket, deliversData: boolean, accepted: Accepted | null): void {
  if (accepted === null) {
    socket.destroy();
    return;
  }
  accepted.attach(socket, deliversData);
  accepted.opened();
}

function guard(connection: Socket | Handle, failed: (problem: string) => void, run: () => void): void {
  try {
    run();
  } catch (error) {
    if (connection instanceof Socket) connection.destroy();
    else connection.close();
    failed(`accept: ${String(error)}`);
  }
}
