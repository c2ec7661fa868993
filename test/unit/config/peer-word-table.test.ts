/** Every word of another proxy that the file may contain, as that proxy writes it, and the place that the message names. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BUILTINS } from "../../../src/config/builtins.ts";
import { loadConfig } from "../../../src/config/load.ts";
import {
  adviseKey,
  CLUSTER_PROTOCOLS,
  KEYS,
  LISTENER_PROTOCOLS,
  NAMES,
  PLACED,
  translateName,
} from "../../../src/config/peer-words.ts";

/** `[advice, words]`: the whole advice, and the words of nginx, HAProxy, Envoy, Traefik and Caddy that lead to it. */
const KEY_WORDS: readonly (readonly [advice: string, words: string])[] = [
  ["`clusters` at the top of the file", "upstream upstreams backend backends services"],
  ["`endpoints` of a cluster", "server servers hosts targets load_assignment"],
  ["`listeners` at the top of the file", "frontend frontends entryPoints"],
  ["`address` of a listener", "bind listen"],
  ['`address` of a listener, such as ":8080"', "port"],
  ["`routes` of a listener", "location locations virtual_hosts rules routers"],
  ["`cluster` of a route", "proxy_pass reverse_proxy use_backend"],
  ["`respond` or `redirect` of a route", "return"],
  [
    "`respond` of a route",
    "direct_response staticResponse static_response http-request-return fixed-response errorfile",
  ],
  ["`redirect` of a route", "redir redirectScheme redirectRegex http-request-redirect"],
  ["`redirect` of a listener or a route", "https_redirect redirections"],
  ["`chain` of a listener or a route", "middlewares filters http_filters"],
  ["`strategy` of a cluster", "balance lb_policy loadBalancer load_balancing algorithm"],
  [
    "`health: { passive: … }` of a cluster, and `pool.connections` to limit requests in flight",
    "circuitBreaker circuit_breakers outlier_detection max_fails fail_timeout",
  ],
  ["`health: { active: … }` of a cluster", "healthCheck health_checks httpchk"],
  ["`protocol: http2` of a cluster; listeners accept HTTP/2 without a setting", "http2 h2 h2c"],
  ["`upgrade` of a route, which allows WebSocket by default", "websocket websockets"],
  [
    "`tls: { certificates: [{ cert: …, key: … }] }` of a listener",
    "ssl certificate ssl_certificate tlsContext tls_context",
  ],
  ["`pool.connections` of a cluster, or `limits.connections` of a listener", "maxconn max_conns max_connections"],
  ["`pool` of a cluster, or `timeouts.idle` of a listener", "keepalive"],
  ["`timeouts.idle` of a listener", "keepalive_timeout"],
  ["`timeouts.connect` of a cluster", "connect_timeout"],
  ["`timeouts.response` of a cluster", "readTimeout responseTimeout"],
  ["`limits.body` of a listener", "client_max_body_size maxRequestBodySize"],
  ["`retry: { attempts: … }` of a route", "retries num_retries retry_policy"],
  ["`log: { access: … }` at the top of the file", "access_log accessLog"],
  ["`trustedProxies` of a listener", "set_real_ip_from trustedIPs use_xff"],
  ["`proxyProtocol` of a cluster", "send-proxy"],
  ["`proxyProtocol` of a listener", "accept-proxy"],
  ["`resolver` at the top of the file", "dns"],
  ["`resolver: { servers: … }` at the top of the file", "nameservers"],
  ["`admin` at the top of the file, which serves /metrics", "metrics"],
  ["`admin` at the top of the file", "stats"],
  ["`admin` at the top of the file, which serves a status page", "dashboard"],
  ["`workers` at the top of the file", "threads worker_processes nbthread concurrency"],
  ["the filter `rate-limit` in a `chain`", "rateLimit limit_req"],
  ["the filter `rewrite` in a `chain`", "stripPrefix"],
  ["the filter `headers` in a `chain`", "addHeader add_header proxy_set_header"],
  ["the strategy `ip-hash` or `consistent-hash`", "sticky sticky-sessions"],
  ["`prefix` in `match` of a route", "PathPrefix starts_with path_beg"],
  ["`path` or `prefix` in `match` of a route", "uri url"],
  ["`regex` in `match` of a route", "PathRegexp"],
  ["`host` in `match` of a route", "hostname hostnames domains"],
  ["`host` or `sni` in `match` of a route", "server_name"],
  ["`sni` in `match` of a route", "HostSNI req_ssl_sni req.ssl_sni"],
  ["`client` in `match` of a route", "ClientIP source_ip"],
  ["`limits: { connectionsPerClient: … }` of a listener", "connectionsPerIP maxConnectionsPerIp limit_conn"],
  ["`limits: { connectionRatePerClient: … }` of a listener", "connection_rate"],
  ["`http2: { maxConcurrentStreams: … }` of a listener", "maxStreams max_concurrent_stream"],
  ["`limits: { connectionRatePerClient: … }` of a listener, or the filter `rate-limit` in a `chain`", "rate"],
  ["`limits: { bandwidth: … }` of a listener, or `bandwidth` of a route", "limit_rate"],
  ["`timeouts.idle` of a listener, or `timeouts.tunnel` of a cluster", "proxy_timeout"],
  ["`tls: { acme: … }` of a listener", "letsencrypt certResolver"],
  ["the strategy `consistent-hash: { key: … }` of a cluster", "hashPolicy hash_policy"],
  [
    "the filter `rewrite` in a `chain`",
    "prefix_rewrite regex_rewrite path_rewrite host_rewrite_literal replacePath handle_path",
  ],
  ["the filter `headers` in a `chain`", "header header_up header_down request_headers_to_add"],
  ["`regex` in `match` of a route", "safe_regex safe_regex_match path_regex"],
  ["`chain` of the route", "typed_per_filter_config per_filter_config"],
  ["`routes` of a listener", "handle"],
];

