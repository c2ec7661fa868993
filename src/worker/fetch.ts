/**
 * Requests of plugins: to a cluster through the proxy, to an allowed origin through Node's own client, with its
 * connections kept. Redirects are not followed; proxies of the environment are not used.
 */
import type { Agent, ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { STATUS } from "../abi/abi.ts";
import { FIELD_WORDS, Head, NAME, NAME_END, NAME_ID, NAME_START, PART, VALUE_END, VALUE_START } from "../http/head.ts";
import { isIdempotent } from "../http/method.ts";
import { scanRequest, scanResponse } from "../http1/scan.ts";
import type { Fetcher, FetchRequest, FetchResponse, ProbeRequest } from "../plugin/host/fetcher.ts";
import type { EndpointTarget } from "../plugin/host/hook-context.ts";
import type { Pipeline } from "../proxy/pipeline.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import { sendSubrequest } from "../proxy/subrequest.ts";
import { probeEndpoint } from "./endpoint-probe.ts";

// By an import every worker would load Node's `fetch` and HTTP/2 with it, and its TLS though no plugin uses it.
const http = process.getBuiltinModule("node:http");
const loadHttps = () => process.getBuiltinModule("node:https");

const CLUSTER = "cluster:";
const CONNECTIONS = 64;
const LIMITS = { head: 128 * 1024, target: 64 * 1024, headers: 500 };

type Done = (answer: FetchResponse | number) => void;

/** One for the thread, over all versions. */
export class Origins {
  readonly #plain = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  #secure: Agent | null = null;

  fetch(request: FetchRequest, done: Done): () => void {
    const { protocol, hostname, port } = new URL(request.target);
    const isSecure = protocol === "https:";
    const where = {
      host: hostname.replace(/^\[|\]$/g, ""),
      port: port === "" ? (isSecure ? 443 : 80) : Number(port),
    };
    const asked = new PluginFetcher({ where, isSecure }, request, done);
    asked.send(isSecure ? this.#secureAgent() : this.#plain);
    return () => asked.cancel();
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

/** Where a request goes. */
type Destination = { readonly where: RequestOptions; readonly isSecure: boolean };

/** One request: sent twice at most, told once. */
class PluginFetcher {
  readonly #isSecure: boolean;
  readonly #options: RequestOptions;
  readonly #isIdempotent: boolean;
  readonly #body: Buffer;
  readonly #most: number;
  readonly #timer: NodeJS.Timeout;
  #done: Done | null;
  #sent: ClientRequest | null = null;

  constructor({ where, isSecure }: Destination, { head, body, timeout, most }: FetchRequest, done: Done) {
    const { isIdempotent, ...parts } = readHead(head, body.length);
    this.#isSecure = isSecure;
    this.#options = { ...parts, ...where, setHost: false };
    this.#isIdempotent = isIdempotent;
    this.#body = body;
    this.#most = most;
    this.#done = done;
    this.#timer = setTimeout(() => this.#end(STATUS.timedOut), timeout);
  }

  /** `agent`: whose connections it may use; false: one of its own. */
  send(agent: Agent | false): void {
    const options = { ...this.#options, agent };
    const request = this.#isSecure ? loadHttps().request(options) : http.request(options);
    this.#sent = request;
    let read = 0;
    request.on("socket", (socket) => {
      read = socket.bytesRead;
    });
    request.on("error", (error) => {
      if (this.#mayRepeat(request, error, read)) this.send(false);
      else this.#end(STATUS.unreachable);
    });
    // Without an error it closes when the origin switches protocols.
    request.on("close", () => {
      if (request === this.#sent) this.#end(STATUS.unreachable);
    });
    request.on("response", (response) => readResponse(response, this.#most, (answer) => this.#end(answer)));
    request.end(this.#body.length > 0 ? this.#body : undefined);
  }

  /** A kept connection that closes as the request arrives is nobody's failure (RFC 9112 section 9.3.1). */
  #mayRepeat({ reusedSocket, socket }: ClientRequest, { code }: NodeJS.ErrnoException, read: number): boolean {
    const isStale = reusedSocket && (code === "ECONNRESET" || code === "EPIPE") && socket?.bytesRead === read;
    return isStale && this.#isIdempotent && this.#done !== null;
  }

  cancel(): void {
    this.#done = null;
    this.#end(STATUS.unreachable);
  }

  #end(answer: FetchResponse | number): void {
    clearTimeout(this.#timer);
    const done = this.#done;
    this.#done = null;
    done?.(answer);
    if (typeof answer === "number") this.#sent?.destroy();
  }
}

/** To the endpoint under check, on a connection of its own: no pool, no count and no average of the traffic knows of it. */
function fetchFromEndpoint({ host, port, path }: EndpointTarget, request: FetchRequest, done: Done): () => void {
  const where = path === "" ? { host, port } : { socketPath: path };
  const asked = new PluginFetcher({ where, isSecure: false }, request, done);
  asked.send(false);
  return () => asked.cancel();
}

/** The requests of one version's plugins. */
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
    if (request.endpoint !== null) return fetchFromEndpoint(request.endpoint, request, done);
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

  probe(request: ProbeRequest, done: (answer: Buffer | number) => void): () => void {
    return probeEndpoint(request, done);
  }
}

/** A head that was checked, as Node's client wants it. */
function readHead(bytes: Buffer, bodySize: number) {
  const head = new Head();
  scanRequest(bytes, 0, bytes.length, head, LIMITS);
  const headers: string[] = [];
  for (let at = 0; at < head.count * FIELD_WORDS; at += FIELD_WORDS) {
    if (head.fields[at + NAME_ID]! >= NAME.lookalike) continue;
    headers.push(head.text(head.fields[at + NAME_START]!, head.fields[at + NAME_END]!));
    headers.push(head.text(head.fields[at + VALUE_START]!, head.fields[at + VALUE_END]!));
  }
  if (bodySize > 0) headers.push("content-length", String(bodySize));
  const query = head.parts[PART.query]! === 0 ? "" : `?${head.partText(PART.query)}`;
  return {
    method: head.partText(PART.method),
    path: `${head.partText(PART.path)}${query}`,
    headers,
    isIdempotent: isIdempotent(head),
  };
}

function readResponse(response: IncomingMessage, most: number, end: Done): void {
  const chunks: Buffer[] = [];
  let size = 0;
  response.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > most) end(STATUS.tooLarge);
    else chunks.push(chunk);
  });
  response.on("error", () => end(STATUS.unreachable));
  response.on("end", () => {
    const head = writeHead(response);
    end(head === null ? STATUS.unreachable : { head, body: Buffer.concat(chunks) });
  });
}

/** As the proxy's own reader has it, so that plugins read all answers alike; null for one that it refuses. */
function writeHead({ statusCode, rawHeaders }: IncomingMessage): Head | null {
  let text = `HTTP/1.1 ${statusCode} \r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (!/^(transfer-encoding|connection|keep-alive)$/i.test(rawHeaders[i]!))
      text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  const bytes = Buffer.from(`${text}\r\n`, "latin1");
  const head = new Head();
  return scanResponse(bytes, 0, bytes.length, head, false) === bytes.length ? head : null;
}
