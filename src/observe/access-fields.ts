/** The fields of JSON access log lines: what writes the value of each. */
import { type Head, PART } from "../http/head.ts";
import { proxyValue } from "../net/proxy-values.ts";
import type { AccessRecord } from "./access-record.ts";
import { FieldFinder } from "./field-finder.ts";
import type { ACCESS_FIELDS } from "./series.ts";
import { TextWriter } from "./text-writer.ts";

/** What fields are written with. */
export class FieldOutput {
  readonly text = new TextWriter();
  readonly found = new FieldFinder();
  /** Wall clock minus monotonic clock, in ms. */
  wall = Date.now() - performance.now();
}

/** `name`: of a header, in lower case, or of a value of the PROXY protocol. `now`: performance.now(). */
type Write = (output: FieldOutput, x: AccessRecord, now: number, name: Buffer) => void;

const ALIASES: Readonly<Record<string, string>> = { user_agent: "header:user-agent", referer: "header:referer" };

/** Most bytes of a value that clients, endpoints or plugins determine; longer ones are truncated. */
export const MOST = {
  method: 32,
  host: 256,
  path: 4096,
  header: 1024,
  sni: 256,
  tls_client: 512,
  grpc_method: 256,
  proxy: 512,
} as const;
/** Most output bytes per byte of such a value: `\u00ff`. */
export const ESCAPED = 6;
/** Most bytes of any other field, including names of the configuration and addresses. */
const OTHER = 1024;

const PROTOCOLS = ['"HTTP/1.0"', '"HTTP/1.1"', '"HTTP/2.0"', '"TCP"', '"UDP"'];
const REQUEST_ID = Buffer.from("x-request-id");
const TRACEPARENT = Buffer.from("traceparent");

const WRITERS = {
  time: ({ text, wall }, x) => {
    text.ascii('"');
    text.time(wall + x.startedAt);
    text.ascii('"');
  },
  client: ({ text }, x) => text.string(x.clientAddress),
  method: (output, x) => writePart(output, x, PART.method, MOST.method),
  host: (output, x) => writePart(output, x, PART.authority, MOST.host),
  path: writePath,
  status: ({ text }, x) => text.number(x.response.status),
  bytes_received: ({ text }, x) => text.number(x.bytesReceived),
  bytes_sent: ({ text }, x) => text.number(x.bytesSent),
  duration_ms: ({ text }, x, now) => text.milliseconds(now - x.startedAt),
  listener: ({ text }, x) => text.string(x.listenerName),
  route: ({ text }, x) => text.string(x.routeName),
  cluster: ({ text }, x) => text.string(x.clusterName),
  endpoint: ({ text }, x) => text.string(x.endpoint === null ? "" : x.endpoint.address),
  attempts: ({ text }, x) => text.number(x.attempts),
  outcome: ({ text }, x) => text.string(outcomeOf(x)),
  version: ({ text }, x) => text.number(x.listener === null ? 0 : x.listener.snapshot.version),
  peer: ({ text }, x) => text.string(x.client?.peer ?? ""),
  scheme: ({ text }, x) => text.string(x.scheme),
  protocol: ({ text }, x) => text.ascii(PROTOCOLS[x.request.version]!),
  upstream_protocol: ({ text }, x) => text.ascii(PROTOCOLS[x.attempt.version] ?? '""'),
  request_id: (output, x) => {
    const isOfRequest = output.found.find(x.request, REQUEST_ID);
    if (isOfRequest) writeValue(output, x.request, true);
    else writeValue(output, x.response, output.found.find(x.response, REQUEST_ID));
  },
  trace_id: writeTraceId,
  responded_by: ({ text }, x) => text.string(x.respondedBy),
  receive_ms: (output, x) => writePhase(output, x.startedAt, x.headAt),
  request_ms: (output, x, now) => writePhase(output, x.headAt, x.attempts > 0 ? x.attempt.startedAt : now),
  upstream_ms: (output, x) => {
    const { startedAt, respondedAt, latency } = x.attempt;
    writePhase(output, x.attempts > 0 ? startedAt : 0, respondedAt > 0 ? respondedAt : startedAt + latency / 1000);
  },
  response_ms: (output, x, now) => writePhase(output, x.attempt.respondedAt, now),
  /** Headers of the request as received, as sent upstream, and of the response. */
  header: (output, x, _now, name) => writeValue(output, x.request, output.found.findReceived(x.request, name)),
  upstream: (output, x, _now, name) => writeValue(output, x.request, output.found.find(x.request, name)),
  response: (output, x, _now, name) => writeValue(output, x.response, output.found.find(x.response, name)),
  tls_version: ({ text }, x) => text.string(x.client?.tls?.version ?? ""),
  tls_cipher: ({ text }, x) => text.string(x.client?.tls?.cipher ?? ""),
  sni: ({ text }, x) => text.string((x.client?.tls?.serverName ?? "").slice(0, MOST.sni)),
  tls_client: ({ text }, x) => text.string((x.client?.tls?.clientSubject ?? "").slice(0, MOST.tls_client)),
  grpc_method: writeGrpcMethod,
  grpc_status: ({ text }, x) => (x.grpcStatus < 0 ? text.ascii("null") : text.number(x.grpcStatus)),
  /** A value of the connection's PROXY protocol header, by name. */
  proxy: ({ text }, x, _now, name) => {
    const proxied = x.client?.connection?.proxied ?? null;
    if (proxied === null) text.ascii("null");
    else text.string(proxyValue(proxied, name.toString("latin1")));
  },
} as const satisfies Record<
  Exclude<(typeof ACCESS_FIELDS)[number], "user_agent" | "referer"> | "header" | "upstream" | "response" | "proxy",
  Write
