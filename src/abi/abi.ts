/**
 * The native plugin ABI, version 1: defines every name and number of the interface between the host and a guest.
 *
 * `docs/abi.md` is the reference in prose, `sdk/` the AssemblyScript binding, `sdk/c/sluice.h` the C header generated
 * from this file (including its comments) by `scripts/build-c-header.ts`. A test compares all of them.
 *
 * Stability: within version 1 no name, number or signature changes its meaning or is reused. New capabilities get
 * new ids, imports and hooks.
 *
 * Types: `i32` and `f64` only. Pointers are byte offsets into the guest's exported `memory`, lengths are bytes; both are
 * i32 read as unsigned. The host checks every range against the memory's current size; a range outside ends the guest
 * (`bad_pointer`).
 *
 * Output buffers: a call with `(out, cap)` returns the full length of the value. It writes the value only if the length
 * is at most `cap`; otherwise it writes nothing, and the guest can call again with a larger buffer. `cap` 0 asks for the
 * length alone.
 *
 * Text: header names, values and attributes are bytes, one character of an SDK string each (U+0000 to U+00FF).
 * Configuration, log lines, metric texts and names of clusters and strategies are UTF-8.
 */

/** What `sluice_abi` must return. A module of another version is rejected when the configuration is loaded. */
export const ABI_VERSION = 1;

/** Exports of a module besides its hooks. `memory` and `sluice_abi` are required. */
export const EXPORT = {
  /** The guest's linear memory: one, 32-bit, not shared, not imported. Required. */
  memory: "memory",
  /** `() -> i32`: the ABI version that the module was built for. Required. */
  version: "sluice_abi",
  /** `()`: start-up code, called once per guest before any hook, with `FUEL.start`. Optional. */
  initialize: "_initialize",
  /**
   * `() -> i32`, a constant. Non-zero: one guest serves several configurations, distinguished by `instance` of each hook
   * call. Start-up code then cannot read a configuration. Optional.
   */
  serves: "sluice_serves_many",
} as const;

/**
 * Hooks, each an optional export `(instance: i32, exchange: i32) -> i32`. `instance` identifies a configuration;
 * `exchange` a request, in `connection` a connection, in `health_check` a check. Both are opaque; 0 where there is none.
 * The result is one of `HOOK_RESULTS`. A hook that is not exported costs nothing. When each is called: docs/abi.md.
 */
export const HOOKS = [
  "configure",
  "request_head",
  "route",
  "response_head",
  "update",
  "pick",
  "outcome",
  "log",
  "request_body",
  "request_trailers",
  "response_body",
  "response_trailers",
  "tick",
  "save",
  "restore",
  "connection",
  "health_check",
] as const;
export type Hook = (typeof HOOKS)[number];

/** A hook's number: its index in HOOKS. A set of hooks is a bit mask of `1 << number`. For the host only. */
export const HOOK = Object.fromEntries(HOOKS.map((name, i) => [name, i])) as { readonly [H in Hook]: number };

/** Bits in a set of hooks: the module can change request bodies, response bodies (it imports such a call). Host only. */
export const REWRITES = { request: 1 << 29, response: 1 << 30 } as const;

/** Results of hooks. A result that the hook does not define (`HOOK_RESULTS`) is a failure, `bad_result`. */
export const RESULT = {
  /** Continue. In `route`: use the cluster chosen by `cluster_choose`; without one, pass to the next route. */
  continue: 0,
  /** Send the response set by the call `respond`, which must have been called. In `response_head`: instead of the upstream's. */
  respond: 1,
  /**
   * Reject. A request gets 403 with `Proxy-Status: sluice; error=http_request_denied` (RFC 9209); in `connection` it is
   * closed; in `health_check` the endpoint is unhealthy; in `configure` the configuration is invalid.
   */
  reject: 2,
  /**
   * Continue, but buffer the head until the whole body is buffered too (at most `limits.body`). The body hook is then
   * called once with the whole body, even an empty one, and may still change the head.
   */
  buffer: 3,
} as const;

