/**
 * The admin interface: health, metrics, state, reload. It has no password and is kept on loopback, so a web page in a
 * browser of this machine must not reach it: names that are not this machine's are refused (DNS rebinding), and what
 * changes something needs a request of the interface's own origin (cross-site request forgery).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { Address } from "../config/schema.ts";
import type { ClusterStatus, PluginStatus, Status } from "../control/status.ts";
import type { TraceList } from "../control/traces.ts";
import type { Log } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import { renderPage } from "./page.ts";

export type AdminOptions = {
  readonly address: Address;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly status: () => Status;
  /** The configuration in service, as written: variables are not expanded, so their values are not shown. */
  readonly config: () => object | null;
  readonly clusters: () => readonly ClusterStatus[];
  readonly plugins: () => readonly PluginStatus[];
  readonly reload: () => Promise<{ readonly result: string }>;
  /** A dry run of a request as it was sent here. */
  readonly explain: (request: unknown) => Promise<{ readonly trace: object } | { readonly problem: string }>;
  readonly traces: { list(): TraceList; get(id: string): object | null };
};

export type AdminServer = { readonly url: string; close(): Promise<void> };

type Answer = { readonly status: number; readonly type: string; readonly body: string; readonly allow?: string };
type Call = {
  /** What stands for the last part of the path, where that is any. */
  readonly name: string;
  /** The request's body as JSON. @throws BadBody */
  readonly body: () => Promise<unknown>;
};
type Handler = (options: AdminOptions, call: Call) => Answer | Promise<Answer>;

class BadBody extends Error {}
const MAX_BODY = 2 * 1024 * 1024;

const HTML = "text/html; charset=utf-8";

const ROUTES: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  "/": {
    GET: ({ status, clusters, plugins }) => ({
      status: 200,
      type: HTML,
      body: renderPage({ status: status(), clusters: clusters(), plugins: plugins() }),
    }),
  },
  "/health": { GET: () => json(200, { alive: true }) },
  "/ready": { GET: ({ status }) => describeReady(status()) },
  "/metrics": {
    GET: async ({ metrics }) => ({ status: 200, type: metrics.contentType, body: await metrics.render() }),
  },
  "/api/v1/status": { GET: ({ status }) => json(200, status()) },
  "/api/v1/config": { GET: ({ config }) => json(200, config() ?? {}) },
  "/api/v1/clusters": { GET: ({ clusters }) => json(200, clusters()) },
  "/api/v1/plugins": { GET: ({ plugins }) => json(200, plugins()) },
  "/api/v1/traces": { GET: ({ traces }) => json(200, traces.list()) },
  "/api/v1/traces/*": {
    GET: ({ traces }, { name: id }) => {
      const found = traces.get(id);
      return found === null ? json(404, { error: `there is no trace ${id}` }) : json(200, found);
    },
  },
  "/api/v1/explain": {
    POST: async ({ explain }, { body }) => {
      const outcome = await explain(await body());
      return json("problem" in outcome ? 400 : 200, "problem" in outcome ? { error: outcome.problem } : outcome.trace);
    },
  },
  "/api/v1/reload": { POST: async ({ reload }) => describeReload(await reload()) },
};

