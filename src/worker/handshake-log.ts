/** Counts TLS handshakes with clients by result, and logs failures, rate-limited. */
import { HANDSHAKES, HandshakeError } from "../net/tls-server.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { Port } from "../proxy/port.ts";

/** Errors of peers that close or reset the connection during the handshake, as port scans and TCP checks do. */
const ABORTED = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT"]);

/** `error`: the failure; null: the handshake is complete. */
export function logHandshake(
  { cells, warnings }: WorkerContext,
  { state }: Port,
  client: string,
  error: Error | null,
): void {
  const result = error === null ? "ok" : resultOf(error);
  const { plan } = state!;
  cells[plan.cells + LISTENER_CELLS.handshakes + HANDSHAKES.indexOf(result)]!++;
  if (error === null || result === "aborted" || !warnings.admits("tls_handshake", `${plan.name} ${result}`)) return;
  warnings.write("TLS handshake failed", { listener: plan.name, client, result, cause: causeOf(error) });
}

function resultOf(error: Error): (typeof HANDSHAKES)[number] {
  if (error instanceof HandshakeError) return error.result;
  return ABORTED.has((error as NodeJS.ErrnoException).code ?? "") ? "aborted" : "failed";
}

/** The reason of an OpenSSL error without thread, source file and line: `http request`, `unsupported protocol`. */
function causeOf(error: Error): string {
  const { reason } = error as { reason?: string };
  return reason ?? error.message;
}
