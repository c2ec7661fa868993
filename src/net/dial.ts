/** Opens outgoing connections. */
import { Socket } from "node:net";
import type { Connection, ConnectionHandler } from "./connection.ts";
import { ALPN, type TlsClientOptions, tlsClient } from "./tls-client.ts";

/**
 * TCP keep-alive: after 30 s of silence the kernel asks the endpoint every 15 s, and closes the connection when four
 * probes in a row get no response. Silence is legal on many connections (long polls, streams of gRPC, tunnels, TCP), and
 * without probes a path that is lost meanwhile, by a crash of the endpoint's machine or an entry that a NAT or firewall has
 * dropped, would be noticed by the next write only. In ms.
 */
const KEEP_ALIVE = { after: 30_000, interval: 15_000, count: 4 } as const;

/** Path of a Unix socket, otherwise empty. */
export type DialTarget = { readonly path: string; readonly host: string; readonly port: number };

export interface DialHandler extends ConnectionHandler {
  connected(): void;
  /** A write failed: later writes are not sent. Reads continue to the end or to a read error. */
  writeFailed(error: Error): void;
}

/**
 * Starts connecting; with TLS, `connected` follows the handshake. The connection's handler must be set. `protocols`: what
 * is offered by ALPN. `header`: sent first, before TLS; null: nothing.
 */
export function dial(
  connection: Connection<DialHandler>,
  target: DialTarget,
  tls: TlsClientOptions | null,
  protocols: readonly string[] = ALPN.http1,
  header: Buffer | null = null,
): void {
  const reads = connection.makeReads();
  const socket = tls === null ? connect(target, reads) : tlsClient(tls).connect(target, reads, protocols, header);
  // It is queued until the connection is established.
  if (tls === null && header !== null) socket.write(header);
  keepReading(socket, (error) => connection.guard(() => connection.handler.writeFailed(error)));
  connection.attach(socket, tls !== null && header !== null);
  const event = tls === null ? "connect" : "secureConnect";
  socket.on(event, () => {
    socket.setKeepAlive(true, KEEP_ALIVE.after, KEEP_ALIVE.interval, KEEP_ALIVE.count);
    connection.guard(() => connection.handler.connected());
  });
}

/** The protocol that the endpoint has selected by ALPN; empty if none. */
export function alpnOf({ socket }: Connection): string {
  return (socket as { alpnProtocol?: string | false | null }).alpnProtocol || "";
}

function connect({ path, host, port }: DialTarget, onread: unknown): Socket {
  const options = { allowHalfOpen: true, noDelay: true, onread };
  const socket = new Socket(options as unknown as ConstructorParameters<typeof Socket>[0]);
  return path === "" ? socket.connect({ host, port }) : socket.connect({ path });
}

type Callback = (error?: Error | null) => void;

/**
 * Makes a failed write not end reading. An endpoint may respond before it has read the whole request and close: the next
 * write then fails while the response is still unread. `net.Socket`, and TLSSocket with it, destroys itself on a failed
 * write and would lose it.
 */
function keepReading(socket: Socket, onWriteFailed: (error: Error) => void): void {
  const { _write, _writev } = socket;
  // The stream's own callback, which is the same for all its writes, and the one given to the socket in its place.
  let callback: Callback | null = null;
  let guarded: Callback;
  const guard = (given: Callback): Callback => {
    if (callback === given) return guarded;
    callback = given;
    guarded = (error) => {
      if (error == null) given();
      else if (!socket.destroyed) onWriteFailed(error);
    };
    return guarded;
  };
  socket._write = (chunk, encoding, given) => _write.call(socket, chunk, encoding, guard(given));
  socket._writev = (chunks, given) => _writev!.call(socket, chunks, guard(given));
}
