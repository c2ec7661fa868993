/** What to write instead of keys and names that users of nginx, HAProxy, Envoy, Traefik and Caddy know. */

const CLUSTERS = "`clusters` at the top of the file";
const ENDPOINTS = "`endpoints` of a cluster";
const ROUTES = "`routes` of a listener";
const CHAIN = "`chain` of a listener or a route";
const STRATEGY = "`strategy` of a cluster";
const PASSIVE = "`health: { passive: … }` of a cluster, and `pool.connections` to limit requests in flight";
const ACTIVE = "`health: { active: … }` of a cluster";
const CERTIFICATES = "`tls: { certificates: [{ cert: …, key: … }] }` of a listener";
const RESPONSE = "`timeouts.response` of a cluster";
const TRUSTED = "`trustedProxies` of a listener";
const CONNECTIONS = "`pool.connections` of a cluster, or `limits.connections` of a listener";
const RETRY = "`retry: { attempts: … }` of a route";
const PREFIX = "`prefix` in `match` of a route";
const HOST = "`host` in `match` of a route";
const SNI = "`sni` in `match` of a route";
const PER_CLIENT = "`limits: { connectionsPerClient: … }` of a listener";
const STREAMS = "`http2: { maxConcurrentStreams: … }` of a listener";
const BANDWIDTH = "`limits: { bandwidth: … }` of a listener, or `bandwidth` of a route";
const RESPOND = "`respond` of a route";
const REDIRECT = "`redirect` of a route";
const HTTP2 = "`protocol: http2` of a cluster; listeners accept HTTP/2 without a setting";
const UPGRADE = "`upgrade` of a route, which allows WebSocket by default";

