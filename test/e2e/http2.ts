/** Clients of HTTP/2: Node's, and one that sends frames. */
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";
import type { TestContext } from "node:test";
import { atEnd, bounded } from "./program.ts";

export type Http2Response = {
  status: number;
  headers: IncomingHttpHeaders;
  trailers: IncomingHttpHeaders;
  /** Headers of interim responses. */
  interim: IncomingHttpHeaders[];
  body: Buffer;
};

export async function openSession(t: TestContext, url: string, options?: SecureClientSessionOptions) {
  const session = connect(url, options);
  // An error is also reported to the streams.
  session.on("error", () => {});
  atEnd(t, () => session.destroy());
  await bounded(once(session, "connect"), `a session with ${url}`);
  return session;
}

/** Sends a request with this body, and reads its response. Rejects if the stream is reset. */
export async function request(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: string | Buffer = "",
  trailers?: OutgoingHttpHeaders,
): Promise<Http2Response> {
  const stream = session.request(headers, { waitForTrailers: trailers !== undefined, endStream: false });
  if (trailers !== undefined) stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  stream.end(body);
  return read(stream);
}

export async function read(stream: ClientHttp2Stream): Promise<Http2Response> {
  const response: Http2Response = { status: 0, headers: {}, trailers: {}, interim: [], body: Buffer.alloc(0) };
  stream.on("headers", (headers) => response.interim.push(headers));
  stream.on("trailers", (trailers) => {
    response.trailers = trailers;
  });
  stream.on("response", (headers) => {
    response.headers = headers;
    response.status = headers[":status"] ?? 0;
  });
  const chunks: Buffer[] = [];
  const whole = (async () => {
    for await (const chunk of stream) chunks.push(chunk as Buffer);
  })();
  await bounded(whole, "a response over HTTP/2");
  response.body = Buffer.concat(chunks);
  return response;
}