/** `[name of a built-in plugin, names elsewhere]`. */
const NAME_WORDS: readonly (readonly [name: string, words: string])[] = [
  ["least-connections", "LEAST_REQUEST"],
  ["round-robin", "rr wrr WeightedRoundRobin"],
  ["power-of-two", "P2C random_two"],
  ["ip-hash", "source source_ip"],
  ["consistent-hash", "RING_HASH maglev chash hash ketama hrw"],
  ["fastest-response", "least_time peak_ewma ewma response_time"],
  ["rate-limit", "limit_req local_ratelimit"],
  ["basic-auth", "auth_basic"],
  ["ext-auth", "auth_request forwardAuth ext_authz"],
  ["jwt", "jwt_authn"],
  ["ip-filter", "ipAllowList ipWhiteList rbac"],
  ["headers", "add_header setHeader"],
  ["rewrite", "addPrefix stripPrefix"],
  ["redirect", "redirectScheme"],
  ["respond", "direct_response static_response return"],
];

const CLUSTER: Readonly<Record<string, string>> = {
  h2: 'did you mean "http2"',
  h2c: 'did you mean "http2"',
  grpc: 'did you mean "http2"',
  grpcs: 'did you mean "http2" and `tls`',
  https: "expected `tls` of the cluster",
};
const LISTENER: Readonly<Record<string, string>> = {
  h2: "expected http, which serves HTTP/2 without a setting",
  h2c: "expected http, which serves HTTP/2 without a setting",
  http2: "expected http, which serves HTTP/2 without a setting",
  grpc: "expected http, which serves HTTP/2 without a setting",
  https: "expected http with `tls` of the listener",
  tls: "expected tcp, with `tls` of the listener or without it",
};

const words = (table: typeof KEY_WORDS): (readonly [word: string, meant: string])[] =>
  table.flatMap(([meant, list]) => list.split(" ").map((word) => [word, meant] as const));
const normalize = (word: string): string => word.toLowerCase().replace(/[^a-z0-9]/g, "");

/** The problems of a configuration with this text at one place. */
function load({ top = "", listener = "", cluster = "cluster: app", route = "", more = "", endpoint = "" }): string {
  const text = `${top}
listeners: { web: { address: ":8080", ${listener || `routes: [{ ${cluster}, ${route} }]`} } }
clusters: { app: { endpoints: [{ address: "127.0.0.1:9001", ${endpoint} }], ${more} } }`;
  return loadConfig(text, { file: "s", env: {} })
    .problems.map(({ message }) => message)
    .join("\n");
}

test("each key of another proxy has its advice", () => {
  for (const [word, advice] of words(KEY_WORDS)) assert.equal(adviseKey(word, []), `write ${advice}`, word);
  const missing = Object.keys(KEYS).filter((key) => !words(KEY_WORDS).some(([word]) => normalize(word) === key));
  assert.deepEqual(missing, [], "not in this table");
});

test("each name of a filter or strategy of another proxy has its translation", () => {
  for (const [word, name] of words(NAME_WORDS)) {
    const known = Object.keys(BUILTINS).filter((one) => BUILTINS[one] === BUILTINS[name]);
    assert.equal(translateName(word, known), name, word);
  }
  const missing = Object.keys(NAMES).filter((key) => !words(NAME_WORDS).some(([word]) => normalize(word) === key));
  assert.deepEqual(missing, [], "not in this table");
});

test("each protocol of another proxy has its advice", () => {
  for (const [word, meant] of Object.entries(CLUSTER))
    assert.ok(load({ more: `protocol: ${word}` }).includes(`"${word}" is not known, ${meant}`), word);
  for (const [word, meant] of Object.entries(LISTENER)) {
    const problems = load({ listener: `protocol: ${word}, cluster: app` });
    assert.ok(problems.includes(`"${word}" is not known, ${meant}`), word);
  }
  assert.deepEqual(Object.keys(CLUSTER_PROTOCOLS), Object.keys(CLUSTER));
  assert.deepEqual(Object.keys(LISTENER_PROTOCOLS), Object.keys(LISTENER));
});