/** The results that each hook may return. `pick` returns the index of an endpoint instead, or -1 for none. */
export const HOOK_RESULTS: { readonly [H in Hook]: readonly number[] } = {
  configure: [0, 2],
  request_head: [0, 1, 2, 3],
  route: [0, 1, 2],
  response_head: [0, 1, 3],
  update: [0],
  pick: [],
  outcome: [0],
  log: [0],
  request_body: [0, 1, 2],
  request_trailers: [0],
  response_body: [0, 1],
  response_trailers: [0],
  tick: [0],
  save: [0],
  restore: [0],
  connection: [0, 2],
  health_check: [0, 2],
};

/** Status of a host call. Errors are negative; lengths and counts never are. */
export const STATUS = {
  /** Success. */
  ok: 0,
  /** There is no such value, or the plugin may not read it (`allow.headers.hide`). */
  absent: -1,
  /** The call is not available in this hook. */
  notHere: -2,
  /** An argument is invalid: CR, LF or NUL, not a token, a framing or hop-by-hop header, an unknown id. */
  invalid: -3,
  /** The value, or the head with it, exceeds a limit (`LIMIT`). */
  tooLarge: -4,
  /** Not permitted by `allow` in the plugin's configuration. */
  denied: -5,
  /** Another worker held the lock for several milliseconds. Nothing was changed; the call can be repeated. */
  busy: -6,
  /** The peer could not be reached, or closed the connection early. */
  unreachable: -7,
  /** The timeout of the call expired. */
  timedOut: -8,
} as const;

/** Header sections of an exchange: `part` of the header calls. Trailers exist only in hooks after the body. */
export const HEADERS = { request: 0, response: 1, requestTrailers: 2, responseTrailers: 3 } as const;

/**
 * Ids for `attribute`, which returns text, and `attribute_set`. `w`: writable in the hooks in parentheses, and in
 * `request_body` or `response_body` of a buffered head; elsewhere `attribute_set` returns `notHere`.
 */
export const ATTRIBUTE = {
  /** w (request_head, route): an HTTP token of at most 32 bytes, not CONNECT or TRACE. */
  method: 0,
  /** `http` or `https`: of the connection, or as reported by a trusted proxy. */
  scheme: 1,
  /** Host and port, `example.com:8080`: as sent by the client or reported by a trusted proxy, until a plugin sets Host. */
  authority: 2,
  /** The normalised path without query, starting with `/`. w (request_head, route). */
  path: 3,
  /** The query without `?`; absent if there is none. w (request_head, route). */
  query: 4,
  /** The response's status code in decimal. w (response_head): 200 to 599. */
  status: 5,
  /** The client's IP address: of the peer, or as reported by a trusted proxy. */
  client_address: 6,
  /** `1.0`, `1.1`, `2`: information only. */
  protocol: 7,
  /** Name of the matched route; absent before that. */
  route: 8,
  /** Name of the selected cluster; absent before that. */
  cluster: 9,
  /** Address of the endpoint of the last attempt; absent before a pick. */
  endpoint: 10,
  /** Number of the current attempt, from 1; `0` before the first. */
  attempt: 11,
  /** The listener's name. */
  listener: 12,
  /** Path and query, `/a?b=1`. w (request_head, route): sets both. */
  target: 13,
  /** A number that is unique among the exchanges of this process, for logs. */
  exchange_id: 14,
  /** In `log` and `outcome`: microseconds since the first byte of the request. */
  duration: 15,
  /** In `log`: body bytes sent to the client. */
  bytes_sent: 16,
  /** In `log`: body bytes received from the client. */
  bytes_received: 17,
  /**
   * The error, by its name in the access log (`connect_refused`, `plugin_failed`, `client_gone` …); absent without one.
   * In response hooks and `log`.
   */
  error: 18,
  /** Microseconds from the last pick to the response head or the failure; absent without an attempt. In the same hooks. */
  upstream_duration: 19,
  /** The method as received from the client, unaffected by plugins. */
  original_method: 20,
  /** Host and port as sent by the client or reported by a trusted proxy, unaffected by plugins. */
  original_authority: 21,
  /** The target as received from the client: the normalised path, and the query. */
  original_target: 22,
  /** The protocols in `Upgrade`, in lower case, `websocket`; absent without `Connection: upgrade`. */
  upgrade: 23,
  /** The TLS version of the client's connection, `TLSv1.3`; absent for a plain one, as are the attributes below. */
  tls_version: 24,
  /** The server name in the handshake (SNI), in lower case. */
  tls_server_name: 25,
  /** Subject of the client's verified certificate (RFC 4514), `CN=app,O=Example`. */
  tls_client_subject: 26,
  /** Its subject alternative names: `DNS:app.example, URI:spiffe://example/app`. */
  tls_client_names: 27,
  /** Its SHA-256 fingerprint, 64 hexadecimal digits in lower case. */
  tls_client_fingerprint: 28,
  /**
   * The load balancer that sent a PROXY protocol header, by its address (`unix` on a Unix socket). Absent without a header,
   * as are the attributes below. `client_address` is the address in the header.
   */
  proxy_peer: 29,
  /** The address and port to which the client connected, `192.0.2.1:443`. */
  proxy_destination: 30,
  /** `proxy_tlv + n`, n from 0 to 255: the value of the first TLV of type n, as sent: 1 ALPN, 2 authority, 5 unique id. */
  proxy_tlv: 0x1000,
  /**
   * `proxy_ssl_tlv + n`: likewise of the TLV of TLS (32): 33 version, 34 common name of the client's certificate, 35 cipher.
   * What describes a certificate is absent unless the load balancer reports that it has verified it.
   */
  proxy_ssl_tlv: 0x1100,
} as const;

