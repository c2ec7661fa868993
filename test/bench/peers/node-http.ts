/** A proxy as Node's documentation would have it: `http.request` for each request, both bodies piped. */
import { Agent, createServer, request } from "node:http";
import { REMOVED_HEADER, ROUTE_HEADER, SET_HEADER, SET_VALUE } from "../site.ts";
import { readArguments } from "./arguments.ts";

const { work, port, groups } = readArguments();
const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 256 });
const chain = work === "chain";
let turn = 0;

const server = createServer({ keepAliveTimeout: 3_600_000 }, (req, res) => {
  const headers = req.headers;
  const group = chain && headers[ROUTE_HEADER] === "1" ? groups.canary : groups.app;
  delete headers.connection;
  headers.via = "1.1 node";
  headers["x-forwarded-for"] = req.socket.remoteAddress ?? "";
  headers["x-forwarded-proto"] = "http";
  headers["x-forwarded-host"] = headers.host ?? "";
  if (chain) headers[SET_HEADER] = SET_VALUE;
  const [host, at] = group[turn++ % group.length]!.split(":");
  const options = { agent, host, port: at, method: req.method, path: req.url, headers };
  const forwarded = request(options, (response) => {
    const edited = response.headers;
    delete edited.connection;
    if (chain) delete edited[REMOVED_HEADER];
    res.writeHead(response.statusCode ?? 502, edited);
    response.pipe(res);
  });
  forwarded.on("error", () => res.destroy());
  req.pipe(forwarded);
});
server.listen(port, "127.0.0.1", 4096);