/** Keys, by `normalize`. */
export const KEYS: Readonly<Record<string, string>> = {
  upstream: CLUSTERS,
  upstreams: CLUSTERS,
  backend: CLUSTERS,
  backends: CLUSTERS,
  services: CLUSTERS,
  servers: ENDPOINTS,
  server: ENDPOINTS,
  hosts: ENDPOINTS,
  targets: ENDPOINTS,
  loadassignment: ENDPOINTS,
  frontend: "`listeners` at the top of the file",
  frontends: "`listeners` at the top of the file",
  entrypoints: "`listeners` at the top of the file",
  bind: "`address` of a listener",
  listen: "`address` of a listener",
  port: '`address` of a listener, such as ":8080"',
  location: ROUTES,
  locations: ROUTES,
  virtualhosts: ROUTES,
  rules: ROUTES,
  routers: ROUTES,
  proxypass: "`cluster` of a route",
  reverseproxy: "`cluster` of a route",
  usebackend: "`cluster` of a route",
  return: "`respond` or `redirect` of a route",
  directresponse: RESPOND,
  staticresponse: RESPOND,
  httprequestreturn: RESPOND,
  fixedresponse: RESPOND,
  errorfile: RESPOND,
  redir: REDIRECT,
  redirectscheme: REDIRECT,
  redirectregex: REDIRECT,
  httprequestredirect: REDIRECT,
  httpsredirect: "`redirect` of a listener or a route",
  redirections: "`redirect` of a listener or a route",
  middlewares: CHAIN,
  filters: CHAIN,
  httpfilters: CHAIN,
  balance: STRATEGY,
  lbpolicy: STRATEGY,
  loadbalancer: STRATEGY,
  loadbalancing: STRATEGY,
  algorithm: STRATEGY,
  circuitbreaker: PASSIVE,
  circuitbreakers: PASSIVE,
  outlierdetection: PASSIVE,
  maxfails: PASSIVE,
  failtimeout: PASSIVE,
  healthcheck: ACTIVE,
  healthchecks: ACTIVE,
  httpchk: ACTIVE,
  http2: HTTP2,
  h2: HTTP2,
  h2c: HTTP2,
  websocket: UPGRADE,
  websockets: UPGRADE,
  ssl: CERTIFICATES,
  certificate: CERTIFICATES,
  sslcertificate: CERTIFICATES,
  tlscontext: CERTIFICATES,
  maxconn: CONNECTIONS,
  maxconns: CONNECTIONS,
  maxconnections: CONNECTIONS,
  keepalive: "`pool` of a cluster, or `timeouts.idle` of a listener",
  keepalivetimeout: "`timeouts.idle` of a listener",
  connecttimeout: "`timeouts.connect` of a cluster",
  readtimeout: RESPONSE,
  responsetimeout: RESPONSE,
  clientmaxbodysize: "`limits.body` of a listener",
  maxrequestbodysize: "`limits.body` of a listener",
  retries: RETRY,
  numretries: RETRY,
  retrypolicy: RETRY,
  accesslog: "`log: { access: … }` at the top of the file",
  setrealipfrom: TRUSTED,
  trustedips: TRUSTED,
  usexff: TRUSTED,
  sendproxy: "`proxyProtocol` of a cluster",
  acceptproxy: "`proxyProtocol` of a listener",
  dns: "`resolver` at the top of the file",
  nameservers: "`resolver: { servers: … }` at the top of the file",
  metrics: "`admin` at the top of the file, which serves /metrics",
  stats: "`admin` at the top of the file",
  dashboard: "`admin` at the top of the file, which serves a status page",
  threads: "`workers` at the top of the file",
  workerprocesses: "`workers` at the top of the file",
  nbthread: "`workers` at the top of the file",
  concurrency: "`workers` at the top of the file",
  ratelimit: "the filter `rate-limit` in a `chain`",
  limitreq: "the filter `rate-limit` in a `chain`",
  stripprefix: "the filter `rewrite` in a `chain`",
  addheader: "the filter `headers` in a `chain`",
  proxysetheader: "the filter `headers` in a `chain`",
  sticky: "the strategy `ip-hash`",
  stickysessions: "the strategy `ip-hash`",
  pathprefix: PREFIX,
  startswith: PREFIX,
  pathbeg: PREFIX,
  uri: "`path` or `prefix` in `match` of a route",
  url: "`path` or `prefix` in `match` of a route",
  pathregexp: "`regex` in `match` of a route",
  hostname: HOST,
  hostnames: HOST,
  servername: "`host` or `sni` in `match` of a route",
  domains: HOST,
  hostsni: SNI,
  reqsslsni: SNI,
  clientip: "`client` in `match` of a route",
  sourceip: "`client` in `match` of a route",
  connectionsperip: PER_CLIENT,
  maxconnectionsperip: PER_CLIENT,
  limitconn: PER_CLIENT,
  connectionrate: "`limits: { connectionRatePerClient: … }` of a listener",
  maxstreams: STREAMS,
  maxconcurrentstream: STREAMS,
  rate: "`limits: { connectionRatePerClient: … }` of a listener, or the filter `rate-limit` in a `chain`",
  limitrate: BANDWIDTH,
  proxytimeout: "`timeouts.idle` of a listener, or `timeouts.tunnel` of a cluster",
  letsencrypt: "`tls: { acme: … }` of a listener",
  certresolver: "`tls: { acme: … }` of a listener",
};

const IS_HTTP2 = 'did you mean "http2"';

/** Protocols of a cluster. */
export const CLUSTER_PROTOCOLS: Readonly<Record<string, string>> = {
  h2: IS_HTTP2,
  h2c: IS_HTTP2,
  grpc: IS_HTTP2,
  grpcs: `${IS_HTTP2} and \`tls\``,
  https: "expected `tls` of the cluster",
};

const SERVES_HTTP2 = "expected http, which serves HTTP/2 without a setting";

/** Protocols of a listener. */
export const LISTENER_PROTOCOLS: Readonly<Record<string, string>> = {
  h2: SERVES_HTTP2,
  h2c: SERVES_HTTP2,
  http2: SERVES_HTTP2,
  grpc: SERVES_HTTP2,
  https: "expected http with `tls` of the listener",
  tls: "expected tcp, with `tls` of the listener or without it, to decrypt or to pass TLS through",
};

/** Names of strategies and filters, by `normalize`. */
export const NAMES: Readonly<Record<string, string>> = {
  leastrequest: "least-connections",
  rr: "round-robin",
  wrr: "round-robin",
  weightedroundrobin: "round-robin",
  p2c: "power-of-two",
  randomtwo: "power-of-two",
  source: "ip-hash",
  sourceip: "ip-hash",
  limitreq: "rate-limit",
  localratelimit: "rate-limit",
  authbasic: "basic-auth",
  authrequest: "ext-auth",
  forwardauth: "ext-auth",
  extauthz: "ext-auth",
  jwtauthn: "jwt",
  ipallowlist: "ip-filter",
  ipwhitelist: "ip-filter",
  rbac: "ip-filter",
  addheader: "headers",
  setheader: "headers",
  addprefix: "rewrite",
  stripprefix: "rewrite",
  redirectscheme: "redirect",
  directresponse: "respond",
  staticresponse: "respond",
  return: "respond",
};

