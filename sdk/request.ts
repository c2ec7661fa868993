import { ATTRIBUTE, RESULT } from "./abi";
import { loadAttribute, readAttribute, readNumber, writeAttribute } from "./attributes";
import { Bytes } from "./binary";
import { VALUE, equals, startsWith, widen } from "./bytes";
import { Cluster, Strategy } from "./cluster";
import { getShared, getValue, getValueBytes, result, sendResponse, setResult, setShared, setValue, setValueBytes } from "./exchange";
import { Headers, requestHeaders } from "./headers";
import { cluster_choose, strategy_choose } from "./imports";
import { RequestLog, requestLog } from "./log";
import { Matcher } from "./matcher";
import { Response, response } from "./response";
import { check } from "./status";

/** An authority without its port. */
function readHost(attribute: i32): string {
  let length = loadAttribute(attribute);
  // A colon inside the brackets of an IPv6 address begins no port.
  for (let i = length - 1; i >= 0; i--) {
    const byte = load<u8>(VALUE + i);
    if (byte == 0x5d /* ] */) break;
    if (byte == 0x3a /* : */) {
      length = i;
      break;
    }
  }
  return widen(VALUE, length);
}

/** What the client sent, before any plugin (`req.original`). */
// @ts-ignore: decorator
@final
export class Original {
  /** `GET`, `POST`, … */
  get method(): string {
    return readAttribute(ATTRIBUTE.original_method);
  }

  /** Host and port, as the client named them to this or a trusted proxy. */
  get authority(): string {
    return readAttribute(ATTRIBUTE.original_authority);
  }

  /** The same without a port. */
  get host(): string {
    return readHost(ATTRIBUTE.original_authority);
  }

  /** The normalised path and the query: `/a?b=1`. */
  get target(): string {
    return readAttribute(ATTRIBUTE.original_target);
  }
}

// @ts-ignore: decorator
@lazy const original = new Original();

/**
 * The request. Nothing is read before it is asked for, and each string is made at the call: keep it in a variable
 * when it is used twice, and prefer `methodIs`, `pathIs`, `pathStartsWith` and `headers.is`, which make none.
 */
// @ts-ignore: decorator
@final
export class Request {
  /** Its fields. */
  get headers(): Headers {
    return requestHeaders;
  }

  /** Its line in the access log, to which fields can be added. */
  get log(): RequestLog {
    return requestLog;
  }

  /** `GET`, `POST`, … */
  get method(): string {
    return readAttribute(ATTRIBUTE.method);
  }

  /** Sets the method (in `onRequest` and `route`). */
  set method(value: string) {
    writeAttribute(ATTRIBUTE.method, value, "cannot set method");
  }

  /** Is this the method? */
  methodIs(method: string): bool {
    return equals(VALUE, loadAttribute(ATTRIBUTE.method), method);
  }

  /** `http` or `https`: how the client came, to this or a trusted proxy. */
  get scheme(): string {
    return readAttribute(ATTRIBUTE.scheme);
  }

  /** Host and port: `example.com:8080`. As the client named them, to this or a trusted proxy, until a plugin sets Host. */
  get authority(): string {
    return readAttribute(ATTRIBUTE.authority);
  }

  /** The authority without its port: `example.com`, `[::1]`. */
  get host(): string {
    return readHost(ATTRIBUTE.authority);
  }

  /** The request as the client sent it, whatever plugins have made of its method, host, path and query since. */
  get original(): Original {
    return original;
  }

  /** The normalised path, `/` first, without query; `*` of `OPTIONS *`, which is no part of any URL. */
  get path(): string {
    return readAttribute(ATTRIBUTE.path);
  }

  /** Sets the path (in `onRequest` and `route`). */
  set path(value: string) {
    writeAttribute(ATTRIBUTE.path, value, "cannot set path");
  }

  /** Is this the path? */
  pathIs(path: string): bool {
    return equals(VALUE, loadAttribute(ATTRIBUTE.path), path);
  }

  /** Does the path begin so? */
  pathStartsWith(prefix: string): bool {
    return startsWith(VALUE, loadAttribute(ATTRIBUTE.path), prefix);
  }

  /** Does the `Regex` or `Glob` match the path? Compares bytes: nothing is allocated. */
  pathMatches(matcher: Matcher): bool {
    return matcher.testAt(VALUE, loadAttribute(ATTRIBUTE.path));
  }

  /** The query without its `?`; empty when there is none. */
  get query(): string {
    return readAttribute(ATTRIBUTE.query);
  }

  /** Sets the query, without its `?` (in `onRequest` and `route`). */
  set query(value: string) {
    writeAttribute(ATTRIBUTE.query, value, "cannot set query");
  }

  /** Path and query together: `/a?b=1`. */
  get target(): string {
    return readAttribute(ATTRIBUTE.target);
  }

