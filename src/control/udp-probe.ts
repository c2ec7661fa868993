/** Native health check by UDP: sends a datagram and evaluates the first one received. */
import type { CheckResult } from "../cluster/health.ts";
import { makeUdpClient } from "../net/udp.ts";
import type { EndpointPlan, ProbePlan } from "../plan/plan.ts";

/** Starts a check; the returned function cancels it. `failed`: the result of an error of the socket. */
export function probeUdp(
  { send, expect }: ProbePlan & { kind: "udp" },
  { host, port, path }: EndpointPlan,
  timeout: number,
  failed: (error: NodeJS.ErrnoException) => CheckResult,
  onResult: (result: CheckResult) => void,
): () => void {
  const unhealthy = (problem: string): CheckResult => ({ result: "unhealthy", problem });
  if (path !== "") {
    const timer = setImmediate(() => onResult(unhealthy("a Unix socket receives no UDP datagrams")));
    return () => clearImmediate(timer);
  }
  const socket = makeUdpClient(host);
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    clearTimeout(timer);
    socket.close();
  };
  const end = (result: CheckResult): void => {
    if (!isOpen) return;
    close();
    onResult(result);
  };
  const timer = setTimeout(() => end(unhealthy(`no datagram within ${timeout} ms`)), timeout);
  socket.on("error", (error) => end(failed(error)));
  socket.on("message", (bytes) => {
    const isExpected = bytes.includes(Buffer.from(expect, "hex"));
    end(isExpected ? { result: "healthy", problem: "" } : unhealthy("the datagram does not contain what is expected"));
  });
  socket.on("connect", () => socket.send(Buffer.from(send, "hex")));
  // A later turn: with a numeric address an event may be emitted before it returns, and `onResult` be called too early.
  setImmediate(() => isOpen && socket.connect(port, host));
  return close;
}