/** Advice for keys that are known elsewhere, or mean something else there, in maps that know the key `in`. */
const PLACED: readonly { readonly in: string; readonly keys: readonly string[]; readonly advice: string }[] = [
  {
    in: "match",
    keys: ["path", "prefix", "regex", "host", "method", "headers", "query", "cookie", "client", "scheme"],
    advice: "it within `match: { … }` of the route",
  },
  {
    in: "trustedProxies",
    keys: ["match", "split", "router", "clusters", "upgrade", "retry", "passthrough"],
    advice: "it in a route of `routes`",
  },
  {
    in: "split",
    keys: ["address", "tls", "protocol", "limits", "proxyprotocol", "trustedproxies", "allow", "deny"],
    advice: "it in the listener",
  },
  { in: "split", keys: ["endpoints", "strategy", "pool", "health"], advice: "it in the cluster" },
  { in: "listeners", keys: ["server", "http", "https", "tcp", "stream", "sites", "vhosts"], advice: "`listeners`" },
  { in: "listeners", keys: ["routes", "chain", "tls", "respond", "redirect"], advice: "it in one of `listeners`" },
  { in: "listeners", keys: ["endpoints", "strategy", "pool", "health"], advice: "it in one of `clusters`" },
  { in: "strategy", keys: ["ssl", "https", "tlscontext", "certificate"], advice: "`tls` of the cluster" },
  { in: "zone", keys: ["ssl", "tls", "verify", "sni"], advice: "`tls` of the cluster" },
  {
    in: "zone",
    keys: ["drain", "draining", "down", "disabled", "state"],
    advice: "`sluice drain CLUSTER ENDPOINT` on the command line",
  },
  { in: "zone", keys: ["check", "interval"], advice: ACTIVE },
  { in: "verify", keys: ["servername", "hostname", "host"], advice: "`sni`" },
  { in: "verify", keys: ["insecure", "insecureskipverify", "skipverify"], advice: "`verify: false`" },
  { in: "unhealthyAfter", keys: ["path", "uri", "url", "httppath"], advice: "`http: /path`" },
  { in: "zone", keys: ["host", "port", "ip", "url", "server", "name"], advice: '`address: "host:port"`' },
  {
    in: "certificates",
    keys: ["cert", "key", "certfile", "keyfile"],
    advice: "`certificates: [{ cert: …, key: … }]`",
  },
];

/**
 * The advice for an unknown key in a map with these known keys, such as "`endpoints` of a cluster"; undefined if there
 * is none.
 */
export function adviseKey(key: string, known: readonly string[]): string | undefined {
  const word = normalize(key);
  const placed = PLACED.find((one) => known.includes(one.in) && one.keys.includes(word));
  if (placed !== undefined) return placed.advice;
  return Object.hasOwn(KEYS, word) ? KEYS[word] : undefined;
}

/** The known name that users of other proxies mean by this one; undefined if there is none. */
export function translateName(name: string, known: readonly string[]): string | undefined {
  const word = normalize(name);
  const translated = Object.hasOwn(NAMES, word) ? NAMES[word]! : undefined;
  return translated !== undefined && known.includes(translated) ? translated : findPart(word, known);
}

/** The only known word that begins or ends with `word`, regardless of case and separators: TLSv1.2 for 1.2. */
export function findPart(word: string, known: readonly string[]): string | undefined {
  const part = normalize(word);
  if (part.length < 2) return undefined;
  const found = known.filter((one) => {
    const whole = normalize(one);
    return whole.startsWith(part) || whole.endsWith(part);
  });
  return found.length === 1 ? found[0] : undefined;
}

/** Lower case without separators: `max_conns`, `maxConns` and `max-conns` are one word. */
function normalize(word: string): string {
  return word.toLowerCase().replace(/[^a-z0-9]/g, "");
}
