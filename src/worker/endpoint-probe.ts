/** What a plugin says to the endpoint that it checks, over a connection of its own, and what comes back. */
import { Socket } from "node:net";
import { STATUS } from "../abi/abi.ts";
import { Gathered } from "../http/gathered.ts";
import type { ProbeRequest } from "../plugin/host/fetcher.ts";

/** Tells the answer or a status below zero, once; what this returns gives it up, and nothing is told. */
export function probeEndpoint(
  { endpoint: { host, port, path }, send, until, most, timeout }: ProbeRequest,
  done: (answer: Buffer | number) => void,
): () => void {
  const socket = new Socket();
  const heard = new Gathered();
  let over = false;
  const end = (answer: Buffer | number | null): void => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    socket.destroy();
    if (answer !== null) done(answer);
  };
  const timer = setTimeout(() => end(STATUS.timedOut), timeout);
  socket.on("connect", () => {
    if (send.length > 0) socket.write(send);
  });
  socket.on("data", (bytes: Buffer) => {
    // Looked for where it can have become whole, so that single bytes cost no quadratic time.
    const from = Math.max(0, heard.length - until.length);
    heard.append(bytes);
    if (heard.length > most) end(STATUS.tooLarge);
    else if (until.length > 0 && heard.bytes.indexOf(until, from) >= 0) end(heard.bytes);
  });
  socket.on("end", () => end(heard.bytes));
  socket.on("error", () => end(STATUS.unreachable));
  socket.on("close", () => end(STATUS.unreachable));
  if (path === "") socket.connect({ host, port });
  else socket.connect({ path });
  return () => end(null);
}
