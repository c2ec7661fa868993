/** Sends a request to an OCSP responder (RFC 6960 appendix A), within bounds of time and size. */
import { MAX_RESPONSE } from "../net/ocsp/response.ts";

/** ms for the whole exchange. */
const TIMEOUT = 10_000;

/** Returns the body of the response. @throws Error with the reason */
export async function fetchOcsp(
  url: string,
  body: Buffer,
  cancel: AbortSignal,
  timeout: number = TIMEOUT,
): Promise<Buffer> {
  const signal = AbortSignal.timeout(timeout);
  try {
    return await exchange(url, body, AbortSignal.any([signal, cancel]));
  } catch (error) {
    throw signal.aborted ? new Error(`no complete response within ${timeout} ms`, { cause: error }) : error;
  }
}

function exchange(url: string, body: Buffer, signal: AbortSignal): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const headers = {
    "content-type": "application/ocsp-request",
    "content-length": body.length,
    accept: "application/ocsp-response",
  };
  // Not imported: at the start that would load Node's `fetch` and HTTP/2.
  const { request } = process.getBuiltinModule(url.startsWith("https:") ? "node:https" : "node:http");
  const sent = request(url, { method: "POST", headers, agent: false, signal });
  sent.on("error", reject);
  sent.on("response", (response) => {
    response.on("error", reject);
    const chunks: Buffer[] = [];
    let length = 0;
    const fail = (message: string) => {
      reject(new Error(message));
      sent.destroy();
    };
    // Redirects are not followed: the certificate names the responder.
    if (response.statusCode !== 200) return fail(`the responder returned status ${response.statusCode}`);
    response.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > MAX_RESPONSE) fail(`the response has more than ${MAX_RESPONSE} bytes`);
      else chunks.push(chunk);
    });
    response.on("end", () => resolve(Buffer.concat(chunks)));
  });
  sent.end(body);
  return promise;
}
