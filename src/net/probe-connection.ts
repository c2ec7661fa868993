/** A short connection of a health check: sends a request and reads until the protocol has a result. */
import { Socket } from "node:net";
import type { DialTarget } from "./dial.ts";
import { limitTime } from "./fair-timer.ts";
import { type TlsClientOptions, tlsClient } from "./tls-client.ts";

/** The request of a probe and the evaluation of the response. A method that returns null continues the probe. */
export interface ProbeProtocol<Result> {
  /** The request; `protocol`: what the endpoint has selected by ALPN, empty if nothing. */
  request(protocol: string): Buffer;
  /** The request was sent. */
  sent(): Result | null;
  received(bytes: Buffer): Result | null;
  /** The endpoint has ended its direction. */
  ended(): Result | null;
  /** The connection failed; null: it was closed without an error. */
  failed(error: NodeJS.ErrnoException | null): Result;
  timedOut(isConnected: boolean): Result;
  /** One of the other methods threw an exception. */
  broken(error: unknown): Result;
}

/** `protocols`: offered by ALPN; default: HTTP/1. `proxyHeader`: sent first, before TLS; null: nothing. */
export type ProbeTarget = DialTarget & {
  readonly tls: TlsClientOptions | null;
  readonly protocols?: readonly string[];
  readonly proxyHeader: Buffer | null;
};

/** Starts a probe, which ends within `timeout` ms; calls `done` once. The returned function cancels it silently. */
export function startProbe<Result>(
  { host, port, path, tls, protocols, proxyHeader }: ProbeTarget,
  timeout: number,
  protocol: ProbeProtocol<Result>,
  done: (result: Result) => void,
): () => void {
  const socket =
    tls === null ? new Socket() : tlsClient(tls).connect({ host, port, path }, undefined, protocols, proxyHeader);
  let hasEnded = false;
  const cancel = (): void => {
    hasEnded = true;
    stopTimer();
    socket.destroy();
  };
  const end = (result: Result | null): void => {
    if (result === null || hasEnded) return;
    cancel();
    done(result);
  };
  const evaluate = (run: () => Result | null): void => {
    if (hasEnded) return;
    let result: Result | null;
    try {
      result = run();
    } catch (error) {
      result = protocol.broken(error);
    }
    end(result);
  };
  const stopTimer = limitTime(timeout, () => evaluate(() => protocol.timedOut(!socket.connecting)));
  socket.on(tls === null ? "connect" : "secureConnect", () => {
    const request = protocol.request((socket as { alpnProtocol?: string | false | null }).alpnProtocol || "");
    if (request.length === 0) evaluate(() => protocol.sent());
    else socket.write(request, () => evaluate(() => protocol.sent()));
  });
  socket.on("data", (bytes: Buffer) => evaluate(() => protocol.received(bytes)));
  socket.on("end", () => evaluate(() => protocol.ended()));
  socket.on("error", (error: NodeJS.ErrnoException) => evaluate(() => protocol.failed(error)));
  socket.on("close", () => evaluate(() => protocol.failed(null)));
  if (tls !== null) return cancel;
  socket.setNoDelay(true);
  if (path === "") socket.connect({ host, port });
  else socket.connect({ path });
  if (proxyHeader !== null) socket.write(proxyHeader);
  return cancel;
}
