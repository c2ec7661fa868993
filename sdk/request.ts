import { ATTRIBUTE, RESULT } from "./abi";
import { loadAttribute, readAttribute, readNumber, writeAttribute } from "./attributes";
import { Bytes } from "./binary";
import { VALUE, equals, startsWith, widen } from "./bytes";
import { ClientConnection } from "./client-connection";
import { Cluster, Strategy } from "./cluster";
import { getShared, getValue, getValueBytes, result, sendResponse, setResult, setShared, setValue, setValueBytes } from "./exchange";
import { Headers, requestHeaders, requestTrailers } from "./headers";
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

/** The request as received, before changes by plugins (`req.original`). Read-only. */
// @ts-ignore: decorator
@final
export class Original {
  /** `GET`, `POST`, … */
  get method(): string {
    return readAttribute(ATTRIBUTE.original_method);
  }

  /** Host and port, as sent by the client or reported by a trusted proxy. */
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
 * The request.
 *
 * Every property that is a string is copied from the host and allocated at each access: store it in a variable to use it
 * twice. `methodIs`, `pathIs`, `pathStartsWith` and `headers.is` compare without an allocation.
 *
 * A method that is not available in the current hook throws an Error, as do invalid values.
 */
// @ts-ignore: decorator
@final
export class Request extends ClientConnection {
  /** Its headers. */
  get headers(): Headers {
    return requestHeaders;
  }

  /** Its trailers: in `onRequestBody` of the last chunk, and in `onRequestTrailers`; empty elsewhere. */
  get trailers(): Headers {
    return requestTrailers;
  }

  /** Its access log entry, for adding fields. */
  get log(): RequestLog {
    return requestLog;
  }

  /** `GET`, `POST`, … */
  get method(): string {
    return readAttribute(ATTRIBUTE.method);
  }

  /** Sets the method: a token of at most 32 bytes, not CONNECT or TRACE (in `onRequest` and `route`). */
  set method(value: string) {
    writeAttribute(ATTRIBUTE.method, value, "cannot set method");
  }

  /** Whether the method is `method`; case-sensitive (RFC 9110 section 9.1). */
  methodIs(method: string): bool {
    return equals(VALUE, loadAttribute(ATTRIBUTE.method), method);
  }

  /** `http` or `https`: of the connection, or as reported by a trusted proxy. */
  get scheme(): string {
    return readAttribute(ATTRIBUTE.scheme);
  }

  /** Host and port, `example.com:8080`: as sent by the client or reported by a trusted proxy, until a plugin sets Host. */
  get authority(): string {
    return readAttribute(ATTRIBUTE.authority);
  }

  /** The authority without its port: `example.com`, `[::1]`. */
  get host(): string {
    return readHost(ATTRIBUTE.authority);
  }

  /**
   * The protocol in `Upgrade`, in lower case: `websocket`; empty without `Connection: upgrade`. The connection is upgraded
   * only if the route's `upgrade` allows the protocol and the endpoint confirms it. Headers of the connection are not readable.
   */
  get upgrade(): string {
    return readAttribute(ATTRIBUTE.upgrade);
  }

  /** The TLS version of the client's connection, `TLSv1.3`; empty for a plain one. */
  get tlsVersion(): string {
    return readAttribute(ATTRIBUTE.tls_version);
  }

  /** The server name in the client's TLS handshake (SNI), in lower case; empty if it sent none. */
  get tlsServerName(): string {
    return readAttribute(ATTRIBUTE.tls_server_name);
  }

  /** Subject of the client's verified certificate (RFC 4514): `CN=app,O=Example`; empty without one. */
  get clientCertificateSubject(): string {
    return readAttribute(ATTRIBUTE.tls_client_subject);
  }

  /** Its subject alternative names: `DNS:app.example, URI:spiffe://example/app`. */
  get clientCertificateNames(): string {
    return readAttribute(ATTRIBUTE.tls_client_names);
  }

  /** Its SHA-256 fingerprint: 64 hexadecimal digits in lower case. */
  get clientCertificateFingerprint(): string {
    return readAttribute(ATTRIBUTE.tls_client_fingerprint);
  }

  /** Method, authority and target as received, unaffected by plugins. */
  get original(): Original {
    return original;
  }

  /** The normalised path without query, starting with `/`; `*` for `OPTIONS *` (RFC 9112 section 3.2.4). */
  get path(): string {
    return readAttribute(ATTRIBUTE.path);
  }

  /** Sets the path (in `onRequest` and `route`). */
  set path(value: string) {
    writeAttribute(ATTRIBUTE.path, value, "cannot set path");
  }

  /** Whether the path is exactly `path`. */
  pathIs(path: string): bool {
    return equals(VALUE, loadAttribute(ATTRIBUTE.path), path);
  }

  /** Whether the path starts with `prefix`. */
  pathStartsWith(prefix: string): bool {
    return startsWith(VALUE, loadAttribute(ATTRIBUTE.path), prefix);
  }

  /** Whether the `Regex` or `Glob` matches the path. Allocates nothing. */
  pathMatches(matcher: Matcher): bool {
    return matcher.testAt(VALUE, loadAttribute(ATTRIBUTE.path));
  }

