/**
 * Aborts TLS connections by a TCP reset. `TLSSocket.destroy()` closes the TCP connection in order, which peers take for
 * the end of the stream, and `resetAndDestroy()` does not support TLS. Like `accept.ts`, this file uses a private field of
 * Node, the TCP handle of the TLS handle; without it the socket is destroyed.
 */
import type { Socket } from "node:net";

type Callback = () => void;
type Handle = { close(closed?: Callback): void; reset?(closed?: Callback): number };

/** Destroys the socket so that its peer sees a connection reset. */
export function resetTls(socket: Socket): void {
  const handle = (socket as unknown as { _handle: { _parent?: Handle } | null })._handle?._parent;
  if (typeof handle?.reset === "function" && !socket.writableEnded) closeByReset(handle);
  socket.destroy();
}

/** Replaces `close` of the TCP handle, which the TLS handle calls last. */
function closeByReset(handle: Handle): void {
  const close = handle.close.bind(handle);
  handle.close = (closed) => {
    if (handle.reset!(closed) !== 0) close(closed);
  };
}