/** Columns of the endpoint table, each an i32; read by `endpoint` and `column_read` in `update` and `pick`. */
export const COLUMN = {
  /** Identifies the endpoint within the process, across reordering and reloads. */
  id: 0,
  /** The configured weight, 1 to 1000. */
  weight: 1,
  /** Requests in flight, of all workers. */
  in_flight: 2,
  /**
   * Exponentially weighted average of the time from pick to response head, in microseconds; 0 without a sample. From ten
   * seconds after the last response on it halves every ten seconds.
   */
  latency: 3,
  /** Exponentially weighted share of failed attempts, in parts per million; decays likewise after the last attempt. */
  error_rate: 4,
  /** 32-bit FNV-1a hash of the address text: the same in every process. */
  hash: 5,
  /** 32-bit FNV-1a hash of the zone's name; 0 without a zone. */
  zone: 6,
  /** Milliseconds since the last response that updated `latency`, in steps of about 50; 0 without a sample. */
  latency_age: 7,
} as const;

/** Ids for `endpoint_text`. `zone` is absent without one. */
export const ENDPOINT_TEXT = { address: 0, zone: 1 } as const;

/** Ids for `attempt` in `outcome`; values are i32. */
export const ATTEMPT = {
  /** The endpoint's id (COLUMN.id). */
  endpoint: 0,
  /** Microseconds from pick to response head or failure. */
  latency: 1,
  /** Status code of the response; 0 without one. */
  status: 2,
  /** 1 if the attempt failed before a response head, else 0. */
  failed: 3,
} as const;

/** Levels for `write` of `sluice:log/1`. Lines below the configured `log.level` are dropped. */
export const LEVEL = { debug: 0, info: 1, warn: 2, error: 3 } as const;

/** Kinds of metrics, for `metric_define`. */
export const METRIC = {
  /** Monotonically increasing. */
  counter: 0,
  /** The sum of the values of all workers. */
  gauge: 1,
  /** Observations counted in buckets. */
  histogram: 2,
  /** A gauge with the value that any worker set last. */
  latest: 3,
} as const;

/** Ids for `digest` and `hmac` of `sluice:crypto/1` (FIPS 180-4). MD5 and SHA-1 are broken and not offered. */
export const DIGEST = { sha256: 0, sha384: 1, sha512: 2 } as const;

/** Ids for `verify`: the algorithms of RFC 7518 section 3.1 and RFC 8037 by their JOSE names. */
export const SIGNATURE = {
  /** RSASSA-PKCS1-v1_5 with SHA-256; keys of 2048 to 8192 bits. */
  rs256: 0,
  /** RSASSA-PSS with SHA-256, MGF1 with SHA-256, a salt of 32 bytes; keys as for rs256. */
  ps256: 1,
  /** ECDSA on P-256 with SHA-256; the signature is r and s of 32 bytes each (IEEE P1363), not DER. */
  es256: 2,
  /** Ed25519. */
  eddsa: 3,
} as const;

