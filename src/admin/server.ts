/**
 * The admin interface: health, metrics, state, reload. Metrics and health can have a separate address, which serves
 * only these. Access control: `access.ts`.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { type Address, isLoopback } from "../config/schema.ts";

import type { Log } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import { type Access, checkAccess, checkHost, type Denial } from "./access.ts";
import type * as api from "./api.ts";
import { renderPage } from "./page.ts";

// An import would load Node's `fetch` and HTTP/2 with it.
const { createServer } = process.getBuiltinModule("node:http");

export type AdminOptions = {
  /** Address of the whole interface; null: disabled. */
  readonly address: Address | null;
  /** Separate address of metrics and health; null: none. */
  readonly metricsAddress: Address | null;
  /** Access settings of the current configuration. */
  readonly access: () => Access;
  /** Called for each request rejected because of its token, host or origin. */
  readonly onDenied: (client: string, reason: string) => void;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly status: () => api.Status;
  /** The configuration in service, as written: variables are not expanded, so their values are not shown. */
  readonly config: () => object | null;
  readonly listeners: () => readonly api.ListenerStatus[];
  readonly clusters: () => readonly api.ClusterStatus[];
  readonly plugins: () => readonly api.PluginStatus[];
  readonly tunnels: () => Promise<api.TunnelList>;
  readonly reload: () => Promise<{ readonly result: string }>;
  readonly changeEndpoint: (call: api.EndpointCall) => api.EndpointResult;
  /** Runs a dry run of the given request. */
  readonly explain: (request: unknown) => Promise<{ readonly trace: object } | { readonly problem: string }>;
  readonly traces: { list(): api.TraceList; get(id: string): object | null };
};

export type AdminServer = {
  /** `http://127.0.0.1:9901`; null if disabled. */
  readonly url: string | null;
  readonly metricsUrl: string | null;
  close(): Promise<void>;
};

type AdminResponse = {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly allow?: string;
  readonly challenge?: readonly string[];
};
type Call = {
  /** The path segments in place of `*`, decoded. */
  readonly names: readonly string[];
  /** The request's body as JSON. @throws InvalidBody */
  readonly body: () => Promise<unknown>;
};
type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>;
type Handler = (options: AdminOptions, call: Call) => AdminResponse | Promise<AdminResponse>;

class InvalidBody extends Error {}
const MAX_BODY = 2 * 1024 * 1024;

const HTML = "text/html; charset=utf-8";

/** Routes of the metrics address. */
const METRICS_ROUTES: Routes = {
  "/health": { GET: () => json(200, { alive: true }) },
  "/ready": { GET: ({ status }) => describeReady(status()) },
  "/metrics": {
    GET: async ({ metrics }) => ({ status: 200, type: metrics.contentType, body: await metrics.render() }),
  },
};

