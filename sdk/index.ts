/**
 * The Sluice SDK for plugins in AssemblyScript.
 *
 * A plugin is a file that exports hooks by name; `sluice plugin build` checks their types:
 *
 *     configure(): void                      reads the configuration; throw to reject it
 *     onConnection(connection: Connection): void       a connection was accepted, and nothing was read from it
 *     onRequest(req: Request): void          the request head was received; no upstream was contacted yet
 *     route(req: Request): Cluster | null    selects the cluster; null passes to the next route
 *     onResponse(req: Request, res: Response): void
 *     onRequestBody(req: Request, body: Body): void    a chunk of the request body, or all of it after `req.bufferBody()`
 *     onRequestTrailers(req: Request, trailers: Headers): void
 *     onResponseBody(req: Request, res: Response, body: Body): void    a chunk of the response body, or all of it after `res.bufferBody()`
 *     onResponseTrailers(req: Request, res: Response, trailers: Headers): void
 *     update(endpoints: Endpoints): void     endpoints, weights or health have changed
 *     pick(endpoints: Endpoints, req: Request): i32    returns an index, or -1 for none
 *     onOutcome(outcome: Outcome, req: Request): void  how an attempt ended
 *     onLog(req: Request, res: Response): void         the exchange has ended
 *     onHealthCheck(endpoint: Endpoint): bool          returns whether it is healthy
 *     onTick(): void                         periodically: see `tickEvery`
 *     onSave(state: State): void             another version replaces this one: saves the state for it
 *     onRestore(state: State): void          restores the state of the previous version
 *
 * Trailing parameters may be omitted. Code at the top of the file runs once per guest, and can read the configuration.
 * Objects of a call are freed when it ends; objects created at the top of the file or in `configure` persist.
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
export { Endpoint, ProbeResponse } from "./endpoint";
export { Endpoints } from "./endpoints";
export { Glob } from "./glob";
export { Fetch, FetchResponse, sleep } from "./fetch";
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
