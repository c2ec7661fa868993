/** bandwidth-is-limited: connections, clients and routes are not faster than configured, and nothing is buffered for it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createHttp2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { request as requestTls } from "node:https";
import { type AddressInfo, connect, createServer } from "node:net";
import { after } from "node:test";
import { Authority } from "../support/certificates.ts";
import { openSession, request as requestHttp2 } from "./http2.ts";
import { atEnd, bounded, type LiveTest, startSluice, testInEachMode, until } from "./program.ts";

const authority = new Authority();
authority.issue("site");
after(() => authority.remove());

const KIB = 1024;
const RATE = 512 * KIB;
const SIZE = 768 * KIB;
/** Within what is sent or read before it is charged. */
const SHORT = 48 * KIB;
/** A bucket has a quarter of a second's bytes, and the last reads or writes are not waited for. */
const leastTime = (bytes: number): number => ((bytes - RATE / 4 - 128 * KIB) / RATE) * 1000;

async function startApp(t: LiveTest): Promise<{ port: number; responses: ServerResponse[] }> {
  const responses: ServerResponse[] = [];
  const server = createHttpServer((incoming: IncomingMessage, response) => {
    if (incoming.url === "/huge") {
      responses.push(response);
      response.on("error", () => undefined).write(Buffer.alloc(64 * KIB * KIB));
      return;
    }
    let size = 0;
    incoming.on("data", (data: Buffer) => {
      size += data.length;
    });
    incoming.on("end", () =>
      response.end(
        incoming.method === "POST" ? String(size) : Buffer.alloc(incoming.url === "/short" ? SHORT : SIZE, "x"),
      ),
    );
  });
  atEnd(t, () => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return { port: (server.address() as AddressInfo).port, responses };
}

/** The same over HTTP/2 with prior knowledge. */
async function startHttp2App(t: LiveTest): Promise<number> {
  const server = createHttp2Server();
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    let size = 0;
    stream.on("data", (data: Buffer) => {
      size += data.length;
    });
    stream.on("end", () => {
      stream.respond({ ":status": 200 });
      stream.end(headers[":method"] === "POST" ? String(size) : Buffer.alloc(SIZE, "x"));
    });
  });
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => sessions.add(session));
  atEnd(t, () => {
    server.close();
    for (const session of sessions) session.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

/** Sends what it receives back. */
async function startEcho(t: LiveTest): Promise<number> {
  const server = createServer((socket) => void socket.on("error", () => undefined).pipe(socket));
  atEnd(t, () => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

async function download(port: number, path = "/"): Promise<number> {
  const [response] = await once(request({ port, host: "127.0.0.1", path, agent: false }).end(), "response");
  return Buffer.concat(await response.toArray()).length;
}

async function upload(port: number, path = "/", size = SIZE): Promise<number> {
  const sent = request({ port, host: "127.0.0.1", path, method: "POST", agent: false }).end(Buffer.alloc(size, "x"));
  const [response] = await once(sent, "response");
  return Number((await response.toArray()).join(""));
}

/** A response, or what an endpoint has received of a request, over TLS. */
async function secured(port: number, method: "GET" | "POST"): Promise<number> {
  const options = { port, host: "127.0.0.1", method, agent: false, rejectUnauthorized: false } as const;
  const sent = requestTls(options).end(method === "POST" ? Buffer.alloc(SIZE, "x") : undefined);
  const [response] = await once(sent, "response");
  const body = Buffer.concat(await response.toArray());
  return method === "POST" ? Number(body) : body.length;
}

async function echo(port: number, length = SIZE): Promise<number> {
  const socket = connect(port, "127.0.0.1");
  socket.end(Buffer.alloc(length, "x"));
  let size = 0;
  socket.on("data", (data: Buffer) => {
    size += data.length;
  });
  await once(socket, "close");
  return size;
}

testInEachMode("a connection, a client's connections together, and a route's together are limited", async (t) => {
  const app = await startApp(t);
  const echoPort = await startEcho(t);
  const http2Port = await startHttp2App(t);
  const names = ["client", "route", "http2", "relay", "tls", "lines"];
  const sluice = await startSluice(
    t,
    (ports) => `
listeners:
  web: { address: "127.0.0.1:${ports.web}", cluster: app, limits: { bandwidth: 512KiB/s } }
  client: { address: "127.0.0.1:${ports.client}", cluster: app, limits: { bandwidth: { client: 512KiB/s } } }
  route: { address: "127.0.0.1:${ports.route}", routes: [{ match: { path: /free }, cluster: app }, { cluster: app, bandwidth: 512KiB/s }] }
  tls:
    address: 127.0.0.1:${ports.tls}
    tls: { certificates: [{ cert: ./site.pem, key: ./site.key }] }
    limits: { bandwidth: 512KiB/s }
    cluster: app
  relay: { address: "127.0.0.1:${ports.relay}", protocol: tcp, cluster: echo, limits: { bandwidth: 512KiB/s } }
  lines: { address: "127.0.0.1:${ports.lines}", protocol: tcp, routes: [{ cluster: echo, bandwidth: 512KiB/s }] }
  http2: { address: "127.0.0.1:${ports.http2}", routes: [{ cluster: http2, bandwidth: 512KiB/s }] }
clusters:
  app: [127.0.0.1:${app.port}]
  echo: [127.0.0.1:${echoPort}]
  http2: { protocol: http2, endpoints: [127.0.0.1:${http2Port}] }
`,
    {
      ports: names,
      workers: 2,
      files: { "site.pem": authority.read("site.pem"), "site.key": authority.read("site.key") },
    },
  );
  const { web, client, route, relay, http2, tls, lines } = sluice.ports as Record<string, number>;
  const timed = async (what: string, run: () => Promise<unknown>, most = SIZE): Promise<void> => {
    const started = performance.now();
    const received = await bounded(run(), what, 60_000);
    assert.equal(received, most, what);
    const took = performance.now() - started;
    assert.ok(took >= leastTime(most), `${what} took ${took} ms, at least ${leastTime(most)} ms were expected`);
  };
  const session = await openSession(t, `http://127.0.0.1:${web}`);
  const streams = async (): Promise<number> => {
    const both = [1, 2].map(() => requestHttp2(session, { ":path": "/" }));
    return (await Promise.all(both)).reduce((sum, { body }) => sum + body.length, 0);
  };
  const two = async (run: () => Promise<number>): Promise<number> => (await run()) + (await run());
  const half = (run: () => Promise<number>) => async (): Promise<number> => {
    const all = await Promise.all([run(), run()]);
    return all[0]! + all[1]!;
  };
  await Promise.all([
    timed("a response", () => download(web!)),
    timed("an upload", () => upload(web!)),
    timed("streams of HTTP/2", streams, 2 * SIZE),
    timed("a response over TLS", () => secured(tls!, "GET")),
    timed("an upload over TLS", () => secured(tls!, "POST")),
    timed("TCP", () => echo(relay!)),
    timed(
      "two connections of a client",
      half(() => download(client!)),
      2 * SIZE,
    ),
    timed("requests of a route", () => two(() => download(route!)), 2 * SIZE),
    timed("an upload of a route", () => upload(route!)),
    timed("a response of an HTTP/2 endpoint", () => download(http2!)),
    timed("an upload to an HTTP/2 endpoint", () => upload(http2!)),
    download(route!, "/free"),
  ]);
  const short = async (run: () => Promise<unknown>): Promise<number> => {
    for (let i = 0; i < 10; i++) await run();
    return 10 * SHORT;
  };
  const uploads = (port: number) => short(() => upload(port, "/", SHORT));
  // What the others have left in debt only adds to the time.
  await Promise.all([
    timed("short responses to a client", () => short(() => download(client!, "/short")), 10 * SHORT),
    timed("short uploads of a client", () => uploads(client!), 10 * SHORT),
    timed("short responses of a route", () => short(() => download(route!, "/short")), 10 * SHORT),
    timed("short uploads to an HTTP/2 endpoint", () => uploads(http2!), 10 * SHORT),
    timed("short TCP connections", () => short(() => echo(lines!, SHORT)), 10 * SHORT),
  ]);
  for (const limit of ["connection", "client", "route"])
    assert.ok((await sluice.metric("sluice_bandwidth_pauses_total", { limit })) > 0, limit);
  const line = await sluice.logged(
    ({ event, limit }) => event === "bandwidth_limited" && limit === "client",
    "a pause",
  );
  assert.deepEqual([line.listener, line.client], ["client", "127.0.0.1"]);

  // The endpoint is not read ahead of a slow limit: most of its response stays with it.
  const socket = connect(web!, "127.0.0.1");
  atEnd(t, () => socket.destroy());
  let received = 0;
  socket.on("data", (data: Buffer) => {
    received += data.length;
  });
  socket.write("GET /huge HTTP/1.1\r\nhost: a\r\n\r\n");
  await until(() => received > RATE, "a second's bytes");
  assert.ok(app.responses[0]!.socket!.writableLength > 32 * KIB * KIB, "the rest waits at the endpoint");
});