const ROUTES: Routes = {
  ...METRICS_ROUTES,
  "/": {
    GET: async ({ status, listeners, clusters, plugins, tunnels }) => ({
      status: 200,
      type: HTML,
      body: renderPage({
        status: status(),
        listeners: listeners(),
        clusters: clusters(),
        plugins: plugins(),
        tunnels: await tunnels(),
      }),
    }),
  },
  "/api/v1/status": { GET: ({ status }) => json(200, status()) },
  "/api/v1/config": { GET: ({ config }) => json(200, config() ?? {}) },
  "/api/v1/listeners": { GET: ({ listeners }) => json(200, listeners()) },
  "/api/v1/clusters": { GET: ({ clusters }) => json(200, clusters()) },
  "/api/v1/clusters/*/endpoints": { POST: changeEndpoint("POST") },
  "/api/v1/clusters/*/endpoints/*": { PATCH: changeEndpoint("PATCH"), DELETE: changeEndpoint("DELETE") },
  "/api/v1/plugins": { GET: ({ plugins }) => json(200, plugins()) },
  "/api/v1/tunnels": { GET: async ({ tunnels }) => json(200, await tunnels()) },
  "/api/v1/traces": { GET: ({ traces }) => json(200, traces.list()) },
  "/api/v1/traces/*": {
    GET: ({ traces }, { names: [id = ""] }) => {
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

/** @throws Error with the address if it cannot be bound. */
export async function startAdmin(options: AdminOptions): Promise<AdminServer> {
  const { address, metricsAddress } = options;
  const servers: Server[] = [];
  const start = async (name: string, at: Address | null, routes: Routes): Promise<string | null> => {
    if (at === null) return null;
    const server = makeServer(options, at, routes);
    await listen(server, at, name);
    server.on("error", (error) => options.log.error({ err: error }, "admin interface failed"));
    servers.push(server);
    return urlOf(server, at);
  };
  const close = async () => void (await Promise.all(servers.map(closeServer)));
  try {
    const url = await start("admin", address, ROUTES);
    const metricsUrl = await start("admin.metrics", metricsAddress, METRICS_ROUTES);
    return { url, metricsUrl, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function makeServer(options: AdminOptions, address: Address, routes: Routes): Server {
  return createServer({ requestTimeout: 30_000 }, (request, response) => {
    handle({ options, address, routes }, request, response).catch((error: unknown) => {
      options.log.error({ err: error, url: request.url }, "admin request failed");
      if (!response.headersSent) send(response, json(500, { error: "internal error" }));
      else response.destroy();
    });
  });
}

async function listen(server: Server, address: Address, name: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (error: NodeJS.ErrnoException) => {
    const why = error.code === "EADDRINUSE" ? "address already in use" : error.message;
    reject(new Error(`${name}: cannot listen at ${address.text}: ${why}`, { cause: error }));
  };
  server.once("error", fail);
  if (address.path === "")
    server.listen({ port: address.port, ...(address.host !== "" && { host: address.host }) }, resolve);
  else server.listen({ path: address.path }, resolve);
  await promise;
  server.off("error", fail);
}

type Served = { readonly options: AdminOptions; readonly address: Address; readonly routes: Routes };

async function handle(served: Served, request: IncomingMessage, response: ServerResponse): Promise<void> {
  send(response, await respond(served, request));
  // An unexpected body is read and discarded.
  request.resume();
}

async function respond({ options, address, routes }: Served, request: IncomingMessage): Promise<AdminResponse> {
  const path = (request.url ?? "/").split("?", 1)[0]!;
  const denial =
    routes === ROUTES
      ? checkAccess(request, path, options.access(), address)
      : checkMetricsAccess(request, options.access(), address);
  if (denial !== null) {
    options.onDenied(request.socket.remoteAddress ?? "", denial.reason);
    return {
      ...json(denial.status, { error: denial.reason }),
      ...(denial.challenge && { challenge: denial.challenge }),
    };
  }
  const { handlers, names } = findHandlers(routes, path);
  if (handlers === undefined) {
    const here = routes === ROUTES ? "" : `, only ${Object.keys(routes).join(", ")}: this is the address of metrics`;
    return json(404, { error: `there is no ${path}${here}` });
  }
  const method = request.method === "HEAD" ? "GET" : (request.method ?? "");
  const handler = Object.hasOwn(handlers, method) ? handlers[method]! : undefined;
  const allow = Object.keys(handlers).join(", ");
  if (handler === undefined) return { ...json(405, { error: `${path} takes ${allow}` }), allow };
  try {
    return await handler(options, { names, body: () => readBody(request) });
  } catch (error) {
    if (error instanceof InvalidBody) return json(400, { error: error.message });
    throw error;
  }
}

/** The metrics address needs no token; on loopback, requests of web pages are rejected. */
function checkMetricsAccess(request: IncomingMessage, access: Access, address: Address): Denial | null {
  return isLoopback(address) ? checkHost(request, access, address) : null;
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw new InvalidBody(`the body is over the limit of ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new InvalidBody(`invalid JSON body: ${(error as Error).message}`);
  }
}

function findHandlers(routes: Routes, path: string): { handlers: Routes[string] | undefined; names: string[] } {
  const segments = path.split("/");
  for (const [pattern, handlers] of Object.entries(routes)) {
    const names = matchPattern(pattern.split("/"), segments);
    if (names !== null) return { handlers, names };
  }
  return { handlers: undefined, names: [] };
}

/** The segments in place of `*`, decoded; null: the path does not match. */
function matchPattern(pattern: readonly string[], segments: readonly string[]): string[] | null {
  if (pattern.length !== segments.length) return null;
  const names: string[] = [];
  for (const [i, segment] of segments.entries())
    if (pattern[i] === "*") names.push(segment);
    else if (pattern[i] !== segment) return null;
  try {
    return names.map(decodeURIComponent);
  } catch {
    return null;
  }
}

/** Changes an endpoint; returns the endpoint as it is then, without one after DELETE. */
function changeEndpoint(method: api.EndpointCall["method"]): Handler {
  return async (options, { names: [cluster = "", address = ""], body }) => {
    const content = method === "DELETE" ? null : await body();
    const result = options.changeEndpoint({ method, cluster, address, body: content });
    if ("problem" in result) return json(result.status, { error: result.problem });
    const endpoints = options.clusters().find(({ name }) => name === cluster)?.endpoints ?? [];
    return json(result.status, endpoints.find((endpoint) => endpoint.address === result.address) ?? {});
  };
}

function describeReady(status: ReturnType<AdminOptions["status"]>): AdminResponse {
  const { ready, draining, version, quarantined } = status;
  // A quarantined plugin does not make the proxy unready: that would stop traffic that does not use it.
  return json(ready ? 200 : 503, { ready, draining, version, quarantined });
}

function describeReload(outcome: { readonly result: string }): AdminResponse {
  return json(outcome.result === "rejected" ? 422 : 200, outcome);
}

function json(status: number, value: object): AdminResponse {
  return { status, type: "application/json; charset=utf-8", body: `${JSON.stringify(value, null, 2)}\n` };
}

function send(response: ServerResponse, { status, type, body, allow, challenge }: AdminResponse): void {
  response.writeHead(status, {
    ...(allow !== undefined && { allow }),
    ...(challenge !== undefined && { "www-authenticate": [...challenge] }),
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