  /** The query without `?`; empty if there is none. */
  get query(): string {
    return readAttribute(ATTRIBUTE.query);
  }

  /** Sets the query, without `?` (in `onRequest` and `route`). */
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

  /** The client's IP address: of the peer, or as reported by a trusted proxy; `unknown` if it has none. */
  get clientAddress(): string {
    return readAttribute(ATTRIBUTE.client_address);
  }

  /** The HTTP version of the request: `1.0`, `1.1` or `2`; `tcp` for a TCP connection, in `pick`. */
  get protocol(): string {
    return readAttribute(ATTRIBUTE.protocol);
  }

  /** Name of the matched route; empty before that. */
  get route(): string {
    return readAttribute(ATTRIBUTE.route);
  }

  /** Name of the selected cluster; empty before that. */
  get cluster(): string {
    return readAttribute(ATTRIBUTE.cluster);
  }

  /** Address of the endpoint of the last attempt; empty before a pick. */
  get endpoint(): string {
    return readAttribute(ATTRIBUTE.endpoint);
  }

  /** Number of the current attempt, from 1; 0 before the first. */
  get attempt(): i32 {
    return <i32>readNumber(ATTRIBUTE.attempt);
  }

  /** An id that is unique among the requests of this process, for logs. */
  get id(): string {
    return readAttribute(ATTRIBUTE.exchange_id);
  }

  /** Microseconds since the request's first byte (in `onLog` and `onOutcome`). */
  get duration(): f64 {
    return readNumber(ATTRIBUTE.duration);
  }

  /** Body bytes sent to the client (in `onLog`). */
  get bytesSent(): f64 {
    return readNumber(ATTRIBUTE.bytes_sent);
  }

  /** Body bytes received from the client (in `onLog`). */
  get bytesReceived(): f64 {
    return readNumber(ATTRIBUTE.bytes_received);
  }

  /**
   * The error, by its name in the access log: `connect_refused`, `response_timeout`, `plugin_failed`, `client_gone` …;
   * empty without one (in response hooks and `onLog`).
   */
  get error(): string {
    return readAttribute(ATTRIBUTE.error);
  }

  /** Microseconds from the last pick to the response head or the failure; 0 without an attempt. */
  get upstreamDuration(): f64 {
    return readNumber(ATTRIBUTE.upstream_duration);
  }

  /** The value that this plugin stored for this request by `set`, or null. */
  get(key: string): string | null {
    return getValue(key);
  }

  /** Stores a value, at most 64 KiB, for this plugin's later hooks of this request. `onLog` is the last. */
  set(key: string, value: string): void {
    setValue(key, value);
  }

  /** The value stored by `set` or `setBytes`, as a copy of its bytes, or null. */
  getBytes(key: string): Bytes | null {
    return getValueBytes(key);
  }

  /** Stores bytes, at most 64 KiB, like `set`. Stored values count towards `limits.memory`. */
  setBytes(key: string, value: Bytes): void {
    setValueBytes(key, changetype<usize>(value), value.length);
  }

  /** The value that a plugin shared for this request under this name, or null. */
  shared(name: string): string | null {
    return getShared(name);
  }

  /**
   * Shares a value, at most 64 KiB, with all plugins of this request. Requires `allow: { share: [NAME] }` in the plugin's
   * configuration, so that the plugins that read it know which ones can set it.
   */
  share(name: string, value: string): void {
    setShared(name, value);
  }

  /** Selects the cluster (in `onRequest`, `route`, and `onRequestBody` of a buffered request). */
  choose(cluster: Cluster): void {
    check(cluster_choose(cluster.id), "cannot choose cluster", cluster.name);
  }

  /** Selects the strategy, one of those of the cluster (in `onRequest` and `route`). */
  chooseStrategy(strategy: Strategy): void {
    check(strategy_choose(strategy.id), "cannot choose strategy", strategy.name);
  }

  /**
   * Sends a local response instead of forwarding the request, and returns it for setting headers. `status` is 200 to 599;
   * the body is sent as UTF-8, at most 1 MiB. The rest of the hook still runs unless you `return`.
   */
  respond(status: i32, body: string = ""): Response {
    return this.respondBytes(status, String.UTF8.encode(body));
  }

  /** As `respond`, with a body of bytes. */
  respondBytes(status: i32, body: ArrayBuffer): Response {
    sendResponse(status, body);
    setResult(RESULT.respond);
    return response;
  }

  /**
   * Buffers the request until its whole body is received, at most `limits.body` (in `onRequest`). `onRequestBody` is then
   * called once, even without a body, and may change the head, select the cluster or respond. The rest of the hook still
   * runs.
   */
  bufferBody(): void {
    if (result == RESULT.continue_) setResult(RESULT.buffer);
  }

  /** Rejects the request with 403. The rest of the hook still runs. */
  reject(): void {
    // A response set by `respond` takes precedence.
    if (result != RESULT.respond) setResult(RESULT.reject);
  }
}

// @ts-ignore: decorator
@lazy export const request = new Request();
