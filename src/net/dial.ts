/** Opens outgoing connections. */
import { Socket } from "node:net";
import type { Connection, ConnectionHandler } from "./connection.ts";
import { type TlsClientOptions, tlsClient } from "./tls-client.ts";

/** Path of a Unix socket, otherwise empty. */
export type DialTarget = { readonly path: string; readonly host: string; readonly port: number };

export interface DialHandler extends ConnectionHandler {
  connected(): void;
  /** A write failed: later writes are not sent. Reads continue to the end or to a read error. */
  writeFailed(error: Error): void;
}

/** Starts connecting; with TLS, `connected` follows the handshake. The connection's handler must be set. */
export function dial(connection: Connection<DialHandler>, target: DialTarget, tls: TlsClientOptions | null): void {
  if (tls !== null) {
    const socket = tlsClient(tls).connect(target, connection.makeReads());
    connection.attach(socket, false);
    socket.on("secureConnect", () => connection.guard(() => connection.handler.connected()));
    return;
  }
  const { path, host, port } = target;
  const options = { allowHalfOpen: true, noDelay: true, onread: connection.makeReads() };
  const socket = new DialSocket(options as unknown as ConstructorParameters<typeof Socket>[0]);
  socket.onWriteFailed = (error) => connection.guard(() => connection.handler.writeFailed(error));
  connection.attach(socket, false);
  socket.on("connect", () => connection.guard(() => connection.handler.connected()));
  if (path === "") socket.connect({ host, port });
  else socket.connect({ path });
}

type Callback = (error?: Error | null) => void;
type Chunks = Parameters<NonNullable<Socket["_writev"]>>[0];

/**
 * A socket on which a failed write does not end reading. An endpoint may respond before it has read the whole request
 * and close: the next write then fails while the response is still unread. `net.Socket` destroys itself on a failed
 * write and would lose it.
 */
class DialSocket extends Socket {
  onWriteFailed: (error: Error) => void = () => {};
  /** The stream's own callback, which is the same for all its writes, and the queued one before it. */
  #callback: Callback | null = null;
  #guarded: Callback | null = null;

  override _write(chunk: unknown, encoding: BufferEncoding, callback: Callback): void {
    super._write(chunk, encoding, this.#callback === callback ? this.#guarded! : this.#guard(callback));
  }

  override _writev(chunks: Chunks, callback: Callback): void {
    super._writev!(chunks, this.#callback === callback ? this.#guarded! : this.#guard(callback));
  }

  #guard(callback: Callback): Callback {
    this.#callback = callback;
    this.#guarded = (error) => {
      if (error == null) callback();
      else if (!this.destroyed) this.onWriteFailed(error);
    };
    return this.#guarded;
  }
}
