/** Metrics of requests, upstreams, listeners and tunnels. */
import { HANDSHAKES } from "../net/tls-server.ts";
import { TUNNEL_ENDS } from "../net/tunnel.ts";
import type { Counters } from "./counters.ts";
import { listCalls, listHistograms, listReasons, listRequests, listValues, type Register } from "./metric-values.ts";
import {
  BANDWIDTH_LIMITS,
  CLUSTER_CELLS,
  CONNECTION_RESULTS,
  DATAGRAM_DROPS,
  DETECTED_PROTOCOLS,
  HTTP2_ERRORS,
  LISTENER_CELLS,
  PROXY_HEADERS,
  REFUSALS,
  REJECTIONS,
  STATUS_CELLS,
  UPSTREAM_CELLS,
  UPSTREAM_FAILURES,
  WORKER_CELLS,
} from "./series.ts";

export function registerTraffic(register: Register, counters: Counters): void {
  registerRequests(register, counters);
  registerUpstreams(register, counters);
  registerListeners(register, counters);
  registerTunnels(register, counters);
}

function registerRequests(register: Register, counters: Counters): void {
  const all = (cell: number) => () => [{ labels: {}, value: counters.sum(cell) }];
  register("counter", "sluice_requests_total", "Completed requests.", () => listRequests(counters));
  register("counter", "sluice_grpc_requests_total", "Completed gRPC calls, by status of gRPC.", () =>
    listCalls(counters, "requests", STATUS_CELLS),
  );
  register("counter", "sluice_grpc_method_requests_total", "Completed gRPC calls, by configured method.", () =>
    listCalls(counters, "grpcMethod", 0),
  );
  register(
    "histogram",
    "sluice_request_duration_seconds",
    "From the first byte of a request to the end of its response.",
    () => listHistograms(counters, "duration", "sluice_request_duration_seconds"),
  );
  register("gauge", "sluice_requests_in_flight", "Requests in progress.", all(WORKER_CELLS.requestsInFlight));
  register(
    "counter",
    "sluice_requests_rejected_total",
    "Requests rejected for a fault of the client's, by reason.",
    () => listReasons(counters, "listener", LISTENER_CELLS.rejected, REJECTIONS),
  );
  register(
    "counter",
    "sluice_internal_errors_total",
    "Internal errors of Sluice, each of which ended one exchange.",
    all(WORKER_CELLS.internalErrors),
  );
}

function registerUpstreams(register: Register, counters: Counters): void {
  register("histogram", "sluice_upstream_duration_seconds", "From picking an endpoint to its response headers.", () =>
    listHistograms(counters, "upstream", "sluice_upstream_duration_seconds"),
  );
  register(
    "counter",
    "sluice_upstream_unsolicited_total",
    "Connections to an endpoint that were closed because it sent bytes outside a response.",
    () => listValues(counters, "upstream", UPSTREAM_CELLS.unsolicited),
  );
  register("counter", "sluice_retries_total", "Further attempts after the first.", () =>
    listValues(counters, "retries", CLUSTER_CELLS.retries),
  );
  register("counter", "sluice_upstream_failures_total", "Attempts at an endpoint that failed, by reason.", () =>
    listReasons(counters, "upstream", UPSTREAM_CELLS.failures, UPSTREAM_FAILURES),
  );
  register("gauge", "sluice_upstream_http2_connections", "Open HTTP/2 connections to an endpoint.", () =>
    listValues(counters, "upstream", UPSTREAM_CELLS.sessions),
  );
  register(
    "counter",
    "sluice_upstream_http2_goaways_total",
    "GOAWAY frames with which an endpoint has ended an HTTP/2 connection.",
    () => listValues(counters, "upstream", UPSTREAM_CELLS.goAways),
  );
  register(
    "counter",
    "sluice_upstream_http2_replaced_total",
    "HTTP/2 connections to an endpoint that were replaced because of many cancelled requests.",
    () => listValues(counters, "upstream", UPSTREAM_CELLS.replaced),
  );
  register(
    "counter",
    "sluice_upstream_http2_errors_total",
    "HTTP/2 connections ended for a fault of the endpoint's, by error.",
    () => listReasons(counters, "upstream", UPSTREAM_CELLS.http2Errors, HTTP2_ERRORS, "error"),
  );
  register("counter", "sluice_no_endpoint_total", "Requests for which the cluster had no usable endpoint.", () =>
    listValues(counters, "retries", CLUSTER_CELLS.noEndpoint),
  );
}

