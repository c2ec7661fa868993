/** The metrics of `/metrics` and their help texts. Their kinds follow from their names. */
export const METRICS = {
  sluice_requests_total: "Completed requests.",
  sluice_grpc_requests_total: "Completed gRPC calls, by status of gRPC.",
  sluice_grpc_method_requests_total: "Completed gRPC calls, by configured method.",
  sluice_request_duration_seconds: "From the first byte of a request to the end of its response.",
  sluice_requests_in_flight: "Requests in progress.",
  sluice_requests_rejected_total: "Requests rejected for a fault of the client's, by reason.",
  sluice_internal_errors_total: "Internal errors of Sluice, each of which ended one exchange.",

  sluice_upstream_duration_seconds: "From picking an endpoint to its response headers.",
  sluice_upstream_unsolicited_total:
    "Connections to an endpoint that were closed because it sent bytes outside a response.",
  sluice_retries_total: "Further attempts after the first.",
  sluice_upstream_failures_total: "Attempts at an endpoint that failed, by reason.",
  sluice_upstream_http2_connections: "Open HTTP/2 connections to an endpoint.",
  sluice_upstream_http2_goaways_total: "GOAWAY frames with which an endpoint has ended an HTTP/2 connection.",
  sluice_upstream_http2_replaced_total:
    "HTTP/2 connections to an endpoint that were replaced because of many cancelled requests.",
  sluice_upstream_http2_errors_total: "HTTP/2 connections ended for a fault of the endpoint's, by error.",
  sluice_no_endpoint_total: "Requests for which the cluster had no usable endpoint.",

  sluice_connections_active: "Open client connections.",
  sluice_bytes_received_total: "Bytes received from clients.",
  sluice_bytes_sent_total: "Bytes sent to clients.",
  sluice_connections_refused_total:
    "Client connections that were closed because of a limit or a list of addresses, by its key.",
  sluice_connections_denied_total: "Client connections that a plugin closed before a byte was read.",
  sluice_listener_accept_errors_total: "Client connections that could not be accepted or set up.",
  sluice_http2_errors_total: "HTTP/2 connections ended for a fault of the client's, by error.",
  sluice_udp_datagrams_dropped_total: "UDP datagrams that were not relayed, by reason.",
  sluice_proxy_protocol_headers_total:
    "Connections of load balancers from which a PROXY protocol header is read, by result.",
  sluice_bandwidth_pauses_total: "Pauses of connections because their bandwidth is limited, by limit.",
  sluice_protocols_detected_total: "Connections to listeners with `protocol: auto`, by protocol.",
  sluice_tls_handshakes_total: "TLS handshakes with clients, by result.",

  sluice_tunnels_active: "Open tunnels: TCP connections, and connections that were upgraded, such as to WebSocket.",
  sluice_tunnel_bytes_received_total: "Bytes from clients that tunnels have forwarded.",
  sluice_tunnel_bytes_sent_total: "Bytes from endpoints that tunnels have forwarded.",
  sluice_tunnels_ended_total: "Tunnels that ended, by reason.",
  sluice_tunnel_seconds_total: "Durations of ended tunnels, summed.",
  sluice_relay_connections_total: "TCP connections and UDP sessions, by the result of connecting.",

  sluice_plugin_calls_total: "Calls of a plugin's hook.",
  sluice_plugin_fuel_total: "Fuel used by a plugin's hook.",
  sluice_plugin_failures_total: "Failures of a plugin's hook.",
  sluice_plugin_refused_total:
    "Calls not made because the plugin was quarantined, its calls were slow, or the client blocked.",
  sluice_plugin_rejected_total: "Calls rejected because the plugin's queue was full.",
  sluice_plugin_log_dropped_total: "Log lines of a plugin that were dropped.",
  sluice_plugin_fetch_failures_total: "Subrequests of plugins to origins and to the endpoint under check that failed.",
  sluice_plugin_guests: "Running guests of plugins on all workers.",
  sluice_plugin_quarantined: "Workers on which a plugin is in quarantine.",
  sluice_plugin_rollout_percent: "Percentage of a plugin's requests that the canary version handles.",
  sluice_plugin_rollout_requests: "Requests handled by each version of a plugin during a canary rollout.",
  sluice_plugin_rollout_failures: "Requests on which the version failed.",
  sluice_plugin_rollouts_total: "Canary rollouts of a plugin, by result.",

  sluice_kv_entries: "Entries of the key-value store.",
  sluice_kv_bytes: "Bytes of the entries, including keys and record headers.",
  sluice_kv_evictions_total: "Entries evicted to make space.",
  sluice_kv_expired_total: "Entries found expired.",

  sluice_ready: "1 while /ready responds 200.",
  sluice_config_version: "The configuration version that serves.",
  sluice_config_reloads_total: "Configuration reloads, by result.",
  sluice_admin_denied_total: "Requests to the admin interface without its token or host.",
  sluice_descriptors_exhausted_total: "Checks, one a second, that found no free file descriptor.",
  sluice_worker_event_loop_delay_seconds: "Delay of the last tick.",
  sluice_worker_restarts_total: "Workers that were replaced.",
  sluice_log_dropped_total: "Lines dropped: of the access log, the program's, and plugins'.",

  sluice_tls_certificate_expiry_seconds: "When a certificate expires, in seconds since 1970.",
  sluice_tls_ocsp_fetches_total: "Attempts to get OCSP responses, by result.",
  sluice_tls_ocsp_expiry_seconds:
    "When the stapled OCSP response of a certificate expires, in seconds since 1970; 0: none is stapled.",
  sluice_acme_orders_total: "Orders of certificates from an ACME server, by result.",
  sluice_acme_on_demand_requests_total: "Server names that wanted a certificate, by result.",
  sluice_acme_on_demand_certificates: "Certificates that were obtained on demand.",
  sluice_acme_next_order_seconds: "When the next order of a configured certificate is due, in seconds since 1970.",

  sluice_endpoint_healthy: "1 if the endpoint can receive requests.",
  sluice_endpoints_unresolved: "Configured endpoints whose name has no address.",
  sluice_resolve_failures_total: "Failed attempts to resolve names of endpoints.",
  sluice_resolutions_total: "Attempts to resolve names of endpoints, by result.",
  sluice_endpoint_set_version: "Version of the cluster's endpoint set.",
  sluice_health_checks_total: "Health checks of endpoints, by result.",
  sluice_endpoint_ejections_total: "Ejections of endpoints for failed requests.",
  sluice_circuit_open: "1 while an endpoint is ejected for failed requests.",
} as const;

export type MetricName = keyof typeof METRICS;