/** `[part of the file, keys there, advice]`, each key written at its place. */
const PLACES: readonly (readonly [
  write: (entry: string) => Parameters<typeof load>[0],
  keys: string,
  advice: string,
])[] = [
  [
    (entry) => ({ route: entry }),
    "path prefix regex host method headers query cookie client scheme",
    "it within `match: { … }` of the route",
  ],
  [
    (entry) => ({ listener: `cluster: app, ${entry}` }),
    "match split upgrade retry passthrough",
    "it in a route of `routes`",
  ],
  [
    (entry) => ({ route: entry }),
    "address tls protocol limits proxyProtocol trustedProxies allow deny",
    "it in the listener",
  ],
  [(entry) => ({ route: entry }), "endpoints strategy pool health", "it in the cluster"],
  [(entry) => ({ top: entry }), "server http https tcp stream sites vhosts", "`listeners`"],
  [(entry) => ({ top: entry }), "routes chain tls respond redirect", "it in one of `listeners`"],
  [(entry) => ({ top: entry }), "endpoints strategy pool health", "it in one of `clusters`"],
  [(entry) => ({ more: entry }), "ssl https tlsContext certificate", "`tls` of the cluster"],
  [(entry) => ({ endpoint: entry }), "ssl tls verify sni", "`tls` of the cluster"],
  [
    (entry) => ({ endpoint: entry }),
    "drain draining down disabled state",
    "`sluice drain CLUSTER ENDPOINT` on the command line",
  ],
  [(entry) => ({ endpoint: entry }), "check interval", "`health: { active: … }` of a cluster"],
  [(entry) => ({ endpoint: entry }), "host port ip url server name", '`address: "host:port"`'],
  [(entry) => ({ more: `tls: { ${entry} }` }), "serverName hostname host", "`sni`"],
  [(entry) => ({ more: `tls: { ${entry} }` }), "insecure insecureSkipVerify skipVerify", "`verify: false`"],
  [(entry) => ({ more: `health: { active: { tcp: {}, ${entry} } }` }), "path uri url httpPath", "`http: /path`"],
  [
    (entry) => ({ listener: `cluster: app, tls: { ${entry} }` }),
    "cert key certFile keyFile",
    "`certificates: [{ cert: …, key: … }]`",
  ],
  [
    (entry) => ({ more: `health: { passive: { ${entry} } }` }),
    "consecutive_5xx consecutiveErrors consecutive_gateway_failure max_fails",
    "`consecutiveFailures`",
  ],
  [(entry) => ({ more: `health: { passive: { ${entry} } }` }), "base_ejection_time fail_timeout", "`ejectFor`"],
  [(entry) => ({ more: `health: { passive: { ${entry} } }` }), "max_ejection_time", "`maxEjectFor`"],
  [(entry) => ({ more: `health: { passive: { ${entry} } }` }), "max_ejection_percent", "`maxEjected`"],
  [(entry) => ({ top: `log: { access: { ${entry} } }` }), "path output", "`file`"],
  [(entry) => ({ top: `log: { access: { ${entry} } }` }), "if filter condition", "`where`"],
];

test("what another proxy has and Sluice has not is named", () => {
  const absent = {
    "bodies are forwarded as endpoints encode them": "gzip brotli zstd compress compression encode",
    "files are served by an endpoint": "file_server root try_files autoindex static",
    "responses are not cached": "cache proxy_cache caching",
  };
  for (const [reason, keys] of Object.entries(absent))
    for (const key of keys.split(" ")) {
      const text = `unknown key "${key}", which is not available: ${reason}`;
      assert.ok(load({ route: `${key}: x` }).includes(text), key);
      assert.ok(load({ listener: `cluster: app, ${key}: x` }).includes(text), key);
    }
});

test("each cause of a retry of another proxy has its advice", () => {
  const causes = {
    "expected connect": "connect-failure conn-failure",
    "expected reset": "refused-stream reset-before-request empty-response",
    "expected connect, reset, timeout": "error",
    "expected timeout": "response-timeout",
    "expected 502, 503, 504": "gateway-error",
    "expected status codes, such as 502, 503, 504": "5xx all-retryable-errors retriable-status-codes",
    "expected 409": "retriable-4xx",
  };
  for (const [advice, words] of Object.entries(causes))
    for (const word of words.split(" "))
      assert.ok(load({ route: `retry: { on: [${word}] }` }).includes(`"${word}" is not known, ${advice}`), word);
});

test("each key at a place where it means something else has its advice", () => {
  const written = PLACES.flatMap(([write, keys, advice]) => keys.split(" ").map((key) => ({ write, key, advice })));
  for (const { write, key, advice } of written) {
    const problems = load(write(`${key}: x`));
    assert.ok(problems.includes(`unknown key "${key}", write ${advice}`), `${key}: ${problems}`);
  }
  const places = PLACED.flatMap(([, keys, advice]) => keys.split(" ").map((key) => `${key}: ${advice}`));
  const here = written.map(({ key, advice }) => `${normalize(key)}: ${advice}`);
  assert.deepEqual(places.map((one) => one.toLowerCase()).sort(), here.map((one) => one.toLowerCase()).sort());
});
