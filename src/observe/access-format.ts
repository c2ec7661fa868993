/** Formats access log lines without intermediate strings: JSON with configured fields, and the combined format. */
import { type Head, PART } from "../http/head.ts";
import { proxyValue } from "../net/proxy-values.ts";
import { type CompiledField, type CompiledFields, MOST, SOURCE } from "./access-fields.ts";
import type { AccessRecord } from "./access-record.ts";
import { FieldFinder } from "./field-finder.ts";
import { TextWriter } from "./text-writer.ts";

/** Most bytes of a combined line: an escaped byte takes four, `\xFF`. */
export const COMBINED_ROOM = 4 * (2 * MOST.header + MOST.path + MOST.host) + 1024;

const AUTHORIZATION = Buffer.from("authorization");
const REFERER = Buffer.from("referer");
const USER_AGENT = Buffer.from("user-agent");
const REQUEST_ID = Buffer.from("x-request-id");
const TRACEPARENT = Buffer.from("traceparent");
const BASIC = /^basic +([A-Za-z0-9+/=]+)$/i;

const PROTOCOLS = ['"HTTP/1.0"', '"HTTP/1.1"', '"HTTP/2.0"', '"TCP"', '"UDP"'];

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;

export class AccessFormat {
  readonly text = new TextWriter();
  readonly #found = new FieldFinder();
  /** Wall clock minus monotonic clock, in ms. */
  wall = Date.now() - performance.now();

  json(x: AccessRecord, { fields, keys }: CompiledFields, now: number): void {
    const { text } = this;
    if (fields.length === 0) text.ascii("{");
    for (let i = 0; i < fields.length; i++) {
      text.ascii(fields[i]!.prefix);
      this.#field(fields[i]!, x, now);
    }
    if (x.logFields !== null) this.#added(x.logFields, keys, fields.length === 0);
    text.ascii("}\n");
  }

