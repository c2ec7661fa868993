/** Clients and endpoints of HTTP/1.1 and HTTP/2 with one interface, to run one test over every pair of protocols. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, request as requestHttp1, type ServerResponse } from "node:http";
import {
  type ClientHttp2Session,
  constants,
  createSecureServer as createHttp2SecureServer,
  createServer as createHttp2Server,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer as createHttpsServer, Agent as HttpsAgent, request as requestHttps } from "node:https";
import type { AddressInfo, Server } from "node:net";
import type { Readable, Writable } from "node:stream";
import type { TestContext } from "node:test";
import { Authority } from "../support/certificates.ts";
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

/** `ca`: over TLS, verified by this certificate; without it in plain text. */
export function http1Client(t: TestContext, port: number, ca?: string): Client {
  const options = { keepAlive: true, maxSockets: 64 };
  const agent = ca === undefined ? new Agent(options) : new HttpsAgent({ ...options, ca });
  const send = ca === undefined ? requestHttp1 : requestHttps;
  atEnd(t, () => agent.destroy());
  const open = ({ path, method = "GET", headers, trailers }: Omit<Sent, "body">): Call => {
    const hasBody = method !== "GET" && method !== "HEAD";
    const names = trailers === undefined ? {} : { Trailer: Object.keys(trailers).join() };
    const request = send({
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
  return { name: ca === undefined ? "HTTP/1" : "HTTP/1 over TLS", open };
}

/** `ca`: as of `http1Client`. */
export async function http2Client(t: TestContext, port: number, ca?: string): Promise<Client> {
  const connect = (): Promise<ClientHttp2Session> =>
    ca === undefined
      ? openSession(t, `http://127.0.0.1:${port}`)
      : openSession(t, `https://127.0.0.1:${port}`, { ca, ALPNProtocols: ["h2"] });
  let session = await connect();
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
  return {
    name: ca === undefined ? "HTTP/2" : "HTTP/2 over TLS",
    open: (sent) => {
      if (session.closed || session.destroyed) void connect().then((next) => (session = next));
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

/** The key and certificate of a server. */
type Certificate = { readonly key: string; readonly cert: string };

export async function startEndpoint(
  t: TestContext,
  protocol: "http1" | "http2",
  handle: Handler,
  certificate?: Certificate,
): Promise<Endpoint> {
  const sockets = new Set<{ destroy(): void }>();
  const endpoint = { name: protocol, port: 0, sessions: 0 };
  const server = makeServer(protocol, handle, certificate);
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

function makeServer(protocol: "http1" | "http2", handle: Handler, certificate: Certificate | undefined): Server {
  if (protocol === "http2") {
    // MB of requests that are not read, and of responses. Node's default, 10, makes it refuse others.
    const options = { maxSessionMemory: 1000 };
    return certificate === undefined
      ? createHttp2Server(options, handle as never)
      : createHttp2SecureServer({ ...options, ...certificate }, handle as never);
  }
  const options = { maxHeaderSize: MAX_HEADER_SIZE };
  return certificate === undefined
    ? createServer(options, handle)
    : createHttpsServer({ ...options, ...certificate }, handle);
}

/** What endpoints speak, and the names of their clusters. */
export const UPSTREAMS = ["http1", "http2", "https1", "https2"] as const;
export type Upstream = (typeof UPSTREAMS)[number];

export const isHttp2 = (name: Upstream): boolean => name.endsWith("2");

/** One certificate for the listener and the endpoints. */
export function makeCertificate(): Authority {
  const authority = new Authority();
  authority.issue("server", { names: "DNS:localhost,IP:127.0.0.1" });
  process.on("exit", () => authority.remove());
  return authority;
}

/** Starts an endpoint of each kind. Returns their clusters as configuration; `more`: further keys of each. */
export async function startUpstreams(
  t: TestContext,
  handle: Handler,
  authority: Authority,
  more = "",
): Promise<string> {
  const certificate = { key: authority.read("server.key"), cert: authority.read("server.pem") };
  const clusters: string[] = [];
  for (const name of UPSTREAMS) {
    const isTls = name.startsWith("https");
    const protocol = isHttp2(name) ? "http2" : "http1";
    const { port } = await startEndpoint(t, protocol, handle, isTls ? certificate : undefined);
    const tls = isTls ? `, tls: { ca: ${authority.path("ca.pem")}, sni: localhost }` : "";
    clusters.push(`  ${name}: { protocol: ${protocol}, endpoints: ["127.0.0.1:${port}"]${tls}${more} }`);
  }
  return clusters.join("\n");
}

/** Clients of both protocols, in plain text to one port and over TLS to the other. */
export async function startClients(t: TestContext, plain: number, secure: number, ca: string): Promise<Client[]> {
  return [
    http1Client(t, plain),
    await http2Client(t, plain),
    http1Client(t, secure, ca),
    await http2Client(t, secure, ca),
  ];
}