>;

/** The duration of a phase in milliseconds; null if the request did not reach it. */
function writePhase({ text }: FieldOutput, from: number, to: number): void {
  if (from === 0 || to === 0) text.ascii("null");
  else text.milliseconds(to - from);
}

/** `package.Service/Method`: the path without its first slash. */
function writeGrpcMethod({ text }: FieldOutput, { isGrpc, request, original }: AccessRecord): void {
  if (!isGrpc) return text.ascii("null");
  const start = original[PART.path]! + 1;
  text.ascii('"');
  text.bytes(request.bytes, start, Math.min(original[PART.path + 1]!, start + MOST.grpc_method, request.end));
  text.ascii('"');
}

/** The trace id of a `traceparent`, 32 digits (W3C Trace Context, section 3.2). */
function writeTraceId(output: FieldOutput, { request }: AccessRecord): void {
  const { found } = output;
  const isFound = found.find(request, TRACEPARENT) && found.end - found.start >= 55;
  if (isFound) [found.start, found.end] = [found.start + 3, found.start + 35];
  writeValue(output, request, isFound);
}

/** The found value as a JSON string. */
function writeValue({ text, found }: FieldOutput, { bytes }: Head, isFound: boolean): void {
  if (!isFound) return text.ascii("null");
  text.ascii('"');
  text.bytes(bytes, found.start, Math.min(found.end, found.start + MOST.header));
  text.ascii('"');
}

function writePart(output: FieldOutput, x: AccessRecord, part: number, most: number): void {
  output.text.ascii('"');
  writeBytes(output, x, part, most);
  output.text.ascii('"');
}

function writePath(output: FieldOutput, x: AccessRecord): void {
  const { original } = x;
  const { text } = output;
  text.ascii('"');
  writeBytes(output, x, PART.path, MOST.path);
  if (original[PART.query + 1]! > original[PART.query]!) {
    text.ascii("?");
    const left = MOST.path - Math.min(MOST.path, original[PART.path + 1]! - original[PART.path]!);
    writeBytes(output, x, PART.query, left);
  }
  text.ascii('"');
}

/** A part of the request line as received, before changes of plugins. */
function writeBytes({ text }: FieldOutput, { request, original }: AccessRecord, part: number, most: number): void {
  const start = original[part]!;
  // After a rejected head the area may be empty, or contain bytes of an earlier head.
  text.bytes(request.bytes, start, Math.min(original[part + 1]!, start + most, request.end));
}

/** The outcome of a request; `ok`: a response of the endpoint with any status. */
function outcomeOf(x: AccessRecord): string {
  if (x.error !== null) return x.error.code;
  return x.localStatus === 0 ? "ok" : "plugin_response";
}

export type CompiledField = {
  /** `{"time":` for the first field, `,"client":` for later ones. */
  readonly prefix: string;
  readonly write: Write;
  readonly name: Buffer;
};

export type CompiledFields = {
  readonly fields: readonly CompiledField[];
  readonly keys: ReadonlySet<string>;
  /** Most bytes of a line, without fields of plugins. */
  readonly room: number;
};

export function compileFields(fields: AccessLogPlan["fields"]): CompiledFields {
  let room = OTHER;
  const compiled = fields.map(({ key, source }, index) => {
    const [kind = "", name = ""] = (ALIASES[source] ?? source).split(/:(.*)/s);
    const prefix = `${index === 0 ? "{" : ","}${JSON.stringify(key)}:`;
    room += prefix.length + OTHER + ESCAPED * (kind === "upstream" || kind === "response" ? MOST.header : most(kind));
    return { prefix, write: WRITERS[kind as keyof typeof WRITERS], name: Buffer.from(name, "latin1") };
  });
  return { fields: compiled, keys: new Set(fields.map(({ key }) => key)), room };
}

function most(kind: string): number {
  return (MOST as Readonly<Record<string, number>>)[kind] ?? 0;
}

/** The configuration of the access log: conditions, format, fields, target. */
export type AccessLogPlan = {
  readonly format: "json" | "combined";
  /** `source`: of ACCESS_FIELDS (`series.ts`), or `header:NAME`, `upstream:NAME`, `response:NAME`, `proxy:NAME`. */
  readonly fields: readonly { readonly key: string; readonly source: string }[];
  /** Absolute path; null: standard output. */
  readonly path: string | null;
  /** Requests that meet one of them are logged; empty: all requests. */
  readonly where: readonly {
    /** Empty: any. */
    readonly statuses: readonly { readonly least: number; readonly most: number }[];
    /** Statuses of gRPC as bits; 0: any, and requests that are no calls. */
    readonly grpc: number;
    /** Milliseconds; 0: any. */
    readonly slowerThan: number;
    /** Share of the requests that meet the other conditions, 0 to 1. */
    readonly share: number;
  }[];
};