  #field(field: CompiledField, x: AccessRecord, now: number): void {
    const { text } = this;
    switch (field.source) {
      case SOURCE.time:
        text.ascii('"');
        text.time(this.wall + x.startedAt);
        return text.ascii('"');
      case SOURCE.client:
        return text.string(x.clientAddress);
      case SOURCE.method:
        return this.#part(x, PART.method, MOST.method);
      case SOURCE.host:
        return this.#part(x, PART.authority, MOST.host);
      case SOURCE.path:
        return this.#path(x);
      case SOURCE.status:
        return text.number(x.response.status);
      case SOURCE.bytes_received:
        return text.number(x.bytesReceived);
      case SOURCE.bytes_sent:
        return text.number(x.bytesSent);
      case SOURCE.duration_ms:
        return text.milliseconds(now - x.startedAt);
      case SOURCE.listener:
        return text.string(x.listenerName);
      case SOURCE.route:
        return text.string(x.routeName);
      case SOURCE.cluster:
        return text.string(x.clusterName);
      case SOURCE.endpoint:
        return text.string(x.endpoint === null ? "" : x.endpoint.address);
      case SOURCE.attempts:
        return text.number(x.attempts);
      case SOURCE.outcome:
        return text.string(outcomeOf(x));
      case SOURCE.version:
        return text.number(x.listener === null ? 0 : x.listener.snapshot.version);
      default:
        return this.#furtherField(field, x, now);
    }
  }

  /** Values that are not among the default fields. */
  #furtherField({ source, name }: CompiledField, x: AccessRecord, now: number): void {
    const { text } = this;
    switch (source) {
      case SOURCE.peer:
        return text.string(x.client?.peer ?? "");
      case SOURCE.scheme:
        return text.string(x.scheme);
      case SOURCE.protocol:
        return text.ascii(PROTOCOLS[x.request.version]!);
      case SOURCE.upstream_protocol:
        return text.ascii(PROTOCOLS[x.attempt.version] ?? '""');
      case SOURCE.tls_version:
        return text.string(x.client?.tls?.version ?? "");
      case SOURCE.tls_cipher:
        return text.string(x.client?.tls?.cipher ?? "");
      case SOURCE.sni:
        return text.string((x.client?.tls?.serverName ?? "").slice(0, MOST.sni));
      case SOURCE.tls_client:
        return text.string((x.client?.tls?.clientSubject ?? "").slice(0, MOST.tls_client));
      case SOURCE.proxy: {
        const proxied = x.client?.connection?.proxied ?? null;
        return proxied === null ? text.ascii("null") : text.string(proxyValue(proxied, name.toString("latin1")));
      }
      case SOURCE.responded_by:
        return text.string(x.respondedBy);
      case SOURCE.header:
        return this.#value(x.request, this.#found.findReceived(x.request, name));
      case SOURCE.upstream:
        return this.#value(x.request, this.#found.find(x.request, name));
      case SOURCE.response:
        return this.#value(x.response, this.#found.find(x.response, name));
      case SOURCE.request_id:
        if (this.#found.find(x.request, REQUEST_ID)) return this.#value(x.request, true);
        return this.#value(x.response, this.#found.find(x.response, REQUEST_ID));
      case SOURCE.trace_id:
        return this.#traceId(x);
      case SOURCE.grpc_method:
        return this.#grpcMethod(x);
      case SOURCE.grpc_status:
        return x.grpcStatus < 0 ? text.ascii("null") : text.number(x.grpcStatus);
      default:
        return this.#phase(source, x, now);
    }
  }

  /** Duration of a phase in milliseconds; null if the request did not reach it. */
  #phase(source: number, x: AccessRecord, now: number): void {
    const { startedAt, headAt, attempts } = x;
    const { startedAt: pickedAt, respondedAt, latency } = x.attempt;
    let from = 0;
    let to = now;
    if (source === SOURCE.receive_ms) [from, to] = [startedAt, headAt];
    else if (source === SOURCE.request_ms) [from, to] = [headAt, attempts > 0 ? pickedAt : now];
    else if (source === SOURCE.response_ms) from = respondedAt;
    else if (attempts > 0) {
      from = pickedAt;
      to = respondedAt > 0 ? respondedAt : pickedAt + latency / 1000;
    }
    if (from === 0 || to === 0) this.text.ascii("null");
    else this.text.milliseconds(to - from);
  }

  /** `package.Service/Method`: the path without its first slash. */
  #grpcMethod({ isGrpc, request, original }: AccessRecord): void {
    if (!isGrpc) return this.text.ascii("null");
    const start = original[PART.path]! + 1;
    this.text.ascii('"');
    this.text.bytes(request.bytes, start, Math.min(original[PART.path + 1]!, start + MOST.grpc_method, request.end));
    this.text.ascii('"');
  }

  /** The trace id of a `traceparent`, 32 digits (W3C Trace Context, section 3.2). */
  #traceId({ request }: AccessRecord): void {
    const isFound = this.#found.find(request, TRACEPARENT) && this.#found.end - this.#found.start >= 55;
    if (isFound) [this.#found.start, this.#found.end] = [this.#found.start + 3, this.#found.start + 35];
    this.#value(request, isFound);
  }

  /** Fields of plugins, except those with a configured key. */
  #added(added: ReadonlyMap<string, string>, keys: ReadonlySet<string>, isEmpty: boolean): void {
    const { text } = this;
    let isFirst = isEmpty;
    for (const [name, value] of added) {
      if (keys.has(name)) continue;
      text.ascii(isFirst ? '"' : ',"');
      isFirst = false;
      text.ascii(name);
      text.ascii('":');
      text.string(value);
    }
  }

  /** The combined format of nginx and Apache. */
  combined(x: AccessRecord, now: number): void {
    const { text } = this;
    const { request } = x;
    text.ascii(x.clientAddress);
    text.ascii(" - ");
    this.#user(x);
    text.ascii(" [");
    text.commonTime(this.wall + now);
    text.ascii('] "');
    this.#requestLine(request);
    text.ascii('" ');
    text.number(x.response.status);
    text.ascii(" ");
    text.number(x.bytesSent);
    this.#quoted(request, this.#found.findReceived(x.request, REFERER));
    this.#quoted(request, this.#found.findReceived(x.request, USER_AGENT));
    text.ascii("\n");
  }

  /** The user name of `Authorization: Basic`, possibly unverified. */
  #user(x: AccessRecord): void {
    const isFound =
      this.#found.findReceived(x.request, AUTHORIZATION) && this.#found.end - this.#found.start <= MOST.header;
    const found = isFound ? BASIC.exec(x.request.text(this.#found.start, this.#found.end)) : null;
    const user = found === null ? Buffer.alloc(0) : Buffer.from(found[1]!, "base64");
    const colon = user.indexOf(":");
    if (colon <= 0) return this.text.ascii("-");
    // Not quoted: a space would let a client inject fields.
    this.text.escaped(user, 0, Math.min(colon, MOST.host), SPACE + 1);
  }

  /** The request line as received. */
  #requestLine({ bytes, end }: Head): void {
    const most = Math.min(end, MOST.path + MOST.method);
    let stop = 0;
    while (stop < most && bytes[stop] !== CR && bytes[stop] !== LF) stop++;
    if (stop === 0) this.text.ascii("-");
    else this.text.escaped(bytes, 0, stop);
  }

  #quoted({ bytes }: Head, isFound: boolean): void {
    this.text.ascii(' "');
    if (isFound)
      this.text.escaped(bytes, this.#found.start, Math.min(this.#found.end, this.#found.start + MOST.header));
    else this.text.ascii("-");
    this.text.ascii('"');
  }

  /** The found value as a JSON string. */
  #value({ bytes }: Head, isFound: boolean): void {
    if (!isFound) return this.text.ascii("null");
    this.text.ascii('"');
    this.text.bytes(bytes, this.#found.start, Math.min(this.#found.end, this.#found.start + MOST.header));
    this.text.ascii('"');
  }

  #part(x: AccessRecord, part: number, most: number): void {
    this.text.ascii('"');
    this.#bytes(x, part, most);
    this.text.ascii('"');
  }

  #path(x: AccessRecord): void {
    const { original } = x;
    const { text } = this;
    text.ascii('"');
    this.#bytes(x, PART.path, MOST.path);
    if (original[PART.query + 1]! > original[PART.query]!) {
      text.ascii("?");
      const left = MOST.path - Math.min(MOST.path, original[PART.path + 1]! - original[PART.path]!);
      this.#bytes(x, PART.query, left);
    }
    text.ascii('"');
  }

  /** A part of the request line as received, before changes of plugins. */
  #bytes({ request, original }: AccessRecord, part: number, most: number): void {
    const start = original[part]!;
    // After a rejected head the area may be empty, or contain bytes of an earlier head.
    this.text.bytes(request.bytes, start, Math.min(original[part + 1]!, start + most, request.end));
  }
}

/** The outcome of a request; `ok`: a response of the endpoint with any status. */
function outcomeOf(x: AccessRecord): string {
  if (x.error !== null) return x.error.code;
  return x.localStatus === 0 ? "ok" : "plugin_response";
}
