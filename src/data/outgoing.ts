/**
 * Requests of plugins: to a cluster through the proxy, to an allowed origin through Node's own client, with its
 * connections kept. Redirects are not followed; proxies of the environment are not used.
 */
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Endpoint } from "../balance/endpoint.ts";
import { FIELD_WORDS, Head, NAME, NAME_END, NAME_ID, NAME_START, PART, VALUE_END, VALUE_START } from "../http/head.ts";
import { scanRequest, scanResponse } from "../http/scan.ts";
import { STATUS } from "../plugin/abi.ts";
import type { FetchAnswer, Fetcher, FetchRequest, ProbeRequest } from "../plugin/fetcher.ts";
import type { Pipeline } from "../proxy/pipeline.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import { probeEndpoint } from "./endpoint-probe.ts";

const CLUSTER = "cluster:";
const CONNECTIONS = 64;
const LIMITS = { head: 128 * 1024, target: 64 * 1024, headers: 500 };

type Tell = (answer: FetchAnswer | number) => void;

/** One for the thread, over all versions. */
export class Origins {
  readonly #agents = {
    "http:": new HttpAgent({ keepAlive: true, maxSockets: CONNECTIONS }),
    "https:": new HttpsAgent({ keepAlive: true, maxSockets: CONNECTIONS }),
  };

  ask(asked: FetchRequest, tell: Tell): () => void {
    const { protocol, hostname, port } = new URL(asked.target);
    const secure = protocol === "https:";
    const options: RequestOptions = {
      ...readHead(asked.head),
      host: hostname.replace(/^\[|\]$/g, ""),
      port: port === "" ? (secure ? 443 : 80) : Number(port),
      agent: this.#agents[secure ? "https:" : "http:"],
      setHost: false,
    };
    return exchange(secure ? httpsRequest(options) : httpRequest(options), asked, tell);
  }

  close(): void {
    this.#agents["http:"].destroy();
    this.#agents["https:"].destroy();
  }
}

/** To the endpoint under check, on a connection of its own: no pool, no count and no average of the traffic knows of it. */
function askEndpoint({ host, port, path }: Endpoint, asked: FetchRequest, tell: Tell): () => void {
  const where = path === "" ? { host, port } : { socketPath: path };
  return exchange(httpRequest({ ...readHead(asked.head), ...where, agent: false, setHost: false }), asked, tell);
}

/** Sends a request that was begun; what this returns gives it up. */
function exchange(request: ClientRequest, { body, timeout, most }: FetchRequest, tell: Tell): () => void {
  let told = false;
  const end = (answer: FetchAnswer | number): void => {
    clearTimeout(timer);
    if (!told) tell(answer);
    told = true;
    if (typeof answer === "number") request.destroy();
  };
  const timer = setTimeout(() => end(STATUS.timedOut), timeout);
  request.on("error", () => end(STATUS.unreachable));
  // Without an error it closes when the origin switches protocols.
  request.on("close", () => end(STATUS.unreachable));
  request.on("response", (response) => gather(response, most, end));
  request.end(body.length > 0 ? body : undefined);
  return () => {
    told = true;
    end(STATUS.unreachable);
  };
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

  ask(request: FetchRequest, tell: Tell): () => void {
    if (request.endpoint !== null) return askEndpoint(request.endpoint, request, tell);
    if (!request.target.startsWith(CLUSTER)) return this.#origins.ask(request, tell);
    const name = request.target.slice(CLUSTER.length);
    const { snapshot } = this;
    const cluster = snapshot?.clusters.find(({ plan }) => plan.name === name);
    if (snapshot === null || cluster === undefined) {
      tell(STATUS.unreachable);
      return () => {};
    }
    return this.#pipeline.ask(request, snapshot, cluster.index, tell);
  }

  probe(request: ProbeRequest, tell: (answer: Buffer | number) => void): () => void {
    return probeEndpoint(request, tell);
  }
}

/** A head that was checked, as Node's client wants it. */
function readHead(bytes: Buffer): { method: string; path: string; headers: string[] } {
  const head = new Head();
  scanRequest(bytes, 0, bytes.length, head, LIMITS);
  const headers: string[] = [];
  for (let at = 0; at < head.count * FIELD_WORDS; at += FIELD_WORDS) {
    if (head.fields[at + NAME_ID]! >= NAME.lookalike) continue;
    headers.push(head.text(head.fields[at + NAME_START]!, head.fields[at + NAME_END]!));
    headers.push(head.text(head.fields[at + VALUE_START]!, head.fields[at + VALUE_END]!));
  }
  const query = head.parts[PART.query]! === 0 ? "" : `?${head.partText(PART.query)}`;
  return { method: head.partText(PART.method), path: `${head.partText(PART.path)}${query}`, headers };
}

function gather(response: IncomingMessage, most: number, end: Tell): void {
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
