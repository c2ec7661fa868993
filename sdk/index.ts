/**
 * The Sluice SDK: what a plugin in AssemblyScript may use.
 *
 * A plugin is one file that exports hooks by their names; `sluice plugin build` checks them:
 *
 *     configure(): void                      reads configuration; throw to refuse it
 *     onConnection(connection: Connection): void       a client has connected, and nothing was read
 *     onRequest(req: Request): void          the request's head, before a route is chosen or the upstream is asked
 *     route(req: Request): Cluster | null    names the cluster; null passes to the next rule
 *     onResponse(req: Request, res: Response): void
 *     onRequestBody(req: Request, body: Body): void    a piece of the request's body, or all of it after `req.hold()`
 *     onRequestTrailers(req: Request, trailers: Headers): void
 *     onResponseBody(req: Request, res: Response, body: Body): void    the same of the answer's, after `res.hold()`
 *     onResponseTrailers(req: Request, res: Response, trailers: Headers): void
 *     update(endpoints: Endpoints): void     the endpoints, their weights or health have changed
 *     pick(endpoints: Endpoints, req: Request): i32    an index, or -1 for none
 *     onOutcome(outcome: Outcome, req: Request): void  how an attempt ended
 *     onLog(req: Request, res: Response): void         the exchange is over
 *     onHealthCheck(endpoint: Endpoint): bool          whether it is healthy
 *     onTick(): void                         from time to time: see `tickEvery`
 *     onSave(state: State): void             another version takes over: what it should know
 *     onRestore(state: State): void          what the version before has saved
 *
 * Parameters at the end may be left off. Code at the top of the file runs once, with configuration readable.
 * Memory of a call is given back when it ends; what is made at the top of the file or in `configure` stays.
 */

export { Base64, Base64Url, Hex } from "./base64";
export { Bytes, fromBytes, fromUtf8, fromView, toBytes, toUtf8, toView } from "./binary";
export { Body } from "./body";
export { Cluster, Strategy, cluster, strategy } from "./cluster";
export { now, preciseNow, random, randomBelow, randomFloat, randomHex, tickEvery } from "./clock";
export { Config } from "./config";
export { Connection } from "./connection";
export { Cookies, SetCookie } from "./cookies";
export { PublicKey, constantTimeEquals, hmacSha256, hmacSha384, hmacSha512, randomBytes, sha256, sha384, sha512 } from "./crypto";
export { Endpoint, Probed } from "./endpoint";
export { Endpoints } from "./endpoints";
export { Glob } from "./glob";
export { Fetch, Fetched, sleep } from "./fetch";
export { Headers } from "./headers";
export { PerInstance } from "./instance";
export { IpAddress, IpSet } from "./ip";
export { Entry, KeyValue, kv } from "./kv";
export { Json, JsonValue } from "./json";
export { JsonMask, JsonReplacer } from "./json-mask";
export { JsonWriter } from "./json-writer";
export { log, RequestLog } from "./log";
export { Matcher } from "./matcher";
export {
  By,
  Counter,
  Gauge,
  Histogram,
  Latest,
  counter,
  counterBy,
  gauge,
  gaugeBy,
  histogram,
  histogramBy,
  latest,
  latestBy,
} from "./metrics";
export { Outcome } from "./outcome";
export { PerEndpoint } from "./per-endpoint";
export { Percent } from "./percent";
export { Query } from "./query";
export { Regex, RegexMatch } from "./regex";
export { Original, Request } from "./request";
export { Response } from "./response";
export { Loader, SingleFlight } from "./single-flight";
export { State } from "./state";
export { Time } from "./time";
export { Url } from "./url";
