/** HTTP requests of the control plane to the servers of others: bounded in time and size, without redirects. */
import type { IncomingHttpHeaders } from "node:http";

export type HttpCall = {
  readonly method: "GET" | "HEAD" | "POST";
  readonly url: string | URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Buffer | undefined;
  /** PEM of accepted authorities; empty: the public ones. */
  readonly ca?: readonly string[];
  readonly signal: AbortSignal;
  /** ms for the whole exchange. */
  readonly timeout: number;
  /** Most bytes of the body of the response; 0: it is not read. */
  readonly most: number;
};

export type HttpReply = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer };

/** @throws Error with the reason; a response of any status is returned. */
export async function callHttp(call: HttpCall): Promise<HttpReply> {
  const { timeout, signal, most } = call;
  const expired = AbortSignal.timeout(timeout);
  try {
    return await exchange({ ...call, signal: AbortSignal.any([expired, signal]) });
  } catch (error) {
    if (signal.aborted || !expired.aborted) throw error;
    throw new Error(`no ${most === 0 ? "" : "complete "}response within ${timeout} ms`, { cause: error });
  }
}

function exchange({ method, url, headers, body, ca = [], signal, most }: HttpCall): Promise<HttpReply> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpReply>();
  const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
  const options = { method, headers: { ...headers, ...length }, agent: false, signal } as const;
  // Not imported: at the start that would load Node's `fetch` and HTTP/2.
  const target = new URL(url);
  const sent =
    target.protocol === "https:"
      ? process.getBuiltinModule("node:https").request(target, { ...options, ...(ca.length > 0 && { ca: [...ca] }) })
      : process.getBuiltinModule("node:http").request(target, options);
  sent.on("error", reject);
  // Without a listener Node destroys the request without an error, and the timeout finds nothing to end.
  sent.on("upgrade", (_, socket) => {
    reject(new Error("the server switched to another protocol (101)"));
    socket.destroy();
  });
  sent.on("response", (response) => {
    const { statusCode: status = 0, headers } = response;
    const chunks: Buffer[] = [];
    let received = 0;
    const end = () => resolve({ status, headers, body: Buffer.concat(chunks) });
    response.on("error", reject);
    response.on("end", end);
    if (most === 0) {
      end();
      sent.destroy();
    }
    response.on("data", (chunk: Buffer) => {
      received += chunk.length;
      if (received <= most) return void chunks.push(chunk);
      reject(new Error(`the response has more than ${most} bytes`));
      sent.destroy();
    });
  });
  sent.end(body);
  return promise;
}
