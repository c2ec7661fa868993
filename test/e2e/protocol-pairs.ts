/** Clients and endpoints of HTTP/1.1 and HTTP/2 with one interface, to run one test over every pair of protocols. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, request as requestHttp1, type ServerResponse } from "node:http";
import {
  type ClientHttp2Session,
  constants,
  createServer as createHttp2Server,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import type { Readable, Writable } from "node:stream";
import type { TestContext } from "node:test";
import { openSession } from "./http2.ts";
import { atEnd, bounded } from "./program.ts";

/** Above Node's default of 16 KiB, which is less than the default limit of the proxy. */
const MAX_HEADER_SIZE = 64 * 1024;

export const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

export type Sent = {
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly trailers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
};

export type Received = {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly trailers: Readonly<Record<string, unknown>>;
  readonly interim: number[];
  readonly body: Buffer;
};

/** A request whose body and response are streams. */
export type Call = {
  readonly request: Writable;
  /** Rejects if there is none. */
  readonly response: Promise<{ status: number; headers: Readonly<Record<string, unknown>>; body: Readable }>;
  readonly interim: number[];
  readonly trailers: () => Readonly<Record<string, unknown>>;
  abort(): void;
};

export interface Client {
  readonly name: string;
  open(sent: Omit<Sent, "body">): Call;
}

/** Sends the whole request and reads the whole response. Rejects if either is incomplete. */
export async function ask(client: Client, { body = Buffer.alloc(0), ...sent }: Sent): Promise<Received> {
  const call = client.open(sent);
  call.request.on("error", () => undefined);
  call.request.end(body);
  const read = async (): Promise<Received> => {
    const { status, headers, body: stream } = await call.response;
    const chunks = await stream.toArray();
    return { status, headers, interim: call.interim, trailers: call.trailers(), body: Buffer.concat(chunks) };
  };
  return bounded(read(), `${client.name} ${sent.path}`);
}

export function http1Client(t: TestContext, port: number): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  atEnd(t, () => agent.destroy());
  const open = ({ path, method = "GET", headers, trailers }: Omit<Sent, "body">): Call => {
    const hasBody = method !== "GET" && method !== "HEAD";
    const names = trailers === undefined ? {} : { Trailer: Object.keys(trailers).join() };
    const request = requestHttp1({
      agent,
      port,
      host: "127.0.0.1",
      path,
      method,
      headers: { ...headers, ...names },
      maxHeaderSize: MAX_HEADER_SIZE,
    });
    if (hasBody) request.flushHeaders();
    if (trailers !== undefined) request.addTrailers(trailers);
    const interim: number[] = [];
    let incoming: IncomingMessage | null = null;
    request.on("information", ({ statusCode }) => interim.push(statusCode));
    request.on("continue", () => interim.push(100));
    const response = once(request, "response").then(([got]: IncomingMessage[]) => {
      incoming = got!;
      return { status: got!.statusCode!, headers: got!.headers, body: got as Readable };
    });
    response.catch(() => undefined);
    return { request, response, interim, trailers: () => incoming?.trailers ?? {}, abort: () => request.destroy() };
  };
  return { name: "HTTP/1", open };
}

export async function http2Client(t: TestContext, port: number): Promise<Client> {
  let session = await openSession(t, `http://127.0.0.1:${port}`);
  const open = ({ path, method = "GET", headers, trailers }: Omit<Sent, "body">): Call => {
    const request = session.request(
      { ":path": path, ":method": method, ...headers },
      { endStream: false, waitForTrailers: trailers !== undefined },
    );
    request.on("error", () => undefined);
    if (trailers !== undefined) request.on("wantTrailers", () => request.sendTrailers(trailers));
    const interim: number[] = [];
    let received = {};
    request.on("headers", (given) => interim.push(given[":status"]!));
    request.on("trailers", (given) => {
      received = { ...given };
    });
    const whenReset = once(request, "close").then(() => Promise.reject(new Error("closed before a response")));
    const whenHead = once(request, "response").then(([given]) => ({
      status: given[":status"] as number,
      headers: given as Record<string, unknown>,
      body: request as Readable,
    }));
    const response = Promise.race([whenHead, whenReset]);
    response.catch(() => undefined);
    return { request, response, interim, trailers: () => received, abort: () => request.destroy(new Error("aborted")) };
  };
  const renew = (): Promise<ClientHttp2Session> => openSession(t, `http://127.0.0.1:${port}`);
  return {
    name: "HTTP/2",
    open: (sent) => {
      if (session.closed || session.destroyed) void renew().then((next) => (session = next));
      return open(sent);
    },
  };
}

/** For both protocols: of HTTP/2 it gets Node's compatible objects. */
export type Handler = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

/** Breaks off a response: by a reset of its connection, or of its stream. */
export function breakOff(outgoing: ServerResponse): void {
  const { stream } = outgoing as { stream?: ServerHttp2Stream };
  if (stream === undefined) outgoing.destroy();
  else stream.close(constants.NGHTTP2_INTERNAL_ERROR);
}

export type Endpoint = { readonly name: string; readonly port: number; sessions: number };

export async function startEndpoint(t: TestContext, protocol: "http1" | "http2", handle: Handler): Promise<Endpoint> {
  const sockets = new Set<{ destroy(): void }>();
  const server =
    protocol === "http1"
      ? createServer({ maxHeaderSize: MAX_HEADER_SIZE }, handle)
      : createHttp2Server(handle as never);
  const endpoint = { name: protocol, port: 0, sessions: 0 };
  server.on("connection", (socket) => {
    endpoint.sessions++;
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("sessionError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(t, () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return Object.assign(endpoint, { port: (server.address() as AddressInfo).port });
}