/** @throws Error naming the address when it cannot be had. */
export async function startAdmin(options: AdminOptions): Promise<AdminServer> {
  const { address } = options;
  const server = createServer({ requestTimeout: 30_000 }, (request, response) => {
    handle(options, request, response).catch((error: unknown) => {
      options.log.error({ err: error, url: request.url }, "admin request failed");
      if (!response.headersSent) send(response, json(500, { error: "internal error" }));
      else response.destroy();
    });
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (error: NodeJS.ErrnoException) => {
    const why = error.code === "EADDRINUSE" ? "address already in use" : error.message;
    reject(new Error(`admin: cannot listen at ${address.text}: ${why}`, { cause: error }));
  });
  if (address.path === "")
    server.listen({ port: address.port, ...(address.host !== "" && { host: address.host }) }, resolve);
  else server.listen({ path: address.path }, resolve);
  await promise;
  server.on("error", (error) => options.log.error({ err: error }, "admin interface failed"));
  return { url: urlOf(server, address), close: () => closeServer(server) };
}

async function handle(options: AdminOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  send(response, await answer(options, request));
  // A body that nobody asked for is read and thrown away.
  request.resume();
}

async function answer(options: AdminOptions, request: IncomingMessage): Promise<Answer> {
  const refusal = checkHost(options.address, request) ?? checkOrigin(request);
  if (refusal !== null) return json(403, { error: refusal });
  const path = (request.url ?? "/").split("?", 1)[0]!;
  const { handlers, name } = findHandlers(path);
  if (handlers === undefined) return json(404, { error: `there is no ${path}` });
  const method = request.method === "HEAD" ? "GET" : (request.method ?? "");
  const handler = Object.hasOwn(handlers, method) ? handlers[method]! : undefined;
  const allow = Object.keys(handlers).join(", ");
  if (handler === undefined) return { ...json(405, { error: `${path} takes ${allow}` }), allow };
  try {
    return await handler(options, { name, body: () => readBody(request) });
  } catch (error) {
    if (error instanceof BadBody) return json(400, { error: error.message });
    throw error;
  }
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw new BadBody(`the body is over the limit of ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new BadBody(`the body is no JSON: ${(error as Error).message}`);
  }
}

function findHandlers(path: string): { handlers: (typeof ROUTES)[string] | undefined; name: string } {
  if (Object.hasOwn(ROUTES, path)) return { handlers: ROUTES[path], name: "" };
  const end = path.lastIndexOf("/") + 1;
  const any = `${path.slice(0, end)}*`;
  return { handlers: Object.hasOwn(ROUTES, any) ? ROUTES[any] : undefined, name: path.slice(end) };
}

/** A page that has its own name point at this machine still says that name. */
function checkHost(address: Address, request: IncomingMessage): string | null {
  if (address.path !== "") return null;
  const name = nameOf(request.headers.host ?? "");
  if (isIP(name) !== 0 || name === "localhost" || name === address.host || name === hostname().toLowerCase())
    return null;
  return `the host ${name || "(none)"} is not this machine's`;
}

function checkOrigin(request: IncomingMessage): string | null {
  if (request.method === "GET" || request.method === "HEAD") return null;
  const { origin, host } = request.headers;
  if (origin !== undefined && origin !== `http://${host}`) return `a request from ${origin} may not change anything`;
  const type = request.headers["content-type"];
  if (type !== undefined && !/^application\/json\s*(;|$)/i.test(type))
    return `content type ${type}, expected application/json`;
  return null;
}

/** The host of `Host`, without port and brackets. */
function nameOf(host: string): string {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::\d+)?$/.exec(host.toLowerCase());
  return match?.[1] ?? match?.[2] ?? "";
}

function describeReady(status: ReturnType<AdminOptions["status"]>): Answer {
  const { ready, draining, version, quarantined } = status;
  // A plugin in quarantine is one plugin's affair: taking the whole proxy out of service would stop all others.
  return json(ready ? 200 : 503, { ready, draining, version, quarantined });
}

function describeReload(outcome: { readonly result: string }): Answer {
  return json(outcome.result === "rejected" ? 422 : 200, outcome);
}

function json(status: number, value: object): Answer {
  return { status, type: "application/json; charset=utf-8", body: `${JSON.stringify(value, null, 2)}\n` };
}

function send(response: ServerResponse, { status, type, body, allow }: Answer): void {
  response.writeHead(status, {
    ...(allow !== undefined && { allow }),
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  });
  response.end(body);
}

function urlOf(server: Server, address: Address): string {
  const bound = server.address();
  if (bound === null || typeof bound === "string") return address.text;
  const host = address.host === "" ? "127.0.0.1" : bound.family === "IPv6" ? `[${bound.address}]` : bound.address;
  return `http://${host}:${bound.port}`;
}

function closeServer(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeAllConnections();
  return promise;
}
