/** Sends a request to an OCSP responder (RFC 6960 appendix A), within bounds of time and size. */
import { MAX_RESPONSE } from "../net/ocsp/response.ts";
import { callHttp } from "./http-call.ts";

/** ms for the whole exchange. */
const TIMEOUT = 10_000;

/** Returns the body of the response. @throws Error with the reason */
export async function fetchOcsp(
  url: string,
  body: Buffer,
  signal: AbortSignal,
  timeout: number = TIMEOUT,
): Promise<Buffer> {
  const headers = { "content-type": "application/ocsp-request", accept: "application/ocsp-response" };
  const reply = await callHttp({ method: "POST", url, headers, body, signal, timeout, most: MAX_RESPONSE });
  // Redirects are not followed: the certificate names the responder.
  if (reply.status !== 200) throw new Error(`the responder returned status ${reply.status}`);
  return reply.body;
}
