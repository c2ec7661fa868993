/** What to write instead of keys and names that users of nginx, HAProxy, Envoy, Traefik and Caddy know. */
import { BUILTINS } from "./builtins.ts";

const ACTIVE = "`health: { active: … }` of a cluster";

/** Words and what each of them means here. Words are those of `normalize`, separated by blanks. */
type Glossary = readonly (readonly [words: string, meaning: string])[];

function byWord(glossary: Glossary): Readonly<Record<string, string>> {
  return Object.fromEntries(glossary.flatMap(([words, meaning]) => words.split(" ").map((word) => [word, meaning])));
}

/** Keys. */
export const KEYS = byWord([
  ["upstream upstreams backend backends services", "`clusters` at the top of the file"],
  ["servers server hosts targets loadassignment", "`endpoints` of a cluster"],
  ["frontend frontends entrypoints", "`listeners` at the top of the file"],
  ["bind listen", "`address` of a listener"],
  ["port", '`address` of a listener, such as ":8080"'],
  ["location locations virtualhosts rules routers", "`routes` of a listener"],
  ["proxypass reverseproxy usebackend", "`cluster` of a route"],
  ["return", "`respond` or `redirect` of a route"],
  ["directresponse staticresponse httprequestreturn fixedresponse errorfile", "`respond` of a route"],
  ["redir redirectscheme redirectregex httprequestredirect", "`redirect` of a route"],
  ["httpsredirect redirections", "`redirect` of a listener or a route"],
  ["middlewares filters httpfilters", "`chain` of a listener or a route"],
  ["balance lbpolicy loadbalancer loadbalancing algorithm", "`strategy` of a cluster"],
  [
    "circuitbreaker circuitbreakers outlierdetection maxfails failtimeout",
    "`health: { passive: … }` of a cluster, and `pool.connections` to limit requests in flight",
  ],
  ["healthcheck healthchecks httpchk", ACTIVE],
  ["http2 h2 h2c", "`protocol: http2` of a cluster; listeners accept HTTP/2 without a setting"],
  ["websocket websockets", "`upgrade` of a route, which allows WebSocket by default"],
  ["ssl certificate sslcertificate tlscontext", "`tls: { certificates: [{ cert: …, key: … }] }` of a listener"],
  ["maxconn maxconns maxconnections", "`pool.connections` of a cluster, or `limits.connections` of a listener"],
  ["keepalive", "`pool` of a cluster, or `timeouts.idle` of a listener"],
  ["keepalivetimeout", "`timeouts.idle` of a listener"],
  ["connecttimeout", "`timeouts.connect` of a cluster"],
  ["readtimeout responsetimeout", "`timeouts.response` of a cluster"],
  ["clientmaxbodysize maxrequestbodysize", "`limits.body` of a listener"],
  ["retries numretries retrypolicy", "`retry: { attempts: … }` of a route"],
  ["accesslog", "`log: { access: … }` at the top of the file"],
  ["setrealipfrom trustedips usexff", "`trustedProxies` of a listener"],
  ["sendproxy", "`proxyProtocol` of a cluster"],
  ["acceptproxy", "`proxyProtocol` of a listener"],
  ["dns", "`resolver` at the top of the file"],
  ["nameservers", "`resolver: { servers: … }` at the top of the file"],
  ["metrics", "`admin` at the top of the file, which serves /metrics"],
  ["stats", "`admin` at the top of the file"],
  ["dashboard", "`admin` at the top of the file, which serves a status page"],
  ["threads workerprocesses nbthread concurrency", "`workers` at the top of the file"],
  ["ratelimit limitreq", "the filter `rate-limit` in a `chain`"],
  ["stripprefix", "the filter `rewrite` in a `chain`"],
  ["addheader proxysetheader", "the filter `headers` in a `chain`"],
  ["sticky stickysessions", "the strategy `ip-hash` or `consistent-hash`"],
  ["pathprefix startswith pathbeg", "`prefix` in `match` of a route"],
  ["uri url", "`path` or `prefix` in `match` of a route"],
  ["pathregexp", "`regex` in `match` of a route"],
  ["hostname hostnames domains", "`host` in `match` of a route"],
  ["servername", "`host` or `sni` in `match` of a route"],
  ["hostsni reqsslsni", "`sni` in `match` of a route"],
  ["clientip sourceip", "`client` in `match` of a route"],
  ["connectionsperip maxconnectionsperip limitconn", "`limits: { connectionsPerClient: … }` of a listener"],
  ["connectionrate", "`limits: { connectionRatePerClient: … }` of a listener"],
  ["maxstreams maxconcurrentstream", "`http2: { maxConcurrentStreams: … }` of a listener"],
  ["rate", "`limits: { connectionRatePerClient: … }` of a listener, or the filter `rate-limit` in a `chain`"],
  ["limitrate", "`limits: { bandwidth: … }` of a listener, or `bandwidth` of a route"],
  ["proxytimeout", "`timeouts.idle` of a listener, or `timeouts.tunnel` of a cluster"],
  ["letsencrypt certresolver", "`tls: { acme: … }` of a listener"],
  ["hashpolicy", "the strategy `consistent-hash: { key: … }` of a cluster"],
  [
    "prefixrewrite regexrewrite pathrewrite hostrewriteliteral replacepath handlepath",
    "the filter `rewrite` in a `chain`",
  ],
  ["header headerup headerdown requestheaderstoadd", "the filter `headers` in a `chain`"],
  ["saferegex saferegexmatch pathregex", "`regex` in `match` of a route"],
  ["typedperfilterconfig perfilterconfig", "`chain` of the route"],
  ["handle", "`routes` of a listener"],
]);

