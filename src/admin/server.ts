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
};

export type AdminServer = { readonly url: string; close(): Promise<void> };

type Answer = { readonly status: number; readonly type: string; readonly body: string; readonly allow?: string };
type Handler = (options: AdminOptions) => Answer | Promise<Answer>;

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
  // A body is not asked for anywhere; it is read and thrown away.
  request.resume();
  send(response, await answer(options, request));
}

async function answer(options: AdminOptions, request: IncomingMessage): Promise<Answer> {
  const refusal = checkHost(options.address, request) ?? checkOrigin(request);
  if (refusal !== null) return json(403, { error: refusal });
  const path = (request.url ?? "/").split("?", 1)[0]!;
  const handlers = Object.hasOwn(ROUTES, path) ? ROUTES[path]! : undefined;
  if (handlers === undefined) return json(404, { error: `there is no ${path}` });
  const method = request.method === "HEAD" ? "GET" : (request.method ?? "");
  const handler = Object.hasOwn(handlers, method) ? handlers[method]! : undefined;
  const allow = Object.keys(handlers).join(", ");
  if (handler === undefined) return { ...json(405, { error: `${path} takes ${allow}` }), allow };
  return handler(options);
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
