/** HTTP requests to an ACME server: bounded in time and size, without redirects. */
import type { IncomingHttpHeaders } from "node:http";

/** ms for one exchange. */
const TIMEOUT = 30_000;
/** Most bytes of a response; a chain of certificates has 3 to 10 KiB. */
export const MAX_BODY = 256 * 1024;
/** RFC 8555 section 6.1. */
const AGENT = "sluice-acme";

export type AcmeResponse = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
};

export type SendOptions = {
  readonly method: "GET" | "HEAD" | "POST";
  readonly url: string;
  /** `application/jose+json` content. */
  readonly body?: string;
  /** PEM of accepted authorities; empty: the public ones. */
  readonly ca: readonly string[];
  readonly signal: AbortSignal;
  readonly timeout?: number;
};

/** @throws Error with the reason; a response of any status is returned. */
export async function send(options: SendOptions): Promise<AcmeResponse> {
  const limit = options.timeout ?? TIMEOUT;
  const expired = AbortSignal.timeout(limit);
  try {
    return await exchange(options, AbortSignal.any([expired, options.signal]));
  } catch (error) {
    throw expired.aborted ? new Error(`no complete response within ${limit} ms`, { cause: error }) : error;
  }
}

function exchange({ method, url, body, ca }: SendOptions, signal: AbortSignal): Promise<AcmeResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<AcmeResponse>();
  const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
  const headers = { "user-agent": AGENT, "content-type": "application/jose+json", ...length };
  const options = { method, headers, agent: false, signal } as const;
  // Not imported: at the start that would load Node's `fetch` and HTTP/2.
  const sent = url.startsWith("https:")
    ? process.getBuiltinModule("node:https").request(url, { ...options, ...(ca.length > 0 && { ca: [...ca] }) })
    : process.getBuiltinModule("node:http").request(url, options);
  sent.on("error", reject);
  sent.on("response", (response) => {
    response.on("error", reject);
    const chunks: Buffer[] = [];
    let received = 0;
    response.on("data", (chunk: Buffer) => {
      received += chunk.length;
      if (received <= MAX_BODY) return void chunks.push(chunk);
      reject(new Error(`the response has more than ${MAX_BODY} bytes`));
      sent.destroy();
    });
    response.on("end", () => {
      const { statusCode: status = 0, headers } = response;
      resolve({ status, headers, body: Buffer.concat(chunks).toString("utf8") });
    });
  });
  sent.end(body);
  return promise;
}

/** Wall-clock ms of a Retry-After header (RFC 9110 section 10.2.3), at most `longest` ms ahead; null without one. */
export function readRetryAfter(headers: IncomingHttpHeaders, now: number, longest: number): number | null {
  const text = headers["retry-after"];
  if (text === undefined) return null;
  const at = /^\d{1,9}$/.test(text) ? now + Number(text) * 1000 : /^[A-Z]/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? null : Math.min(Math.max(at, now), now + longest);
}
