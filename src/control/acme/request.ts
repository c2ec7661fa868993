/** HTTP requests to an ACME server. */
import type { IncomingHttpHeaders } from "node:http";
import { callHttp, type HttpCall } from "../http-call.ts";

/** ms for one exchange. */
const TIMEOUT = 30_000;
/** Most bytes of a response; a chain of certificates has 3 to 10 KiB. */
const MAX_BODY = 256 * 1024;
/** `user-agent`: RFC 8555 section 6.1. */
const HEADERS = { "user-agent": "sluice-acme", "content-type": "application/jose+json" };

export type AcmeResponse = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
};

export type SendOptions = Pick<HttpCall, "method" | "url" | "body" | "signal"> & {
  /** PEM of accepted authorities; empty: the public ones. */
  readonly ca: readonly string[];
  readonly timeout?: number;
};

/** @throws Error with the reason; a response of any status is returned. */
export async function send(options: SendOptions): Promise<AcmeResponse> {
  const reply = await callHttp({ timeout: TIMEOUT, ...options, headers: HEADERS, most: MAX_BODY });
  return { ...reply, body: reply.body.toString("utf8") };
}

/** Wall-clock ms of a Retry-After header (RFC 9110 section 10.2.3), at most `longest` ms ahead; null without one. */
export function readRetryAfter(headers: IncomingHttpHeaders, now: number, longest: number): number | null {
  const text = headers["retry-after"];
  if (text === undefined) return null;
  const at = /^\d{1,9}$/.test(text) ? now + Number(text) * 1000 : /^[A-Z]/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? null : Math.min(Math.max(at, now), now + longest);
}
