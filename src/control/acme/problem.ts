/** Errors of ACME requests, with bounded texts, since another server writes them, and logs and the admin API show them. */
import type { AcmeResponse } from "./request.ts";

/** Most characters of a text of the server. */
const MAX_TEXT = 300;
const PREFIX = "urn:ietf:params:acme:error:";

/**
 * The causes that are counted. `unreachable`: no response; `denied`: `onDemand` does not allow the name any more; `other`:
 * of the proxy, such as a full disk.
 */
export const FAILURES = [
  "unreachable",
  "rejected",
  "validation",
  "rate_limited",
  "invalid_response",
  "denied",
  "other",
] as const;
export type Failure = (typeof FAILURES)[number];

export class AcmeError extends Error {
  readonly failure: Failure;
  /** The server's error type without its prefix (RFC 8555 section 6.7); empty: none. */
  readonly type: string;
  /** Wall-clock ms before which the server wants no further attempt; null: it does not say. */
  readonly retryAt: number | null;
  /** Of the response; 0: none. */
  readonly status: number;

  constructor(failure: Failure, message: string, { type = "", retryAt = null as number | null, status = 0 } = {}) {
    super(message);
    this.status = status;
    this.failure = failure;
    this.type = type;
    this.retryAt = retryAt;
  }
}

type Problem = { type?: unknown; detail?: unknown; status?: unknown; subproblems?: unknown };

/** The error of a response with an error status. */
export function errorOf(response: AcmeResponse, retryAt: number | null): AcmeError {
  const problem = parseObject(response.body) as Problem | null;
  const type = typeOf(problem);
  const failure = type === "rateLimited" || response.status === 429 ? "rate_limited" : "rejected";
  const text = problem === null ? "" : `: ${describeProblem(problem)}`;
  return new AcmeError(failure, `the server returned status ${response.status}${text}`, {
    type,
    retryAt,
    status: response.status,
  });
}

/** Whether the same order would fail again: the server has decided, or what it has returned cannot be used. */
export function endsOrder({ failure, status }: AcmeError): boolean {
  return failure === "validation" || failure === "invalid_response" || (failure === "rejected" && status < 500);
}

/** Type and detail of a problem document (RFC 7807), with its first subproblem. */
export function describeProblem(value: unknown): string {
  const problem = (typeof value === "object" && value !== null ? value : {}) as Problem;
  const [first] = Array.isArray(problem.subproblems) ? (problem.subproblems as unknown[]) : [];
  const sub = first === undefined ? "" : `; ${describeProblem({ ...(first as object), subproblems: undefined })}`;
  return boundText(`${typeOf(problem) || "unknown error"}: ${textOf(problem.detail)}${sub}`);
}

function typeOf(problem: Problem | null): string {
  const type = textOf(problem?.type);
  return type.startsWith(PREFIX) ? type.slice(PREFIX.length, PREFIX.length + 64) : "";
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** A text of the server without control characters, shortened. */
export function boundText(text: string): string {
  const clean = text.slice(0, 4 * MAX_TEXT).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ");
  return clean.length > MAX_TEXT ? `${clean.slice(0, MAX_TEXT)}…` : clean;
}

/** A JSON object, or null. */
export function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}
