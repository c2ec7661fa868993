/**
 * Aborts TLS connections. `TLSSocket.destroy()` closes the TCP connection in order, which Node and others report to the
 * peer as the ordinary end of the stream, and `resetAndDestroy()` refuses TLS. Like `accept.ts`, this file uses private
 * parts of Node: the TCP handle below that of TLS. Where it is missing, the socket is destroyed.
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

/** Replaces `close`, which the TLS handle calls last. */
function closeByReset(handle: Handle): void {
  const close = handle.close.bind(handle);
  handle.close = (closed) => {
    if (handle.reset!(closed) !== 0) close(closed);
  };
}
