/** `node:http` in, undici out by its lowest interface, which builds no objects for each response but the headers. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type Dispatcher, Pool } from "undici";
import { REMOVED_HEADER, ROUTE_HEADER, SET_HEADER, SET_VALUE } from "../site.ts";
import { readArguments } from "./arguments.ts";

const { work, port, groups } = readArguments();
const chain = work === "chain";
const poolsOf = (addresses: readonly string[]): Pool[] =>
  addresses.map((address) => new Pool(`http://${address}`, { connections: 256, keepAliveTimeout: 600_000 }));
const app = poolsOf(groups.app);
const canary = poolsOf(groups.canary);
let turn = 0;

class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  onRequestStart(): void {}

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingMessage["headers"]): void {
    delete headers.connection;
    if (chain) delete headers[REMOVED_HEADER];
    this.#response.writeHead(status, headers);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#response.write(chunk)) return;
    controller.pause();
    this.#response.once("drain", () => controller.resume());
  }

  onResponseEnd(): void {
    this.#response.end();
  }

  onResponseError(): void {
    this.#response.destroy();
  }
}

const server = createServer({ keepAliveTimeout: 3_600_000 }, (req, res) => {
  const headers = req.headers;
  const group = chain && headers[ROUTE_HEADER] === "1" ? canary : app;
  delete headers.connection;
  headers.via = "1.1 undici";
  headers["x-forwarded-for"] = req.socket.remoteAddress ?? "";
  headers["x-forwarded-proto"] = "http";
  headers["x-forwarded-host"] = headers.host ?? "";
  if (chain) headers[SET_HEADER] = SET_VALUE;
  const bare = req.method === "GET" || req.method === "HEAD";
  const method = (req.method ?? "GET") as Dispatcher.HttpMethod;
  const pool = group[turn++ % group.length];
  pool?.dispatch({ method, path: req.url ?? "/", headers, body: bare ? null : req }, new Relay(res));
});
server.listen(port, "127.0.0.1", 4096);