  /** Sets path and query together (in `onRequest` and `route`). */
  set target(value: string) {
    writeAttribute(ATTRIBUTE.target, value, "cannot set target");
  }

  /** The client's IP address: the peer's, or what a trusted proxy says. */
  get clientAddress(): string {
    return readAttribute(ATTRIBUTE.client_address);
  }

  /** `1.0`, `1.1` or `2`. */
  get protocol(): string {
    return readAttribute(ATTRIBUTE.protocol);
  }

  /** The matched route's name; empty before a route matched. */
  get route(): string {
    return readAttribute(ATTRIBUTE.route);
  }

  /** The chosen cluster's name; empty before one is chosen. */
  get cluster(): string {
    return readAttribute(ATTRIBUTE.cluster);
  }

  /** The address of the endpoint that was tried last; empty before a pick. */
  get endpoint(): string {
    return readAttribute(ATTRIBUTE.endpoint);
  }

  /** The number of the present attempt, from 1; 0 before the first. */
  get attempt(): i32 {
    return <i32>readNumber(ATTRIBUTE.attempt);
  }

  /** The listener's name. */
  get listener(): string {
    return readAttribute(ATTRIBUTE.listener);
  }

  /** A text that no other request of this process has: for logs. */
  get id(): string {
    return readAttribute(ATTRIBUTE.exchange_id);
  }

  /** Microseconds since the request's first byte (in `onLog` and `onOutcome`). */
  get duration(): f64 {
    return readNumber(ATTRIBUTE.duration);
  }

  /** Bytes of body sent to the client (in `onLog`). */
  get bytesSent(): f64 {
    return readNumber(ATTRIBUTE.bytes_sent);
  }

  /** Bytes of body received from the client (in `onLog`). */
  get bytesReceived(): f64 {
    return readNumber(ATTRIBUTE.bytes_received);
  }

  /**
   * What went wrong, as the access log names it: `connect_refused`, `response_timeout`, `plugin_failed`, `client_gone` …;
   * empty where nothing did (in hooks of the answer, and in `onLog`).
   */
  get error(): string {
    return readAttribute(ATTRIBUTE.error);
  }

  /** Microseconds from the last pick to the head of the endpoint's answer, or to its failure; 0 without an attempt. */
  get upstreamDuration(): f64 {
    return readNumber(ATTRIBUTE.upstream_duration);
  }

  /** A value that this plugin kept for this request, or null. */
  get(key: string): string | null {
    return getValue(key);
  }

  /** Keeps a value for this plugin's later hooks of this request. */
  set(key: string, value: string): void {
    setValue(key, value);
  }

  /** The same as bytes: a copy of them. */
  getBytes(key: string): Bytes | null {
    return getValueBytes(key);
  }

  /** Keeps bytes in the same way, at most 64 KiB; what is kept counts for `limits.memory`. */
  setBytes(key: string, value: Bytes): void {
    setValueBytes(key, changetype<usize>(value), value.length);
  }

  /** A value that any plugin has shared for this request, or null. */
  shared(name: string): string | null {
    return getShared(name);
  }

  /**
   * Shares a value with every plugin of this request, from here on. The plugin's configuration must say so:
   * `allow: { share: [NAME] }`; so readers know who can have set it.
   */
  share(name: string, value: string): void {
    setShared(name, value);
  }

  /** Sends the request to this cluster (in `onRequest` and `route`). */
  choose(cluster: Cluster): void {
    check(cluster_choose(cluster.id), "cannot choose cluster", cluster.name);
  }

  /** Lets this strategy pick the endpoint; the cluster must offer it (in `onRequest` and `route`). */
  chooseStrategy(strategy: Strategy): void {
    check(strategy_choose(strategy.id), "cannot choose strategy", strategy.name);
  }

  /**
   * Answers the client without asking an upstream; set the answer's headers on what this returns.
   * The body is sent as UTF-8. The rest of the hook still runs: `return` when it should not.
   */
  respond(status: i32, body: string = ""): Response {
    return this.respondBytes(status, String.UTF8.encode(body));
  }

  /** Answers the client with these bytes, without asking an upstream. */
  respondBytes(status: i32, body: ArrayBuffer): Response {
    sendResponse(status, body);
    setResult(RESULT.respond);
    return response;
  }

  /**
   * Holds the request back until its body is whole, `limits.body` at most (in `onRequest`). `onRequestBody` is then called
   * once, with all of it (also where there is none), and may change the head, choose the cluster or answer. The rest of
   * the hook still runs.
   */
  hold(): void {
    if (result == RESULT.continue_) setResult(RESULT.hold);
  }

  /** Refuses the request: 403. */
  reject(): void {
    // An answer that was given stands.
    if (result != RESULT.respond) setResult(RESULT.reject);
  }
}

// @ts-ignore: decorator
@lazy export const request = new Request();
