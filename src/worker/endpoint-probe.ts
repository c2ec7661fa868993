/** `probe` of a plugin's health check: exchanges bytes with the endpoint over a new connection. */
import { Socket } from "node:net";
import { STATUS } from "../abi/abi.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { ProbeRequest } from "../plugin/host/fetcher.ts";

/** Calls `done` once with the received bytes, or with a status below zero. The returned function cancels it silently. */
export function probeEndpoint(
  { endpoint: { host, port, path }, send, until, most, timeout }: ProbeRequest,
  done: (result: Buffer | number) => void,
): () => void {
  const socket = new Socket();
  const received = new PendingBuffer();
  let hasEnded = false;
  const end = (result: Buffer | number | null): void => {
    if (hasEnded) return;
    hasEnded = true;
    clearTimeout(timer);
    socket.destroy();
    if (result !== null) done(result);
  };
  const timer = setTimeout(() => end(STATUS.timedOut), timeout);
  socket.on("connect", () => {
    if (send.length > 0) socket.write(send);
  });
  socket.on("data", (bytes: Buffer) => {
    // Searched only from where a match can be new: single bytes must not cost quadratic time.
    const from = Math.max(0, received.length - until.length);
    received.append(bytes, 0, bytes.length);
    if (received.length > most) end(STATUS.tooLarge);
    else if (until.length > 0 && received.content.indexOf(until, from) >= 0) end(received.content);
  });
  socket.on("end", () => end(received.content));
  socket.on("error", () => end(STATUS.unreachable));
  socket.on("close", () => end(STATUS.unreachable));
  if (path === "") socket.connect({ host, port });
  else socket.connect({ path });
  return () => end(null);
}