/** What others have and Sluice has not, with the reason. */
const ABSENT = byWord([
  ["gzip brotli zstd compress compression encode", "bodies are forwarded as endpoints encode them"],
  ["fileserver root tryfiles autoindex static", "files are served by an endpoint"],
  ["cache proxycache caching", "responses are not cached"],
]);

/** Causes of a retry. */
const RETRIES = byWord([
  ["connectfailure connfailure", "connect"],
  ["refusedstream resetbeforerequest emptyresponse", "reset"],
  ["error", "connect, reset, timeout"],
  ["responsetimeout", "timeout"],
  ["gatewayerror", "502, 503, 504"],
  ["5xx allretryableerrors retriablestatuscodes", "status codes, such as 502, 503, 504"],
  ["retriable4xx", "409"],
]);

/** Protocols of a cluster. */
export const CLUSTER_PROTOCOLS = byWord([
  ["h2 h2c grpc", 'did you mean "http2"'],
  ["grpcs", 'did you mean "http2" and `tls`'],
  ["https", "expected `tls` of the cluster"],
]);

/** Protocols of a listener. */
export const LISTENER_PROTOCOLS = byWord([
  ["h2 h2c http2 grpc", "expected http, which serves HTTP/2 without a setting"],
  ["https", "expected http with `tls` of the listener"],
  ["tls", "expected tcp, with `tls` of the listener or without it, to decrypt or to pass TLS through"],
]);

/** Names of strategies and filters. */
export const NAMES = byWord([
  ["leastrequest", "least-connections"],
  ["rr wrr weightedroundrobin", "round-robin"],
  ["p2c randomtwo", "power-of-two"],
  ["source sourceip", "ip-hash"],
  ["ringhash maglev chash hash ketama hrw", "consistent-hash"],
  ["leasttime peakewma ewma responsetime", "fastest-response"],
  ["limitreq localratelimit", "rate-limit"],
  ["authbasic", "basic-auth"],
  ["authrequest forwardauth extauthz", "ext-auth"],
  ["jwtauthn", "jwt"],
  ["ipallowlist ipwhitelist rbac", "ip-filter"],
  ["addheader setheader", "headers"],
  ["addprefix stripprefix", "rewrite"],
  ["redirectscheme", "redirect"],
  ["directresponse staticresponse return", "respond"],
]);

/** Advice for keys that are known elsewhere, or mean something else there, in maps that know the first key. */
export const PLACED: readonly (readonly [known: string, keys: string, advice: string])[] = [
  [
    "match",
    "path prefix regex host method headers query cookie client scheme",
    "it within `match: { … }` of the route",
  ],
  ["trustedProxies", "match split upgrade retry passthrough", "it in a route of `routes`"],
  ["split", "address tls protocol limits proxyprotocol trustedproxies allow deny", "it in the listener"],
  ["split", "endpoints strategy pool health", "it in the cluster"],
  ["listeners", "server http https tcp stream sites vhosts", "`listeners`"],
  ["listeners", "routes chain tls respond redirect", "it in one of `listeners`"],
  ["listeners", "endpoints strategy pool health", "it in one of `clusters`"],
  ["strategy", "ssl https tlscontext certificate", "`tls` of the cluster"],
  ["zone", "ssl tls verify sni", "`tls` of the cluster"],
  ["zone", "drain draining down disabled state", "`sluice drain CLUSTER ENDPOINT` on the command line"],
  ["zone", "check interval", ACTIVE],
  ["verify", "servername hostname host", "`sni`"],
  ["verify", "insecure insecureskipverify skipverify", "`verify: false`"],
  ["unhealthyAfter", "path uri url httppath", "`http: /path`"],
  ["zone", "host port ip url server name", '`address: "host:port"`'],
  [
    "consecutiveFailures",
    "consecutive5xx consecutiveerrors consecutivegatewayfailure maxfails",
    "`consecutiveFailures`",
  ],
  ["consecutiveFailures", "baseejectiontime failtimeout", "`ejectFor`"],
  ["consecutiveFailures", "maxejectiontime", "`maxEjectFor`"],
  ["consecutiveFailures", "maxejectionpercent", "`maxEjected`"],
  ["fields", "path output", "`file`"],
  ["fields", "if filter condition", "`where`"],
  ["certificates", "cert key certfile keyfile", "`certificates: [{ cert: …, key: … }]`"],
];

/**
 * How the message of an unknown key in a map with these known keys continues, such as "write `endpoints` of a cluster";
 * undefined if there is no advice.
 */
export function adviseKey(key: string, known: readonly string[]): string | undefined {
  const word = normalize(key);
  const placed = PLACED.find(([mark, keys]) => known.includes(mark) && keys.split(" ").includes(word));
  if (placed !== undefined) return `write ${placed[2]}`;
  if (Object.hasOwn(KEYS, word)) return `write ${KEYS[word]}`;
  if (Object.hasOwn(ABSENT, word)) return `which is not available: ${ABSENT[word]}`;
  if (!known.includes("chain")) return undefined;
  if (isFilter(key)) return "write it in `chain: [ … ]`";
  const filter = Object.hasOwn(NAMES, word)
    ? NAMES[word]!
    : Object.keys(BUILTINS).find((one) => normalize(one) === word);
  return filter !== undefined && isFilter(filter) ? `write the filter \`${filter}\` in \`chain: [ … ]\`` : undefined;
}

function isFilter(name: string): boolean {
  return Object.hasOwn(BUILTINS, name) && BUILTINS[name] === "filter";
}

/** What to write instead of this cause of a retry; undefined if no proxy has it. */
export function adviseRetry(cause: string): string | undefined {
  const word = normalize(cause);
  return Object.hasOwn(RETRIES, word) ? RETRIES[word] : undefined;
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