/** Key of `exchange_set` in `health_check`: the reason, in UTF-8, why the endpoint is unhealthy. */
export const PROBLEM_KEY = "problem";

/** Prefix of a `fetch` URL for the endpoint under check: `endpoint/healthz`. Only in `health_check`. */
export const CHECKED_ENDPOINT = "endpoint";

/** Custom sections that the host reads without running the module. */
export const CUSTOM_SECTION = {
  /** JSON Schema of the configuration, UTF-8; the subset of draft 2020-12 listed in docs/plugins.md. */
  configSchema: "sluice:config-schema",
} as const;

/** Limits on modules and on arguments of host calls. Sizes are bytes. */
export const LIMIT = {
  /** Of a module, and of the code of one function. */
  moduleBytes: 16 * 1024 * 1024,
  functionBytes: 1024 * 1024,
  /** Of a function: locals, nested blocks, and values merged at branches (`compile-cost.ts`). */
  locals: 16_384,
  nesting: 16_384,
  merged: 24 * 1024 * 1024,
  /** Of the custom section with the configuration's schema. */
  configSchema: 64 * 1024,
  /** Of a header that is set, and of a head after it. */
  headerName: 256,
  headerValue: 64 * 1024,
  headBytes: 128 * 1024,
  headerCount: 500,
  /** Header names owned by plugins (`header_own`), per request. */
  ownedNames: 500,
  /** The body of `respond`. */
  responseBody: 1024 * 1024,
  /** Size of one value of `exchange_set` or `shared_set`, and values of an exchange over all plugins. */
  exchangeValue: 64 * 1024,
  exchangeValues: 64,
  /** Size of a log line, and lines per hook call. */
  logLine: 4096,
  logLinesPerCall: 8,
  /** Per plugin and worker; further lines are dropped and counted. */
  logLinesPerSecond: 100,
  /** Access log fields added by plugins: fields per request over all plugins, bytes of a name, of a value. */
  logFields: 20,
  logFieldName: 60,
  logFieldValue: 1000,
  /** State that `save` migrates to the next version. */
  state: 1024 * 1024,
  /** Interval of `tick`, in milliseconds. */
  shortestTick: 50,
  longestTick: 86_400_000,
  /** Of a subrequest: URL, headers, body, and the response's body. */
  fetchUrl: 8192,
  fetchHead: 32 * 1024,
  fetchBody: 1024 * 1024,
  fetchResponse: 16 * 1024 * 1024,
  /** Of `probe`: the text to send or to expect, and the bytes received. */
  probeText: 64 * 1024,
  probeAnswer: 1024 * 1024,
  /** Key of `exchange_set`. */
  exchangeKey: 256,
  /** Series per plugin, characters of a name, bytes of help and of labels, number of labels, of buckets. */
  metrics: 64,
  metricName: 128,
  metricText: 1024,
  metricLabels: 8,
  metricBuckets: 32,
  /** Label values known only at run time: per plugin over all metrics, and bytes of a value. */
  metricValues: 1000,
  metricValue: 100,
  /** Key (at least 1) and value of a key-value entry. */
  kvKey: 256,
  kvValue: 64 * 1024,
  /** Text of a public key. The longest accepted key, RSA of 8192 bits, has 1.5 KiB. */
  publicKey: 8192,
  /** Per call of `random_bytes`. */
  randomBytes: 4096,
  /** Path of a configuration value, name of a cluster or strategy. */
  configPath: 1024,
  /** Entries of a module's sections; above every real module of at most `moduleBytes` that was examined. */
  types: 10_000,
  imports: 1000,
  functions: 100_000,
  tables: 8,
  tableEntries: 128 * 1024,
  globals: 20_000,
  exports: 20_000,
  tags: 1000,
  /** In all element segments together. */
  elements: 200_000,
  customSections: 1000,
} as const;

/** Default interval of `tick`, in milliseconds; `tick_every` sets another. */
export const TICK_EVERY = 1000;

