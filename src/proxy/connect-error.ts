/** Maps failures of connecting to an endpoint to errors of the exchange. */
import { ERROR, type ProxyError } from "./error.ts";

/** Why connecting fails although the endpoint is not the cause. */
const LOCAL_CAUSES = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EPERM", "EACCES"]);

/** The error of a connection that was closed before it was established; null: without an error. */
export function connectError(error: NodeJS.ErrnoException | null): ProxyError {
  const { code = "", syscall } = error ?? {};
  if (code === "ECONNREFUSED") return ERROR.connectRefused;
  if (syscall !== undefined || code === "" || code === "ECONNRESET") return ERROR.connectFailed;
  // Certificate errors are those of OpenSSL's and of Node's name verification, without `syscall`.
  return code.startsWith("ERR_SSL_") || code === "EPROTO" ? ERROR.tlsFailed : ERROR.certificateInvalid;
}

/** Whether the proxy's machine lacks resources: descriptors, ports, memory. */
export function isLocalCause(error: NodeJS.ErrnoException | null): boolean {
  return LOCAL_CAUSES.has(error?.code ?? "");
}
