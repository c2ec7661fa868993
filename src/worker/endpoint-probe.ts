/** `probe` of a plugin's health check: exchanges bytes with the endpoint over a new connection. */
import { STATUS } from "../abi/abi.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import { startProbe } from "../net/probe-connection.ts";
import type { ProbeRequest } from "../plugin/host/fetcher.ts";

/** Calls `done` once with the received bytes, or with a status below zero. The returned function cancels it silently. */
export function probeEndpoint(
  { endpoint, send, until, most, timeout }: ProbeRequest,
  done: (result: Buffer | number) => void,
  failed: (cause: string) => void,
): () => void {
  const response = new PendingBuffer();
  const protocol = {
    request: () => send,
    sent: () => null,
    received: (bytes: Buffer) => {
      // Searched only from where a match can be new: single bytes must not cost quadratic time.
      const from = Math.max(0, response.length - until.length);
      response.append(bytes, 0, bytes.length);
      if (response.length > most) {
        failed(`the response has more than ${most} bytes`);
        return STATUS.tooLarge;
      }
      return until.length > 0 && response.content.indexOf(until, from) >= 0 ? response.content : null;
    },
    ended: () => response.content,
    failed: (error: Error | null) => {
      failed(error?.message ?? "the endpoint closed the connection");
      return STATUS.unreachable;
    },
    timedOut: () => {
      failed(`no complete response within ${timeout} ms`);
      return STATUS.timedOut;
    },
    broken: () => STATUS.unreachable,
  };
  return startProbe<Buffer | number>(endpoint, timeout, protocol, done);
}