/**
 * Fuel, in units; the costs of instructions are in `prices.ts`.
 *
 * The budget of a hook call is `limits.fuel` (`default` without it) plus `perByte` for each byte that it can read: the
 * heads of request and response as received, the body chunk, trailers, and the first MiB of each response fetched in the call.
 * Start-up code and `configure` have `start` plus `perConfigByte` for each byte of the configuration as JSON.
 * A host call costs `hostCall` plus one unit per `bytesPerUnit` copied. A guest that exceeds its budget is ended (`fuel`).
 */
export const FUEL = {
  default: 500_000,
  perByte: 40,
  start: 4_000_000,
  perConfigByte: 200,
  hostCall: 10,
  bytesPerUnit: 64,
} as const;

/**
 * Additional fuel for calls of `sluice:crypto/1`: about one unit per 10 ns of measured time. The default budget of a hook
 * call allows about fifty signature checks.
 */
export const CRYPTO_FUEL = {
  digest: 80,
  hmac: 200,
  random: 150,
  verify: 10_000,
  /** Parsing a public key that is not cached. */
  key: 2_000,
  /** Bytes hashed per unit. */
  bytesPerUnit: 16,
} as const;

/**
 * Asynchronous host calls, by import module: they suspend the guest until they complete. No other call enters the
 * suspended guest. In hooks other than SUSPENDABLE_HOOKS and in start-up code they return `notHere`.
 */
export const SUSPENDING_CALLS: { readonly [group: string]: readonly string[] } = {
  "sluice:sleep/1": ["sleep"],
  "sluice:fetch/1": ["fetch"],
  "sluice:probe/1": ["probe"],
};
/** Hooks that may suspend. */
export const SUSPENDABLE_HOOKS = [
  "request_head",
  "request_body",
  "response_head",
  "response_body",
  "tick",
  "connection",
  "health_check",
] as const;

export type ValueType = "i32" | "f64";
/** `doc`: names the parameters, then results and hooks; the C header and docs/abi.md depend on its first parentheses. */
export type Import = { readonly params: readonly ValueType[]; readonly result: ValueType | null; readonly doc: string };

const i = (count: number, doc: string): Import => ({ params: Array(count).fill("i32"), result: "i32", doc });

const i32 = (params: readonly ValueType[], doc: string): Import => ({ params, result: "i32", doc });

/**
 * Every host call, by import module. An import is a permission request: a module cannot call what it does not import, and
 * modules other than `sluice:core/1` may have to be allowed in the configuration (docs/abi.md).
 *
 * `…` stands for `notHere | invalid | tooLarge | denied`. After `;`: the hooks in which a call is available, if not all.
 */
