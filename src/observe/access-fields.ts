/** Compiles the fields of JSON access log lines to prefixes and value sources. */

import type { ACCESS_FIELDS } from "./series.ts";

type Named = (typeof ACCESS_FIELDS)[number];

/** The source of a value; a header also has a `name`. */
export const SOURCE = {
  time: 0,
  client: 1,
  method: 2,
  host: 3,
  path: 4,
  status: 5,
  bytes_received: 6,
  bytes_sent: 7,
  duration_ms: 8,
  listener: 9,
  route: 10,
  cluster: 11,
  endpoint: 12,
  attempts: 13,
  outcome: 14,
  version: 15,
  peer: 16,
  scheme: 17,
  protocol: 18,
  request_id: 19,
  trace_id: 20,
  responded_by: 21,
  receive_ms: 22,
  request_ms: 23,
  upstream_ms: 24,
  response_ms: 25,
  /** Headers of the request as received, as sent upstream, and of the response. */
  header: 26,
  upstream: 27,
  response: 28,
  tls_version: 29,
  tls_cipher: 30,
  sni: 31,
  tls_client: 32,
  grpc_method: 33,
  grpc_status: 34,
  /** A value of the connection's PROXY protocol header, by name. */
  proxy: 35,
  upstream_protocol: 36,
} as const satisfies Record<
  Exclude<Named, "user_agent" | "referer"> | "header" | "upstream" | "response" | "proxy",
  number
>;

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

export type CompiledField = {
  /** `{"time":` for the first field, `,"client":` for later ones. */
  readonly prefix: string;
  readonly source: number;
  /** The name of a header, in lower case, and of a value of the PROXY protocol. */
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
  const compiled = fields.map(({ key, source: given }, index) => {
    const text = ALIASES[given] ?? given;
    const colon = text.indexOf(":");
    const kind = (colon < 0 ? text : text.slice(0, colon)) as keyof typeof SOURCE;
    const prefix = `${index === 0 ? "{" : ","}${JSON.stringify(key)}:`;
    room +=
      prefix.length + OTHER + ESCAPED * (kind === "upstream" || kind === "response" ? MOST.header : (most(kind) ?? 0));
    return { prefix, source: SOURCE[kind], name: Buffer.from(colon < 0 ? "" : text.slice(colon + 1), "latin1") };
  });
  return { fields: compiled, keys: new Set(fields.map(({ key }) => key)), room };
}

function most(kind: string): number | undefined {
  return (MOST as Readonly<Record<string, number>>)[kind];
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
