/**
 * Sends subrequests of plugins: to a cluster through the request pipeline, to an allowed origin through Node's HTTP
 * client with keep-alive. Redirects are not followed; proxies of the environment are not used.
 */
import type { Agent, ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { connect } from "node:net";
import { STATUS } from "../abi/abi.ts";
import { FIELD_WORDS, Head, NAME, NAME_ID, PART } from "../http/head.ts";
import { isIdempotent } from "../http/method.ts";
import { scanRequest, scanResponse } from "../http1/scan.ts";
import { tlsClient } from "../net/tls-client.ts";
import type { Fetcher, FetchRequest, FetchResponse, ProbeRequest } from "../plugin/host/fetcher.ts";
import type { EndpointTarget } from "../plugin/host/hook-context.ts";
import type { Pipeline } from "../proxy/pipeline.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import { sendSubrequest } from "../proxy/subrequest.ts";
import { probeEndpoint } from "./endpoint-probe.ts";

// Not imported: an import would load `fetch`, HTTP/2 and TLS of Node into every worker, used or not.
const http = process.getBuiltinModule("node:http");
const loadHttps = () => process.getBuiltinModule("node:https");

const CLUSTER = "cluster:";
const CONNECTIONS = 64;
const LIMITS = { head: 128 * 1024, target: 64 * 1024, headers: 500 };

/** Receives the response, or a status below zero. */
type Done = (response: FetchResponse | number) => void;

/** Called for each failed request: `target` is the origin, or the address of the endpoint under check. */
type OnFailure = (target: string, cause: string) => void;

/** Connections to origins: one object per worker, shared by all versions. */
export class Origins {
  readonly #plain = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  #secure: Agent | null = null;
  readonly onFailure: OnFailure;

  constructor(onFailure: OnFailure) {
    this.onFailure = onFailure;
  }

  fetch(request: FetchRequest, done: Done): () => void {
    const { protocol, hostname, port } = new URL(request.target);
    const isSecure = protocol === "https:";
    const where = {
      host: hostname.replace(/^\[|\]$/g, ""),
      port: port === "" ? (isSecure ? 443 : 80) : Number(port),
    };
    const failed = (cause: string) => this.onFailure(request.target, cause);
    const sent = new PluginFetcher({ where, isSecure }, request, { done, failed });
    sent.send(isSecure ? this.#secureAgent() : this.#plain);
    return () => sent.cancel();
  }

  #secureAgent(): Agent {
    this.#secure ??= new (loadHttps().Agent)({ keepAlive: true, maxSockets: CONNECTIONS });
    return this.#secure;
  }

  close(): void {
    this.#plain.destroy();
    this.#secure?.destroy();
  }
}

type Destination = { readonly where: RequestOptions; readonly isSecure: boolean };

/** One request: sent at most twice; `done` is called once. */
class PluginFetcher {
  readonly #isSecure: boolean;
  readonly #options: RequestOptions;
  readonly #isIdempotent: boolean;
  readonly #body: Buffer;
  readonly #most: number;
  readonly #timer: NodeJS.Timeout;
  readonly #failed: (cause: string) => void;
  #done: Done | null;
  #sent: ClientRequest | null = null;

  constructor(
    { where, isSecure }: Destination,
    { head, body, timeout, most }: FetchRequest,
    { done, failed }: { readonly done: Done; readonly failed: (cause: string) => void },
  ) {
    const { isIdempotent, ...parts } = readHead(head, body.length);
    this.#isSecure = isSecure;
    this.#options = { ...parts, ...where, setHost: false };
    this.#isIdempotent = isIdempotent;
    this.#body = body;
    this.#most = most;
    this.#done = done;
    this.#failed = failed;
    this.#timer = setTimeout(() => this.#fail(STATUS.timedOut, `no complete response within ${timeout} ms`), timeout);
  }

  /** `agent`: the connection pool; false: a new connection; undefined: one by `createConnection`. */
  send(agent: Agent | false | undefined): void {
    const options = { ...this.#options, ...(agent !== undefined && { agent }) };
    const request = this.#isSecure ? loadHttps().request(options) : http.request(options);
    this.#sent = request;
    let read = 0;
    request.on("socket", (socket) => {
      read = socket.bytesRead;
    });
    request.on("error", (error) => {
      if (this.#mayRepeat(request, error, read)) this.send(false);
      else this.#fail(STATUS.unreachable, causeOf(error));
    });
    // It closes without an error if the origin switches protocols.
    request.on("close", () => {
      if (request === this.#sent) this.#fail(STATUS.unreachable, "the connection was closed without a response");
    });
    request.on("response", (response) => this.#read(response));
    request.end(this.#body.length > 0 ? this.#body : undefined);
  }

  /** The origin closed an idle connection meanwhile (RFC 9112 section 9.3.1): retried once if idempotent. */
  #mayRepeat({ reusedSocket, socket }: ClientRequest, { code }: NodeJS.ErrnoException, read: number): boolean {
    const isStale = reusedSocket && (code === "ECONNRESET" || code === "EPIPE") && socket?.bytesRead === read;
    return isStale && this.#isIdempotent && this.#done !== null;
  }

  #read(response: IncomingMessage): void {
    const chunks: Buffer[] = [];
    let size = 0;
    response.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > this.#most) this.#fail(STATUS.tooLarge, `the response has more than ${this.#most} bytes`);
      else chunks.push(chunk);
    });
    response.on("error", (error) => this.#fail(STATUS.unreachable, causeOf(error)));
    response.on("end", () => {
      const head = writeHead(response);
      if (head === null) this.#fail(STATUS.unreachable, "the response headers are invalid");
      else this.#end({ head, body: Buffer.concat(chunks) });
    });
  }

  #fail(status: number, cause: string): void {
    if (this.#done !== null) this.#failed(cause);
    this.#end(status);
  }

  cancel(): void {
    this.#done = null;
    this.#end(STATUS.unreachable);
  }

  #end(result: FetchResponse | number): void {
    clearTimeout(this.#timer);
    const done = this.#done;
    this.#done = null;
    done?.(result);
    if (typeof result === "number") this.#sent?.destroy();
  }
}

/** Sends a request to the endpoint under check on a new connection, outside of pools, counters and averages. */
function fetchFromEndpoint(
  { address, host, port, path, tls, proxyHeader }: EndpointTarget,
  request: FetchRequest,
  { done, onFailure }: { readonly done: Done; readonly onFailure: OnFailure },
): () => void {
  const place = path === "" ? { host, port } : { socketPath: path };
  const createConnection = () => {
    if (tls !== null) return tlsClient(tls).connect({ host, port, path }, undefined, undefined, proxyHeader);
    const socket = connect(path === "" ? { host, port } : { path });
    if (proxyHeader !== null) socket.write(proxyHeader);
    return socket;
  };
  const where = tls === null && proxyHeader === null ? place : { ...place, createConnection };
  const failed = (cause: string) => onFailure(address, cause);
  const sent = new PluginFetcher({ where, isSecure: false }, request, { done, failed });
  sent.send(tls === null ? false : undefined);
  return () => sent.cancel();
}

/** Sends the subrequests of one version's plugins. */
export class Outgoing implements Fetcher {
  readonly #pipeline: Pipeline;
  readonly #origins: Origins;
  /** Set when the version is built. */
  snapshot: Snapshot | null = null;

  constructor(pipeline: Pipeline, origins: Origins) {
    this.#pipeline = pipeline;
    this.#origins = origins;
  }

  send(request: FetchRequest, done: Done): () => void {
    const { onFailure } = this.#origins;
    if (request.endpoint !== null) return fetchFromEndpoint(request.endpoint, request, { done, onFailure });
    if (!request.target.startsWith(CLUSTER)) return this.#origins.fetch(request, done);
    const name = request.target.slice(CLUSTER.length);
    const { snapshot } = this;
    const cluster = snapshot?.clusters.find(({ plan }) => plan.name === name);
    if (snapshot === null || cluster === undefined) {
      done(STATUS.unreachable);
      return () => {};
    }
    return sendSubrequest(this.#pipeline, request, { snapshot, cluster: cluster.index }, done);
  }

  probe(request: ProbeRequest, done: (result: Buffer | number) => void): () => void {
    return probeEndpoint(request, done, (cause) => this.#origins.onFailure(request.endpoint.address, cause));
  }
}

/** Converts a checked head to the options of Node's client. */
function readHead(bytes: Buffer, bodySize: number) {
  const head = new Head();
  scanRequest(bytes, 0, bytes.length, head, LIMITS);
  const headers: string[] = [];
  for (let i = 0; i < head.count; i++)
    if (head.fields[i * FIELD_WORDS + NAME_ID]! < NAME.lookalike) headers.push(head.nameText(i), head.valueText(i));
  if (bodySize > 0) headers.push("content-length", String(bodySize));
  const query = head.parts[PART.query]! === 0 ? "" : `?${head.partText(PART.query)}`;
  return {
    method: head.partText(PART.method),
    path: `${head.partText(PART.path)}${query}`,
    headers,
    isIdempotent: isIdempotent(head),
  };
}

/** Why a request failed. Of an unknown authority, how to add it, not Node's advice. */
function causeOf({ message, code, reason }: NodeJS.ErrnoException & { readonly reason?: string }): string {
  const text = message.replace(/; if the root CA .*$/, "; expected a public authority, or a cluster with its `tls.ca`");
  // That of several addresses has no message.
  return reason ?? (text || (code ?? "unknown error"));
}

/** Scans the response head like one of an endpoint, so that plugins read both alike; null if it is invalid. */
function writeHead({ statusCode, rawHeaders }: IncomingMessage): Head | null {
  let text = `HTTP/1.1 ${statusCode} \r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (!/^(transfer-encoding|connection|keep-alive)$/i.test(rawHeaders[i]!))
      text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  const bytes = Buffer.from(`${text}\r\n`, "latin1");
  const head = new Head();
  return scanResponse(bytes, 0, bytes.length, head, false) === bytes.length ? head : null;
}
