/**
 * Checks that Sluice makes by itself: a fresh connection to the endpoint, what is said there, and what is made of the
 * answer. Whatever the endpoint does, a check ends within its time, and reads a bounded number of bytes.
 */
import { Socket } from "node:net";
import type { CheckResult } from "../cluster/health.ts";
import { Gathered } from "../http/gathered.ts";
import { Head } from "../http/head.ts";
import { BodyReader } from "../http1/framing.ts";
import { RESPONSE_LIMITS, scanResponse } from "../http1/scan.ts";
import type { EndpointPlan, ProbePlan } from "../plan/plan.ts";
import { limitTime } from "./fair-timer.ts";

/** Told once; not after the check was given up. */
export type Tell = (verdict: CheckResult) => void;

const HEALTHY: CheckResult = { result: "healthy", problem: "" };

/** Of an answer in HTTP: what is beyond was sent by an endpoint whose head was good, and is not waited for. */
const MOST_ANSWER = 64 * 1024;
/** Of an answer to `send`. */
const MOST_TEXT = 16 * 1024;
const LF = 10;
/** What this process or machine is short of is not the endpoint's fault. */
const SHORTAGES: ReadonlySet<string> = new Set(["EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]);
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "host unreachable",
  ENETUNREACH: "network unreachable",
  ENOENT: "there is no such socket",
  EPIPE: "connection closed",
  ETIMEDOUT: "no connection in time",
};

/** What is said, and what is heard: "" is a healthy answer, a text says what is wrong, null: more must come. */
interface Talk {
  readonly says: Buffer;
  /** Whether an answer is wanted. */
  readonly listens: boolean;
  hear(bytes: Buffer): string | null;
  /** The endpoint has said all. */
  end(): string;
}

/** What this returns gives the check up. */
export function probe(plan: NativeProbe, { endpoint, timeout }: Target, tell: Tell): () => void {
  const visit = new Visit(plan.kind === "http" ? new HttpTalk(plan, endpoint) : new TextTalk(plan), timeout, tell);
  visit.begin(endpoint);
  return () => visit.close();
}

export type NativeProbe = Exclude<ProbePlan, { kind: "plugin" }>;
export type Target = { readonly endpoint: EndpointPlan; readonly timeout: number };

class Visit {
  readonly #talk: Talk;
  readonly #timeout: number;
  readonly #socket = new Socket();
  #tell: Tell | null;
  #stopTimer: () => void = () => undefined;

  constructor(talk: Talk, timeout: number, tell: Tell) {
    this.#talk = talk;
    this.#timeout = timeout;
    this.#tell = tell;
  }

  begin({ host, port, path }: EndpointPlan): void {
    const socket = this.#socket;
    this.#stopTimer = limitTime(this.#timeout, () => this.#expire());
    socket.on("connect", () => this.#guard(() => this.#connected()));
    socket.on("data", (bytes: Buffer) => this.#guard(() => this.#conclude(this.#talk.hear(bytes))));
    socket.on("end", () => this.#guard(() => this.#conclude(this.#talk.end())));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#end(verdictOf(error)));
    socket.on("close", () => this.#end({ result: "unhealthy", problem: "connection closed" }));
    socket.setNoDelay(true);
    if (path === "") socket.connect({ host, port });
    else socket.connect({ path });
  }

  /** Nothing is told any more. */
  close(): void {
    this.#tell = null;
    this.#stopTimer();
    this.#socket.destroy();
  }

  #connected(): void {
    const { says, listens } = this.#talk;
    if (says.length > 0) this.#socket.write(says, () => !listens && this.#end(HEALTHY));
    else if (!listens) this.#end(HEALTHY);
  }

  #conclude(problem: string | null): void {
    if (problem !== null) this.#end(problem === "" ? HEALTHY : { result: "unhealthy", problem });
  }

  #end(verdict: CheckResult): void {
    const tell = this.#tell;
    this.close();
    if (tell !== null) tell(verdict);
  }

  /** An exception in here ends the check, and not the proxy. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#end({ result: "failed", problem: `internal error: ${String(error)}` });
    }
  }

  #expire(): void {
    const what = this.#socket.connecting ? "no connection" : "no whole answer";
    this.#end({ result: "unhealthy", problem: `${what} within ${this.#timeout} ms` });
  }
}

function verdictOf(error: NodeJS.ErrnoException): CheckResult {
  const code = error.code ?? "";
  const problem = WORDS[code] ?? (code === "" ? error.message : code);
  return { result: SHORTAGES.has(code) ? "failed" : "unhealthy", problem };
}

class HttpTalk implements Talk {
  readonly says: Buffer;
  readonly listens = true;
  readonly #plan: ProbePlan & { kind: "http" };
  readonly #head = new Head();
  readonly #body = new BodyReader();
  /** What has come before a body. */
  readonly #heard = new Gathered();
  /** Where in it the head begins that is waited for: behind interim ones. */
  #at = 0;
  #inBody = false;
  #received = 0;

  constructor(plan: ProbePlan & { kind: "http" }, endpoint: EndpointPlan) {
    const host = plan.host || (endpoint.path === "" ? endpoint.address : "localhost");
    const fields = `Host: ${host}\r\nUser-Agent: sluice-health-check\r\nAccept: */*\r\nConnection: close\r\n`;
    this.#plan = plan;
    this.says = Buffer.from(`${plan.method} ${plan.path} HTTP/1.1\r\n${fields}\r\n`, "latin1");
  }

  hear(bytes: Buffer): string | null {
    this.#received += bytes.length;
    if (this.#inBody) return this.#readBody(bytes, 0);
    this.#heard.append(bytes);
    // Scanned again only when a line has ended, so that single bytes cost no quadratic time.
    return bytes.includes(LF) || this.#heard.length - this.#at >= RESPONSE_LIMITS.head
      ? this.#readHead(this.#heard.bytes)
      : null;
  }

  #readHead(bytes: Buffer): string | null {
    const { method, statuses } = this.#plan;
    const head = this.#head;
    for (;;) {
      const past = scanResponse(bytes, this.#at, bytes.length, head, method === "HEAD");
      if (past < 0) return `no answer in HTTP: ${head.problem}`;
      if (past === 0) return null;
      this.#at = past;
      const { status } = head;
      if (status < 200) {
        if (status === 101) return `answered ${status}`;
        if (past > RESPONSE_LIMITS.head) return `interim responses over ${RESPONSE_LIMITS.head} bytes`;
        continue;
      }
      if (!statuses.some(({ least, most }) => status >= least && status <= most)) return `answered ${status}`;
      this.#inBody = true;
      this.#body.begin(head.framing, head.length, true);
      return this.#readBody(bytes, past);
    }
  }

  #readBody(bytes: Buffer, at: number): string | null {
    const body = this.#body;
    body.read(bytes, at, bytes.length);
    if (body.problem !== "") return `a broken answer: ${body.problem}`;
    return body.done || this.#received >= MOST_ANSWER ? "" : null;
  }

  end(): string {
    if (!this.#inBody) return "the connection ended before an answer";
    return this.#body.finish() ? "" : "the answer broke off";
  }
}

class TextTalk implements Talk {
  readonly says: Buffer;
  readonly listens: boolean;
  readonly #expected: Buffer;
  readonly #heard = new Gathered();

  constructor({ send, expect }: ProbePlan & { kind: "tcp" }) {
    this.says = Buffer.from(send);
    this.#expected = Buffer.from(expect);
    this.listens = expect !== "";
  }

  hear(bytes: Buffer): string | null {
    // Looked for where it can have become whole.
    const from = Math.max(0, this.#heard.length - this.#expected.length);
    this.#heard.append(bytes);
    if (this.#heard.bytes.subarray(0, MOST_TEXT).includes(this.#expected, from)) return "";
    return this.#heard.length < MOST_TEXT ? null : `no ${this.#shown} in its first ${MOST_TEXT} bytes`;
  }

  end(): string {
    return this.listens ? `the connection ended without ${this.#shown}` : "";
  }

  get #shown(): string {
    return JSON.stringify(this.#expected.toString());
  }
}
