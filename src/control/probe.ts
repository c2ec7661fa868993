/**
 * Native health checks: a new connection to the endpoint, a request, and the evaluation of the response. A check ends
 * within its timeout and reads a bounded number of bytes.
 */
import type { CheckResult } from "../cluster/health.ts";
import { Head } from "../http/head.ts";
import { BodyReader } from "../http1/framing.ts";
import { RESPONSE_LIMITS, scanResponse } from "../http1/scan.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import { startProbe } from "../net/probe-connection.ts";
import { makeProxyHeader, type ProxyHeaderOptions } from "../net/proxy-header.ts";
import { ALPN, type TlsClientOptions } from "../net/tls-client.ts";
import type { EndpointPlan, ProbePlan } from "../plan/plan.ts";
import { GrpcProbe } from "./grpc-probe.ts";
import { Http2Probe } from "./http2-probe.ts";
import { probeUdp } from "./udp-probe.ts";

/** Called once, unless the check is cancelled before. */
export type OnResult = (result: CheckResult) => void;

const HEALTHY: CheckResult = { result: "healthy", problem: "" };

/** Maximum bytes of an HTTP response; a longer body is not read to its end, and the endpoint is healthy. */
const MAX_RESPONSE = 64 * 1024;
/** Maximum bytes of a response to `send`. */
const MAX_TEXT = 16 * 1024;
const LF = 10;
/** Errors of this process or machine, which are not the endpoint's. */
const LOCAL_ERRORS: ReadonlySet<string> = new Set(["EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]);
const MESSAGES: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "host unreachable",
  ENETUNREACH: "network unreachable",
  ENOENT: "no such socket",
  EPIPE: "connection closed",
  ETIMEDOUT: "no connection in time",
};

/** A request and the evaluation of its response. Results: "" is healthy, a text is the problem, null: incomplete. */
interface NativeProtocol {
  readonly request: Buffer;
  readonly expectsResponse: boolean;
  receive(bytes: Buffer): string | null;
  /** The endpoint has closed its side. */
  end(): string;
}

export type NativeProbe = Exclude<ProbePlan, { kind: "plugin" }>;
export type ProbeTarget = {
  readonly endpoint: EndpointPlan;
  readonly timeout: number;
  /** Null: plain. */
  readonly tls: TlsClientOptions | null;
  readonly proxyProtocol: ProxyHeaderOptions | null;
};

/** Starts a check; the returned function cancels it. */
export function probe(
  plan: NativeProbe,
  { endpoint, timeout, tls, proxyProtocol }: ProbeTarget,
  onResult: OnResult,
): () => void {
  if (plan.kind === "udp") return probeUdp(plan, endpoint, timeout, ofError, onResult);
  let protocol = makeProtocol(plan, endpoint, tls !== null);
  const evaluation = {
    request: (selected: string) => {
      if (selected === "h2" && plan.kind === "http") protocol = new Http2Probe(plan, endpoint, true);
      return protocol.request;
    },
    sent: () => (protocol.expectsResponse ? null : HEALTHY),
    received: (bytes: Buffer) => resultOf(protocol.receive(bytes)),
    ended: () => resultOf(protocol.end()),
    failed: (error: NodeJS.ErrnoException | null) => (error === null ? unhealthy("connection closed") : ofError(error)),
    timedOut: (isConnected: boolean) =>
      unhealthy(`${isConnected ? "no complete response" : "no connection"} within ${timeout} ms`),
    broken: (error: unknown): CheckResult => ({ result: "failed", problem: `internal error: ${String(error)}` }),
  };
  const proxyHeader = proxyProtocol === null ? null : makeProxyHeader(proxyProtocol, null);
  const protocols = plan.kind === "grpc" ? ALPN.http2 : ALPN[plan.kind === "http" ? plan.protocol : "http1"];
  return startProbe<CheckResult>({ ...endpoint, tls, protocols, proxyHeader }, timeout, evaluation, onResult);
}

function makeProtocol(
  plan: Exclude<NativeProbe, { kind: "udp" }>,
  endpoint: EndpointPlan,
  isTls: boolean,
): NativeProtocol {
  if (plan.kind === "http")
    return plan.protocol === "http2" ? new Http2Probe(plan, endpoint, isTls) : new HttpProbe(plan, endpoint);
  return plan.kind === "grpc" ? new GrpcProbe(plan, endpoint, isTls) : new TcpProbe(plan);
}

function resultOf(problem: string | null): CheckResult | null {
  if (problem === null) return null;
  return problem === "" ? HEALTHY : unhealthy(problem);
}

function unhealthy(problem: string): CheckResult {
  return { result: "unhealthy", problem };
}

function ofError(error: NodeJS.ErrnoException): CheckResult {
  const code = error.code ?? "";
  // The messages of TLS errors are more specific than their codes, which are those of OpenSSL and Node.
  const isOfSystem = error.syscall !== undefined && code !== "EPROTO";
  const problem = MESSAGES[code] ?? (isOfSystem ? code : error.message);
  return { result: LOCAL_ERRORS.has(code) ? "failed" : "unhealthy", problem };
}

class HttpProbe implements NativeProtocol {
  readonly request: Buffer;
  readonly expectsResponse = true;
  readonly #plan: ProbePlan & { kind: "http" };
  readonly #head = new Head();
  readonly #body = new BodyReader();
  /** Received bytes before the body. */
  readonly #bytes = new PendingBuffer();
  /** Position of the next message head, after interim responses. */
  #at = 0;
  #inBody = false;
  #received = 0;

  constructor(plan: ProbePlan & { kind: "http" }, endpoint: EndpointPlan) {
    const host = plan.host || (endpoint.path === "" ? endpoint.address : "localhost");
    const fields = `Host: ${host}\r\nUser-Agent: sluice-health-check\r\nAccept: */*\r\nConnection: close\r\n`;
    this.#plan = plan;
    this.request = Buffer.from(`${plan.method} ${plan.path} HTTP/1.1\r\n${fields}\r\n`, "latin1");
  }

  receive(bytes: Buffer): string | null {
    this.#received += bytes.length;
    if (this.#inBody) return this.#readBody(bytes, 0);
    this.#bytes.append(bytes, 0, bytes.length);
    // Scanned only after the end of a line, to avoid quadratic time with single bytes.
    return bytes.includes(LF) || this.#bytes.length - this.#at >= RESPONSE_LIMITS.head
      ? this.#readHead(this.#bytes.bytes.subarray(0, this.#bytes.end))
      : null;
  }

  #readHead(bytes: Buffer): string | null {
    const { method, statuses } = this.#plan;
    const head = this.#head;
    for (;;) {
      const past = scanResponse(bytes, this.#at, bytes.length, head, method === "HEAD");
      if (past < 0) return `invalid HTTP response: ${head.problem}`;
      if (past === 0) return null;
      this.#at = past;
      const { status } = head;
      if (status < 200) {
        if (status === 101) return `status ${status}`;
        if (past > RESPONSE_LIMITS.head) return `interim responses over ${RESPONSE_LIMITS.head} bytes`;
        continue;
      }
      if (!statuses.some(({ least, most }) => status >= least && status <= most)) return `status ${status}`;
      this.#inBody = true;
      this.#body.begin(head.framing, head.length, true);
      return this.#readBody(bytes, past);
    }
  }

  #readBody(bytes: Buffer, at: number): string | null {
    const body = this.#body;
    body.read(bytes, at, bytes.length);
    if (body.problem !== "") return `invalid response body: ${body.problem}`;
    return body.done || this.#received >= MAX_RESPONSE ? "" : null;
  }

  end(): string {
    if (!this.#inBody) return "connection closed before a response";
    return this.#body.finish() ? "" : "incomplete response";
  }
}

class TcpProbe implements NativeProtocol {
  readonly request: Buffer;
  readonly expectsResponse: boolean;
  readonly #expected: Buffer;
  readonly #bytes = new PendingBuffer();

  constructor({ send, expect }: ProbePlan & { kind: "tcp" }) {
    this.request = Buffer.from(send);
    this.#expected = Buffer.from(expect);
    this.expectsResponse = expect !== "";
  }

  receive(bytes: Buffer): string | null {
    // Only where the new bytes can complete it.
    const from = Math.max(0, this.#bytes.length - this.#expected.length);
    this.#bytes.append(bytes, 0, bytes.length);
    if (this.#bytes.bytes.subarray(0, Math.min(this.#bytes.end, MAX_TEXT)).includes(this.#expected, from)) return "";
    return this.#bytes.length < MAX_TEXT ? null : `no ${this.#shown} in its first ${MAX_TEXT} bytes`;
  }

  end(): string {
    return this.expectsResponse ? `connection closed without ${this.#shown}` : "";
  }

  get #shown(): string {
    return JSON.stringify(this.#expected.toString());
  }
}