function registerListeners(register: Register, counters: Counters): void {
  const one = (cell: number) => () => listValues(counters, "listener", cell);
  register("gauge", "sluice_connections_active", "Open client connections.", one(LISTENER_CELLS.connections));
  register("counter", "sluice_bytes_received_total", "Bytes received from clients.", one(LISTENER_CELLS.bytesReceived));
  register("counter", "sluice_bytes_sent_total", "Bytes sent to clients.", one(LISTENER_CELLS.bytesSent));
  register(
    "counter",
    "sluice_connections_refused_total",
    "Client connections that were closed because of a limit or a list of addresses, by its key.",
    () => listReasons(counters, "listener", LISTENER_CELLS.refused, REFUSALS, "limit"),
  );
  register(
    "counter",
    "sluice_connections_denied_total",
    "Client connections that a plugin closed before a byte was read.",
    one(LISTENER_CELLS.denied),
  );
  register(
    "counter",
    "sluice_listener_accept_errors_total",
    "Client connections that could not be accepted or set up.",
    one(LISTENER_CELLS.acceptFailed),
  );
  register(
    "counter",
    "sluice_http2_errors_total",
    "HTTP/2 connections ended for a fault of the client's, by error.",
    () => listReasons(counters, "listener", LISTENER_CELLS.http2Errors, HTTP2_ERRORS, "error"),
  );
  register("counter", "sluice_udp_datagrams_dropped_total", "UDP datagrams that were not relayed, by reason.", () =>
    listReasons(counters, "listener", LISTENER_CELLS.datagramDrops, DATAGRAM_DROPS),
  );
  register(
    "counter",
    "sluice_proxy_protocol_headers_total",
    "Connections of load balancers from which a PROXY protocol header is read, by result.",
    () => listReasons(counters, "listener", LISTENER_CELLS.proxyHeaders, PROXY_HEADERS, "result"),
  );
  register(
    "counter",
    "sluice_bandwidth_pauses_total",
    "Pauses of connections because their bandwidth is limited, by limit.",
    () =>
      BANDWIDTH_LIMITS.map((limit, i) => ({
        labels: { limit },
        value: counters.sum(WORKER_CELLS.bandwidthPauses + i),
      })),
  );
  register(
    "counter",
    "sluice_protocols_detected_total",
    "Connections to listeners with `protocol: auto`, by protocol.",
    () => listReasons(counters, "listener", LISTENER_CELLS.detected, DETECTED_PROTOCOLS, "protocol"),
  );
  register("counter", "sluice_tls_handshakes_total", "TLS handshakes with clients, by result.", () =>
    listReasons(counters, "listener", LISTENER_CELLS.handshakes, HANDSHAKES, "result"),
  );
}

function registerTunnels(register: Register, counters: Counters): void {
  const one = (cell: number) => () => listValues(counters, "listener", cell);
  register(
    "gauge",
    "sluice_tunnels_active",
    "Open tunnels: TCP connections, and connections that were upgraded, such as to WebSocket.",
    one(LISTENER_CELLS.tunnels),
  );
  register(
    "counter",
    "sluice_tunnel_bytes_received_total",
    "Bytes from clients that tunnels have forwarded.",
    one(LISTENER_CELLS.tunnelReceived),
  );
  register(
    "counter",
    "sluice_tunnel_bytes_sent_total",
    "Bytes from endpoints that tunnels have forwarded.",
    one(LISTENER_CELLS.tunnelSent),
  );
  register("counter", "sluice_tunnels_ended_total", "Tunnels that ended, by reason.", () =>
    listReasons(counters, "listener", LISTENER_CELLS.tunnelEnds, TUNNEL_ENDS),
  );
  register(
    "counter",
    "sluice_tunnel_seconds_total",
    "Durations of ended tunnels, summed.",
    one(LISTENER_CELLS.tunnelSeconds),
  );
  register(
    "counter",
    "sluice_relay_connections_total",
    "TCP connections and UDP sessions, by the result of connecting.",
    () => listReasons(counters, "connections", 0, CONNECTION_RESULTS, "result"),
  );
}