export const IMPORTS = {
  "sluice:core/1": {
    attribute: i(3, "(id, out, cap) -> length | absent"),
    attribute_set: i(3, "(id, ptr, len) -> ok | notHere | invalid | tooLarge | denied"),
    header_get: i(6, "(part, name, nameLen, nth, out, cap) -> length of the nth value | absent"),
    header_at: i(5, "(part, index, what: 0 name 1 value, out, cap) -> length | absent; index over present fields"),
    header_count: i(1, "(part) -> fields | notHere"),
    header_set: i(5, "(part, name, nameLen, value, valueLen) -> ok | …: replaces all values of that name"),
    header_add: i(5, "(part, name, nameLen, value, valueLen) -> ok | …: appends one value"),
    header_remove: i(3, "(part, name, nameLen) -> how many were removed | …"),
    header_own: i(
      2,
      "(name, nameLen) -> how many were removed | …: removes every spelling of the name from the request and its trailers, including later trailers",
    ),
    head_read: i(
      3,
      "(part, out, cap) -> length: u32 count, then count × (nameOff,nameLen,valueOff,valueLen), then bytes; offsets from out",
    ),
    respond: i(
      3,
      "(status, body, bodyLen) -> ok | notHere | invalid | tooLarge: sets the local response; its headers are part `response`",
    ),
    body_size: i(0, "() -> bytes of the body chunk | notHere; body hooks"),
    body_last: i(0, "() -> 1 if the chunk ends the body, else 0 | notHere; body hooks"),
    body_read: i(3, "(offset, out, cap) -> bytes copied from the chunk, from `offset` on, at most `cap`; body hooks"),
    body_replace: i(2, "(ptr, len) -> ok | notHere | tooLarge: replaces the chunk; 0 bytes drop it; body hooks"),
    body_append: i(2, "(ptr, len) -> ok | notHere | tooLarge: appends to the chunk or its replacement; body hooks"),
    exchange_get: i(4, "(key, keyLen, out, cap) -> length | absent; a value of this exchange, private to the plugin"),
    exchange_set: i(4, "(key, keyLen, value, valueLen) -> ok | tooLarge: stored until `log` has run"),
    shared_get: i(4, "(name, nameLen, out, cap) -> length | absent; a value that a plugin shared in this exchange"),
    shared_set: i(
      4,
      "(name, nameLen, value, valueLen) -> ok | tooLarge | denied: shared with all plugins of the exchange",
    ),
    config_get: i(4, "(path, pathLen, out, cap) -> length | absent; a scalar as text, by path: rules.0.name"),
    config_kind: i(2, "(path, pathLen) -> 0 absent 1 null 2 boolean 3 number 4 string 5 list 6 map"),
    config_count: i(2, "(path, pathLen) -> entries of a list or map | absent"),
    config_key: i(5, "(path, pathLen, index, out, cap) -> length of the index-th key of a map | absent"),
    cluster_find: i(2, "(name, nameLen) -> id | absent (unknown) | denied"),
    cluster_choose: i(1, "(id) -> ok | notHere | invalid | denied; request_head, route, connection"),
    strategy_find: i(2, "(name, nameLen) -> id | absent"),
    strategy_choose: i(1, "(id) -> ok | notHere | invalid; request_head and route: for the selected cluster"),
    tick_every: i(
      1,
      "(milliseconds) -> ok | notHere | invalid: sets the interval of `tick`; start, configure, tick, restore",
    ),
    state_put: i(2, "(ptr, len) -> ok | notHere | tooLarge: appends to the state for the next version; save"),
    state_get: i(3, "(offset, out, cap) -> bytes from `offset` on, of which as many as fit are written; restore"),
    now: { params: [], result: "f64", doc: "milliseconds since 1970, updated every 50 ms" },
    random: { params: [], result: "i32", doc: "32 random bits, not cryptographically secure" },
    abort: {
      params: ["i32", "i32", "i32", "i32", "i32", "i32"],
      result: null,
      doc: "(message, len, file, len, line, column): reports the reason before a trap; line 0: `file` contains the whole position",
    },
  },
  "sluice:log/1": {
    write: i(3, "(level, text, len) -> ok | tooLarge; at most logLinesPerCall a hook call"),
    field: i(
      4,
      "(name, nameLen, value, valueLen) -> ok | notHere | invalid | tooLarge: sets a field of the request's access log entry",
    ),
  },
  "sluice:clock/1": {
    now_precise: {
      params: [],
      result: "f64",
      doc: "milliseconds since 1970 with fractions; monotonic within a worker",
    },
  },
  "sluice:metrics/1": {
    metric_define: i(
      9,
      "(kind, name, nameLen, help, helpLen, labels, labelsLen, buckets, bucketsLen) -> number | notHere | invalid | tooLarge | absent",
    ),
    metric_define_by: i(
      12,
      "(kind, name, nameLen, help, helpLen, labels, labelsLen, buckets, bucketsLen, by, byLen, values) -> number of a family | notHere | invalid | tooLarge | absent: with one more label, `by`, of at most `values` values",
    ),
    metric_of: i(
      3,
      "(family, value, valueLen) -> the metric of that value (UTF-8) | invalid; that of `other` if there are too many values or it is too long",
    ),
    metric_add: i32(["i32", "f64"], "(metric, by) -> ok | invalid; a counter or a gauge"),
    metric_set: i32(["i32", "f64"], "(metric, number) -> ok | invalid; a gauge, or `latest`"),
    metric_observe: i32(["i32", "f64"], "(metric, number) -> ok | invalid; a histogram"),
  },
  "sluice:kv/1": {
    kv_find: i(2, "(name, nameLen) -> number of a namespace | denied; constant within the process"),
    kv_get: i(
      6,
      "(space, key, keyLen, out, cap, versionOut) -> length | absent; an f64 at `versionOut` unless that is 0",
    ),
    kv_set: i32(
      ["i32", "i32", "i32", "i32", "i32", "f64"],
      "(space, key, keyLen, value, valueLen, ttl) -> ok | tooLarge; ttl in ms, 0: no expiry",
    ),
    kv_compare_and_set: i32(
      ["i32", "i32", "i32", "i32", "i32", "f64", "f64"],
      "(space, key, keyLen, value, valueLen, ttl, version) -> 1 set, 0 not; version 0: only if there is no entry",
    ),
    kv_increment: i32(
      ["i32", "i32", "i32", "f64", "f64", "i32"],
      "(space, key, keyLen, by, ttl, sumOut) -> ok | invalid; the sum as an f64 at `sumOut`; ttl applies if the entry is created",
    ),
    kv_delete: i(3, "(space, key, keyLen) -> ok | absent"),
    kv_list: i32(
      ["i32", "i32", "i32", "f64", "i32", "i32", "i32"],
      "(space, prefix, prefixLen, cursor, out, cap, cursorOut) -> bytes: u32 length and key, …; the next cursor as an f64 at `cursorOut`, 0: the end",
    ),
  },
  "sluice:sleep/1": {
    sleep: i(1, "(milliseconds) -> ok | notHere | invalid; asynchronous"),
  },
  "sluice:fetch/1": {
    fetch: i(
      10,
      "(method, methodLen, url, urlLen, head, headLen, body, bodyLen, timeout, most) -> status code | unreachable | timedOut | …; asynchronous",
    ),
    fetch_header: i(5, "(name, nameLen, nth, out, cap) -> length | absent; of the last response in this hook call"),
    fetch_header_at: i(4, "(index, what: 0 name 1 value, out, cap) -> length | absent"),
    fetch_body_size: i(0, "() -> bytes of the last response's body | absent"),
    fetch_body: i(3, "(offset, out, cap) -> bytes copied from `offset` on, at most `cap` | absent"),
  },
  "sluice:probe/1": {
    probe: i(
      6,
      "(send, sendLen, until, untilLen, most, timeout) -> bytes received | notHere | unreachable | timedOut | tooLarge | …; asynchronous; health_check",
    ),
    probe_read: i(3, "(offset, out, cap) -> bytes copied of those received, from `offset` on, at most `cap` | absent"),
  },
  "sluice:balance/1": {
    endpoint_count: i(0, "() -> endpoints to choose from; update and pick"),
    endpoint: i(2, "(index, column) -> value; `absent` for an index out of range, `invalid` for an unknown column"),
    column_read: i(3, "(column, out, cap) -> bytes: one i32 for each endpoint"),
    endpoint_text: i(4, "(index, what, out, cap) -> length | absent"),
    attempt: i(1, "(id) -> value | notHere; outcome"),
  },
  "sluice:crypto/1": {
    digest: i(5, "(algorithm, data, len, out, cap) -> length | invalid; one of DIGEST"),
    hmac: i(7, "(algorithm, key, keyLen, data, len, out, cap) -> length | invalid; RFC 2104"),
    equal: i(4, "(a, aLen, b, bLen) -> 1 | 0; in constant time for equal lengths"),
    verify: i(
      7,
      "(algorithm, key, keyLen, data, len, signature, signatureLen) -> 1 | 0 | invalid (not a key for the algorithm) | tooLarge",
    ),
    random_bytes: i(2, "(out, len) -> ok | tooLarge; cryptographically secure"),
  },
} as const satisfies Record<string, Record<string, Import>>;

/** Reasons of failures; the `reason` label of `sluice_plugin_failures_total`. docs/plugins.md describes each. */
export const FAILURE = [
  "trap",
  "fuel",
  "memory",
  "stack",
  "abort",
  "bad_result",
  "bad_pointer",
  "start",
  "host",
  "timeout",
] as const;
export type Failure = (typeof FAILURE)[number];
