/** Metrics of requests, upstreams, listeners and tunnels. */
import { HANDSHAKES } from "../net/tls-server.ts";
import { TUNNEL_ENDS } from "../net/tunnel.ts";
import type { Collectors } from "./collectors.ts";
import {
  BANDWIDTH_LIMITS,
  CLUSTER_CELLS,
  CONNECTION_RESULTS,
  DATAGRAM_DROPS,
  DETECTED_PROTOCOLS,
  GRPC_LABELS,
  HTTP2_ERRORS,
  LISTENER_CELLS,
  PROXY_HEADERS,
  REFUSALS,
  REJECTIONS,
  STATUS_CELLS,
  STATUS_LABELS,
  UPSTREAM_CELLS,
  UPSTREAM_FAILURES,
  WORKER_CELLS,
} from "./series.ts";

export function registerTraffic(metrics: Collectors): void {
  registerRequests(metrics);
  registerUpstreams(metrics);
  registerListeners(metrics);
  registerTunnels(metrics);
}

function registerRequests(metrics: Collectors): void {
  metrics.cellsBy("sluice_requests_total", "requests", 0, STATUS_LABELS, "status");
  metrics.cellsBy("sluice_grpc_requests_total", "requests", STATUS_CELLS, GRPC_LABELS, "grpc_status");
  metrics.cellsBy("sluice_grpc_method_requests_total", "grpcMethod", 0, GRPC_LABELS, "grpc_status");
  metrics.histogram("sluice_request_duration_seconds", "duration");
  metrics.total("sluice_requests_in_flight", WORKER_CELLS.requestsInFlight);
  metrics.cellsBy("sluice_requests_rejected_total", "listener", LISTENER_CELLS.rejected, REJECTIONS);
  metrics.total("sluice_internal_errors_total", WORKER_CELLS.internalErrors);
}

function registerUpstreams(metrics: Collectors): void {
  const { unsolicited, failures, sessions, goAways, replaced, http2Errors } = UPSTREAM_CELLS;
  metrics.histogram("sluice_upstream_duration_seconds", "upstream");
  metrics.cells("sluice_upstream_unsolicited_total", "upstream", unsolicited);
  metrics.cells("sluice_retries_total", "retries", CLUSTER_CELLS.retries);
  metrics.cellsBy("sluice_upstream_failures_total", "upstream", failures, UPSTREAM_FAILURES);
  metrics.cells("sluice_upstream_http2_connections", "upstream", sessions);
  metrics.cells("sluice_upstream_http2_goaways_total", "upstream", goAways);
  metrics.cells("sluice_upstream_http2_replaced_total", "upstream", replaced);
  metrics.cellsBy("sluice_upstream_http2_errors_total", "upstream", http2Errors, HTTP2_ERRORS, "error");
  metrics.cells("sluice_no_endpoint_total", "retries", CLUSTER_CELLS.noEndpoint);
}

function registerListeners(metrics: Collectors): void {
  const cells = LISTENER_CELLS;
  metrics.cells("sluice_connections_active", "listener", cells.connections);
  metrics.cells("sluice_bytes_received_total", "listener", cells.bytesReceived);
  metrics.cells("sluice_bytes_sent_total", "listener", cells.bytesSent);
  metrics.cellsBy("sluice_connections_refused_total", "listener", cells.refused, REFUSALS, "limit");
  metrics.cells("sluice_connections_denied_total", "listener", cells.denied);
  metrics.cells("sluice_listener_accept_errors_total", "listener", cells.acceptFailed);
  metrics.cellsBy("sluice_http2_errors_total", "listener", cells.http2Errors, HTTP2_ERRORS, "error");
  metrics.cellsBy("sluice_udp_datagrams_dropped_total", "listener", cells.datagramDrops, DATAGRAM_DROPS);
  metrics.cellsBy("sluice_proxy_protocol_headers_total", "listener", cells.proxyHeaders, PROXY_HEADERS, "result");
  metrics.add("sluice_bandwidth_pauses_total", () =>
    BANDWIDTH_LIMITS.map((limit, i) => ({
      labels: { limit },
      value: metrics.counters.sum(WORKER_CELLS.bandwidthPauses + i),
    })),
  );
  metrics.cellsBy("sluice_protocols_detected_total", "listener", cells.detected, DETECTED_PROTOCOLS, "protocol");
  metrics.cellsBy("sluice_tls_handshakes_total", "listener", cells.handshakes, HANDSHAKES, "result");
}

function registerTunnels(metrics: Collectors): void {
  metrics.cells("sluice_tunnels_active", "listener", LISTENER_CELLS.tunnels);
  metrics.cells("sluice_tunnel_bytes_received_total", "listener", LISTENER_CELLS.tunnelReceived);
  metrics.cells("sluice_tunnel_bytes_sent_total", "listener", LISTENER_CELLS.tunnelSent);
  metrics.cellsBy("sluice_tunnels_ended_total", "listener", LISTENER_CELLS.tunnelEnds, TUNNEL_ENDS);
  metrics.cells("sluice_tunnel_seconds_total", "listener", LISTENER_CELLS.tunnelSeconds);
  metrics.cellsBy("sluice_relay_connections_total", "connections", 0, CONNECTION_RESULTS, "result");
}
