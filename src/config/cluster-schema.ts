/** `clusters`: strategies, timeouts, pools and endpoints. */
import { PROXY_TLVS, type ProxyHeaderOptions } from "../net/proxy-header.ts";
import { endpointAddress } from "./address-values.ts";
import { health } from "./health-schema.ts";
import { fieldValue } from "./http-values.ts";
import { CLUSTER_PROTOCOLS } from "./peer-words.ts";
import { convert, list, object, oneOrMore, optional, required, use, withDefault } from "./shape.ts";
import { clusterTls } from "./tls-schema.ts";
import { choice, count, duration, idleTimeouts, size } from "./values.ts";

const endpoint = convert(
  object(
    {
      address: required(
        endpointAddress,
        "`127.0.0.1:9001`, `name:9001`, `[::1]:9001`, `unix:/path`, or `srv:_http._tcp.name`. A name becomes one endpoint per address (IPv4, or IPv6 if there is no IPv4 address), and is resolved again when its time to live ends. While it has no address it has no endpoint, and resolution is retried. `srv:` uses SRV records: the targets with the lowest priority number, with their ports and weights (in place of `weight`).",
      ),
      weight: withDefault(count(1, 1000), 1, "Weight relative to the other endpoints."),
      zone: withDefault(fieldValue, "", "Zone of the endpoint; strategies may prefer a zone."),
    },
    { shorthand: { scalar: "address" } },
  ),
  (value, at) => ({ ...value, at }),
);

const endpoints = convert(list(endpoint), (all, at, { report, warn, hasProblem }) => {
  if (all.length === 0 && !hasProblem(at.path)) warn(at, "the cluster has no endpoints: its requests get 503");
  const seen = new Set<string>();
  for (const { address, at } of all) {
    if (seen.has(address.text)) report(at, `duplicate endpoint ${address.text}`);
    seen.add(address.text);
  }
  return all;
});

const strategies = convert(oneOrMore(use("strategy")), (all, at, { report, hasProblem }) => {
  if (all.length === 0 && !hasProblem(at.path)) report(at, "the list is empty, expected a strategy");
  return all;
});

const proxyHeader = convert(
  object(
    {
      version: required(choice(["v1", "v2"]), "The version: text or binary."),
      tlvs: withDefault(
        list(choice(PROXY_TLVS)),
        [],
        "Further facts in a header of version 2: `authority` (the server name of the client's TLS handshake), `alpn`, `ssl` (version, cipher, and the common name of the client's verified certificate), `unique-id` (of the client's connection), `crc32c` (a checksum). What a load balancer in front has sent is passed on where this proxy has not terminated the client's TLS.",
      ),
    },
    { shorthand: { scalar: "version" } },
  ),
  ({ version, tlvs }, at, { report }): ProxyHeaderOptions => {
    if (version === "v1" && tlvs.length > 0) report(at, "version 1 has no TLVs, expected version: v2");
    return { version: version === "v1" ? 1 : 2, tlvs };
  },
);

const fields = object(
  {
    strategy: withDefault(
      strategies,
      "round-robin",
      "The load-balancing strategy. In a list the first is the default; a plugin may choose another one for a request.",
    ),
    protocol: withDefault(
      choice(["http1", "http2", "auto"], CLUSTER_PROTOCOLS),
      "http1",
      "The protocol of the endpoints. `http2`: with prior knowledge, over TLS by ALPN, which must select it. `auto`: what ALPN selects; without TLS it is HTTP/1. Requests of HTTP/2 share connections.",
    ),
    timeouts: withDefault(
      object({
        connect: withDefault(
          duration("1ms", "1h"),
          "3s",
          "To establish a connection; then 504. Of HTTP/2 also the wait for a connection with a free stream, and for the response to a PING.",
        ),
        response: withDefault(idleTimeouts, "60s", "From the end of the request to the response headers; then 504."),
        idle: withDefault(idleTimeouts, "60s", "Between two reads of a response body."),
        ping: withDefault(
          idleTimeouts,
          "10s",
          "How long an HTTP/2 connection with requests in flight may be silent before a PING verifies that it lives. After two without HEADERS or DATA of the endpoint they are rare (docs/http2.md).",
        ),
        tunnel: withDefault(
          idleTimeouts,
          "1h",
          "How long a tunnel, such as a WebSocket connection, may be idle in both directions; then it is closed.",
        ),
      }),
      {},
      "Timeouts for the endpoint.",
    ),
    pool: withDefault(
      object({
        idle: withDefault(
          count(0, 100_000),
          64,
          "Idle connections kept per endpoint and worker for `idleFor`. More of them are kept for 5 s, so that a load with more requests at once does not open connections all the time; with 0 none is reused.",
        ),
        idleFor: withDefault(idleTimeouts, "55s", "How long an idle connection is kept."),
        connections: withDefault(
          count(0, 1_000_000),
          0,
          "Requests in flight to one endpoint, over all workers. 0: no limit.",
        ),
        requests: withDefault(count(0, 1_000_000_000), 1000, "Maximum requests per connection. 0: no limit."),
        age: withDefault(
          idleTimeouts,
          "1h",
          "Maximum age of a connection. It takes no further request then, and is closed after the last one.",
        ),
      }),
      {},
      "Connections to the endpoints.",
    ),
    limits: withDefault(
      object({
        head: withDefault(
          size("1KiB", "512KiB"),
          "64KiB",
          "Size of the response headers, and of all interim responses together; above it 502.",
        ),
        headers: withDefault(count(1, 1000), 256, "Number of response headers; above it 502."),
      }),
      {},
      "Limits of response headers.",
    ),
    health: withDefault(health, {}, "Health checks. An endpoint that is unhealthy or ejected receives no requests."),
    tls: optional(
      clusterTls,
      "TLS to the endpoints, for requests and health checks. Default: plain HTTP. tls.md shows each use.",
    ),
    proxyProtocol: optional(
      proxyHeader,
      "Begin each connection to an endpoint with a header of the PROXY protocol about the client's connection: `v1`, `v2`, or a map. An HTTP/1 connection to an endpoint then serves one client connection only. Health checks send LOCAL (version 1: UNKNOWN). protocols.md shows each use.",
    ),
    endpoints: required(endpoints, "The endpoints: addresses, or maps with an address."),
  },
  { shorthand: { list: "endpoints" } },
);

export const cluster = convert(fields, (value, at, { report }) => {
  if (value.proxyProtocol !== undefined && value.protocol !== "http1")
    report(
      at,
      `proxyProtocol with protocol ${value.protocol}, whose connections are shared by clients: expected http1`,
    );
  return value;
});
