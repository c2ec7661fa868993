/**
 * The errors of an exchange: code, source, status of the response (of HTTP and of gRPC), and the error type of RFC 9209
 * that `Proxy-Status` names. Only this table maps failures to statuses; the cause is never sent to clients.
 */
import { GRPC, grpcOfHttp } from "../http/grpc.ts";
import { REJECTIONS, reasonCell, UPSTREAM_FAILURES } from "../observe/series.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";

export type ErrorSource = "client" | "plugin" | "upstream" | "internal";

export type ProxyError = {
  /** The outcome code in the access log. */
  readonly code: string;
  readonly source: ErrorSource;
  readonly status: number;
  /** The status of a gRPC call. */
  readonly grpc: number;
  /** Value of `error` in Proxy-Status. */
  readonly type: string;
  /** Follows the status in the response body; empty if the status is sufficient. */
  readonly text: string;
  /** Index into REJECTIONS or UPSTREAM_FAILURES; -1: in neither. */
  readonly cell: number;
};

/** Errors with source client that are no rejection of a message. */
const NOT_REJECTED = ["no_route", "client_gone"];

/** Statuses of gRPC (statuscodes.md) that are more exact than those of the HTTP status. */
const GRPC_OF: Readonly<Record<string, number>> = {
  request_timeout: GRPC.deadlineExceeded,
  response_timeout: GRPC.deadlineExceeded,
  body_too_large: GRPC.resourceExhausted,
  head_too_large: GRPC.resourceExhausted,
  target_too_long: GRPC.resourceExhausted,
  response_too_large: GRPC.resourceExhausted,
  client_gone: GRPC.cancelled,
  internal: GRPC.internal,
  plugin_failed: GRPC.internal,
  coding_unknown: GRPC.unimplemented,
  protocol_unknown: GRPC.unimplemented,
};

function error(code: string, source: ErrorSource, status: number, type: string, text = ""): ProxyError {
  let cell = -1;
  if (source === "upstream") cell = reasonCell(UPSTREAM_FAILURES, code);
  else if (source === "client" && !NOT_REJECTED.includes(code)) cell = reasonCell(REJECTIONS, code);
  return { code, source, status, grpc: GRPC_OF[code] ?? grpcOfHttp(status), type, text, cell };
}

export const ERROR = {
  malformed: error("malformed", "client", 400, "http_request_error"),
  ambiguousPath: error("ambiguous_path", "client", 400, "http_request_error", "the path can be read in two ways"),
  denied: error("denied", "plugin", 403, "http_request_denied"),
  noRoute: error("no_route", "client", 404, "destination_not_found"),
  methodNotAllowed: error("method_not_allowed", "client", 405, "http_request_error"),
  requestTimeout: error("request_timeout", "client", 408, "http_request_error"),
  bodyTooLarge: error("body_too_large", "client", 413, "http_request_error"),
  targetTooLong: error("target_too_long", "client", 414, "http_request_error"),
  expectation: error("expectation_failed", "client", 417, "http_request_error"),
  misdirected: error(
    "misdirected",
    "client",
    421,
    "http_request_error",
    "the host is not the server name of the handshake",
  ),
  headTooLarge: error("head_too_large", "client", 431, "http_request_error"),
  /** For the log only: the client closed the connection before the response headers. */
  clientGone: error("client_gone", "client", 499, "http_request_error"),
  internal: error("internal", "internal", 500, "proxy_internal_error"),
  pluginFailed: error("plugin_failed", "plugin", 500, "proxy_internal_error"),
  codingUnknown: error("coding_unknown", "client", 501, "http_request_error"),
  /** An extended CONNECT whose protocol the route does not allow (RFC 9220 section 3). */
  protocolUnknown: error("protocol_unknown", "client", 501, "http_request_error", "the protocol is not allowed here"),
  connectRefused: error("connect_refused", "upstream", 502, "connection_refused"),
  connectFailed: error("connect_failed", "upstream", 502, "destination_ip_unroutable"),
  tlsFailed: error("tls_failed", "upstream", 502, "tls_protocol_error"),
  certificateInvalid: error("certificate_invalid", "upstream", 502, "tls_certificate_error"),
  upstreamReset: error("upstream_reset", "upstream", 502, "connection_terminated"),
  /** A plugin requires the complete body, which exceeds its limit. */
  responseTooLarge: error("response_too_large", "plugin", 502, "http_response_body_size"),
  /** Bytes on a reused connection that the endpoint sent before it can have read the request. */
  unsolicitedResponse: error("unsolicited_response", "upstream", 502, "http_protocol_error"),
  upstreamMalformed: error("upstream_malformed", "upstream", 502, "http_protocol_error"),
  /** The endpoint does not accept extended CONNECT, which an upgrade is over HTTP/2 (RFC 8441). */
  upgradeUnsupported: error("upgrade_unsupported", "upstream", 502, "http_upgrade_failed"),
  /** The response headers were sent: the response is aborted. */
  upstreamBroken: error("upstream_broken", "upstream", 502, "http_response_incomplete"),
  /** No stream of a shared connection became free in time. */
  streamLimit: error("stream_limit", "upstream", 503, "connection_limit_reached"),
  noEndpoint: error("no_endpoint", "upstream", 503, "destination_unavailable"),
  /** The limit of suspended and queued calls of the plugin is reached. */
  pluginBusy: error("plugin_busy", "plugin", 503, "proxy_internal_error"),
  connectTimeout: error("connect_timeout", "upstream", 504, "connection_timeout"),
  responseTimeout: error("response_timeout", "upstream", 504, "http_response_timeout"),
  versionUnknown: error("version_unknown", "client", 505, "http_request_error"),
} as const;

/** The error of a plugin's failure, by its OUTCOME. */
export function failureOf(outcome: number): ProxyError {
  return outcome === OUTCOME.busy ? ERROR.pluginBusy : ERROR.pluginFailed;
}

/** The error for a status with which the scan rejected a request head. */
export function refusalOf(status: number): ProxyError {
  switch (status) {
    case 405:
      return ERROR.methodNotAllowed;
    case 413:
      return ERROR.bodyTooLarge;
    case 414:
      return ERROR.targetTooLong;
    case 417:
      return ERROR.expectation;
    case 431:
      return ERROR.headTooLarge;
    case 501:
      return ERROR.codingUnknown;
    case 505:
      return ERROR.versionUnknown;
    default:
      return ERROR.malformed;
  }
}
