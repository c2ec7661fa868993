/**
 * The native plugin ABI, version 1: the single source of every name and number on the border between the host and a
 * guest. `docs/abi.md` is its reference in prose; `sdk/` restates it in AssemblyScript; a test holds all three equal.
 *
 * Nothing here is ever re-laid or re-used. New capabilities are new ids, new imports, new hooks.
 *
 * Memory: every pointer is an offset into the guest's exported `memory`, every length a count of bytes, both i32 read
 * as unsigned. The host checks both against the memory's present size on every call; a range outside ends the guest.
 * A call that hands bytes out takes `(out, cap)`: it returns the true length, and writes nothing when that is above
 * `cap`. Header bytes and SDK strings map one to one (code units 0–255). Configuration and log lines are UTF-8.
 */

export const ABI_VERSION = 1;

/** What the guest exports besides hooks. `memory` is required; the others are optional but for `sluice_abi`. */
export const EXPORT = {
  memory: "memory",
  /** `() -> i32`: the ABI version that the module was built for. Required. */
  version: "sluice_abi",
  /** `()`: start-up code, called once after the host holds the memory and has set fuel. */
  initialize: "_initialize",
  /** `() -> i32`: a non-zero answer says that one guest serves many configurations (told apart by `instance`). */
  serves: "sluice_serves_many",
} as const;

/**
 * Every hook is exported as `(instance: i32, exchange: i32) -> i32`. `instance` names one configuration, `exchange`
 * one request, in `connection` one connection, in `health_check` one check; both are opaque, and 0 where there is none. What a plugin does not export costs nothing.
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

/** A hook's number: its index in HOOKS. A set of hooks is a bit mask of `1 << number`. */
export const HOOK = Object.fromEntries(HOOKS.map((name, i) => [name, i])) as { readonly [H in Hook]: number };

/** Bits beside those of hooks: the module may change bodies of requests, of responses (it imports a call that does). */
export const REWRITES = { request: 1 << 29, response: 1 << 30 } as const;

/** What a hook may answer. An answer that the hook does not define is a failure, never "continue". */
export const RESULT = {
  /** Go on. In `route`: the cluster named by `cluster_choose` is taken; when none was named, pass to the next rule. */
  continue: 0,
  /** `respond` was called: that answer goes to the client. In `response_head`: it replaces the upstream's. */
  respond: 1,
  /** Refuse the request: 403, `Proxy-Status: sluice; error=http_request_denied`. In `connection`: close it. In `health_check`: the endpoint is unhealthy. */
  reject: 2,
  /**
   * Go on, but hold the head until its body is whole (`limits.body` at most); the body hook is then called once, may
   * change the head, and knows the whole body, also where it is empty.
   */
  hold: 3,
} as const;

/** The results that each hook defines; `pick` answers an index or -1 instead. `configure` may reject: it is an error. */
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

/** What a host call answers below zero. Lengths and counts are never negative. */
export const STATUS = {
  ok: 0,
  /** What was asked for is not there (or may not be read by this plugin). */
  absent: -1,
  /** This call cannot be made in this hook. */
  notHere: -2,
  /** The value is not allowed: CR, LF or NUL, a bad token, a framing or connection header, an unknown id. */
  invalid: -3,
  /** The value, or the head it would make, is over its limit. */
  tooLarge: -4,
  /** The configuration does not allow it. */
  denied: -5,
  /** Another thread holds what the call needs, and did not give it back for some milliseconds. Nothing was changed. */
  busy: -6,
  /** The other side could not be reached, or broke off. */
  unreachable: -7,
  /** The time given for it is over. */
  timedOut: -8,
} as const;

/** Numbered parts of an exchange that hold fields. */
export const HEADERS = { request: 0, response: 1, requestTrailers: 2, responseTrailers: 3 } as const;

/** Ids for `attribute` (bytes, as text) and `attribute_set`. `w` marks those that may be set, and where. */
export const ATTRIBUTE = {
  /** w (request_head, route): an HTTP token of at most 32 bytes, not CONNECT or TRACE. */
  method: 0,
  /** `http` or `https`: the connection's, or what a trusted proxy says that the client used. */
  scheme: 1,
  /** Host and port: `example.com:8080`. As the client named them, to this or a trusted proxy, until a plugin sets Host. */
  authority: 2,
  /** The normalised path, `/` first, without query. w (request_head, route). */
  path: 3,
  /** The query without its `?`; absent when there is none. w (request_head, route). */
  query: 4,
  /** The response's status code in decimal. w (response_head): 200 to 599. */
  status: 5,
  /** The client's IP address: the peer's, or what a trusted proxy says. */
  client_address: 6,
  /** `1.0`, `1.1`, `2`: information only. */
  protocol: 7,
  /** The matched route's name; absent before a route matched. */
  route: 8,
  /** The chosen cluster's name; absent before one is chosen. */
  cluster: 9,
  /** The address of the endpoint that answered or was tried last; absent before a pick. */
  endpoint: 10,
  /** The number of the present attempt, from 1; `0` before the first. */
  attempt: 11,
  /** The listener's name. */
  listener: 12,
  /** Path and query together: `/a?b=1`. w (request_head, route): sets both. */
  target: 13,
  /** A number for this exchange that no other of this process has: for logs. */
  exchange_id: 14,
  /** In `log` and `outcome`: microseconds from the request's first byte to the present. */
  duration: 15,
  /** In `log`: bytes of body sent to the client. */
  bytes_sent: 16,
  /** In `log`: bytes of body received from the client. */
  bytes_received: 17,
  /**
   * What went wrong, as the access log names it (`connect_refused`, `plugin_failed`, `client_gone` …); absent where nothing
   * did. In hooks of the answer and in `log`.
   */
  error: 18,
  /** Microseconds from the last pick to the head of the endpoint's answer, or to the attempt's failure; absent without one. In the same hooks. */
  upstream_duration: 19,
  /** The method that the client sent, whatever a plugin has set since. */
  original_method: 20,
  /** Host and port that the client named, to this or a trusted proxy. */
  original_authority: 21,
  /** The target that the client sent: the normalised path, and the query. */
  original_target: 22,
} as const;

/** Columns of the endpoint table, all i32, read by `endpoint` and `column_read`. */
export const COLUMN = {
  /** A number for the endpoint that outlives re-ordering and reload within the process. */
  id: 0,
  /** The configured weight, 1 to 1000, as the host scaled it. */
  weight: 1,
  /** Requests in flight over all threads of this process. */
  in_flight: 2,
  /**
   * A decaying average of the time to the response's head, microseconds; 0 until there is a sample. Ten seconds after the
   * last response it begins to fade: it halves every ten seconds.
   */
  latency: 3,
  /** A decaying average of failed attempts, parts per million. It fades in the same way after the last attempt. */
  error_rate: 4,
  /** 32 bits of FNV-1a over the address text: the same in every process. */
  hash: 5,
  /** 32 bits of FNV-1a over the zone's name; 0 without a zone. */
  zone: 6,
  /** Milliseconds since the response that moved `latency` last, to about 50 ms; 0 without a sample. */
  latency_age: 7,
} as const;

/** Ids for `endpoint_text`. */
export const ENDPOINT_TEXT = { address: 0, zone: 1 } as const;

/** Ids for `attempt`, i32, in `outcome`. */
export const ATTEMPT = {
  /** The endpoint's id (COLUMN.id). */
  endpoint: 0,
  /** Microseconds from the pick to the answer's head, or to the failure. */
  latency: 1,
  /** The status code of the answer, or 0 when there was none. */
  status: 2,
  /** 1 when the attempt failed before an answer's head. */
  failed: 3,
} as const;

/** Levels of `sluice:log/1` `write`. */
export const LEVEL = { debug: 0, info: 1, warn: 2, error: 3 } as const;

/** Kinds of metrics, for `metric_define`. */
export const METRIC = {
  /** Only goes up. */
  counter: 0,
  /** The sum of what each thread has set or added. */
  gauge: 1,
  histogram: 2,
  /** A gauge that shows what any thread has set last. */
  latest: 3,
} as const;

/** Ids for `digest` and `hmac` of `sluice:crypto/1`. MD5 and SHA-1 are broken and are not offered. */
export const DIGEST = { sha256: 0, sha384: 1, sha512: 2 } as const;

/** Ids for `verify`: the algorithms of RFC 7518 section 3.1 and RFC 8037 by their JOSE names. */
export const SIGNATURE = {
  /** RSASSA-PKCS1-v1_5 with SHA-256; keys of 2048 to 8192 bits. */
  rs256: 0,
  /** RSASSA-PSS with SHA-256, MGF1 with SHA-256, a salt of 32 bytes; the same keys. */
  ps256: 1,
  /** ECDSA on P-256 with SHA-256; the signature is r and s, 32 bytes each (IEEE P1363). */
  es256: 2,
  /** Ed25519. */
  eddsa: 3,
} as const;

/** In `health_check`: the key of `exchange_set` under which a plugin says, in UTF-8, why the endpoint is unhealthy. */
export const PROBLEM_KEY = "problem";

/** The URL of `fetch` that means the endpoint under check begins with it: `endpoint/healthz`. Only in `health_check`. */
export const CHECKED_ENDPOINT = "endpoint";

/** Custom sections that the host reads, without running the module. */
export const CUSTOM_SECTION = {
  /** JSON Schema (the part of 2020-12 that docs/plugins.md names) of the configuration, as UTF-8. */
  configSchema: "sluice:config-schema",
} as const;

/** Bounds that the host puts on what a guest hands in. */
export const LIMIT = {
  moduleBytes: 16 * 1024 * 1024,
  functionBytes: 1024 * 1024,
  /** Of a function: see `compile-cost.ts`. */
  locals: 16_384,
  nesting: 16_384,
  merged: 24 * 1024 * 1024,
  /** The JSON Schema of the configuration, embedded in the module. */
  configSchema: 64 * 1024,
  headerName: 256,
  headerValue: 64 * 1024,
  headBytes: 128 * 1024,
  headerCount: 500,
  /** Names of one request that plugins own. */
  ownedNames: 500,
  responseBody: 1024 * 1024,
  exchangeValue: 64 * 1024,
  exchangeValues: 64,
  logLine: 4096,
  logLinesPerCall: 8,
  /** Of one plugin on one thread; what is over is dropped and counted. */
  logLinesPerSecond: 100,
  /** Fields that plugins add to a request's line in the access log: how many over all plugins, bytes of name and value. */
  logFields: 20,
  logFieldName: 60,
  logFieldValue: 1000,
  /** Of what `save` hands to the next version. */
  state: 1024 * 1024,
  /** Milliseconds between two calls of `tick`. */
  shortestTick: 50,
  longestTick: 86_400_000,
  fetchUrl: 8192,
  fetchHead: 32 * 1024,
  fetchBody: 1024 * 1024,
  fetchAnswer: 16 * 1024 * 1024,
  probeText: 64 * 1024,
  probeAnswer: 1024 * 1024,
  exchangeKey: 256,
  /** Series of one plugin, the characters of a name, bytes of its help and of its labels, labels, buckets. */
  metrics: 64,
  metricName: 128,
  metricText: 1024,
  metricLabels: 8,
  metricBuckets: 32,
  /** Of labels whose values are known at run time: values over all such metrics of one plugin, bytes of a value. */
  metricValues: 1000,
  metricValue: 100,
  kvKey: 256,
  kvValue: 64 * 1024,
  /** The text of a public key. The longest that is served, RSA of 8192 bits, has 1.5 KiB. */
  publicKey: 8192,
  /** Of one call. */
  randomBytes: 4096,
  configPath: 1024,
  /** Entries of a module's sections: more than in any real module of at most `moduleBytes` that was found. */
  types: 10_000,
  imports: 1000,
  functions: 100_000,
  tables: 8,
  tableEntries: 128 * 1024,
  globals: 20_000,
  exports: 20_000,
  tags: 1000,
  /** Of all element segments together. */
  elements: 200_000,
  customSections: 1000,
} as const;

/** How often `tick` is called, in milliseconds, of a plugin that does not say. */
export const TICK_EVERY = 1000;

/**
 * Units of fuel. What instructions cost is told by `prices.ts`.
 *
 * A hook call has `limits.fuel` (`default`) and `perByte` for each byte that it can see: of the heads of request and
 * response as they were received, of the chunk of a body, and of what it fetches in that call (the first MiB of each
 * response). Start-up code and `configure` have `start`, and `perConfigByte` for each byte of the configuration as JSON.
 * Every host call costs `hostCall`, and one for each 64 bytes it moves.
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
 * What the calls of `sluice:crypto/1` cost beyond that: one unit for each 10 ns or so that they were measured to take.
 * A million units, the default of one hook call, are a hundred signatures.
 */
export const CRYPTO_FUEL = {
  digest: 80,
  hmac: 200,
  random: 150,
  verify: 10_000,
  /** A public key that is not among those the host keeps parsed. */
  key: 2_000,
  /** Hashed bytes for one unit. */
  bytesPerUnit: 16,
} as const;

/**
 * Host calls that wait: they suspend the guest, and nothing enters it until they are answered. In other hooks than those
 * of WAITING_HOOKS, and in start-up code, they answer `notHere`.
 */
export const WAITING_CALLS: { readonly [group: string]: readonly string[] } = {
  "sluice:wait/1": ["sleep"],
  "sluice:fetch/1": ["fetch"],
  "sluice:probe/1": ["probe"],
};
export const WAITING_HOOKS = [
  "request_head",
  "request_body",
  "response_head",
  "response_body",
  "tick",
  "connection",
  "health_check",
] as const;

export type ValueType = "i32" | "f64";
export type Import = { readonly params: readonly ValueType[]; readonly result: ValueType | null; readonly doc: string };

const i = (count: number, doc: string): Import => ({ params: Array(count).fill("i32"), result: "i32", doc });

const i32 = (params: readonly ValueType[], doc: string): Import => ({ params, result: "i32", doc });

/** Every host call, by import module. The module is the permission: what a plugin imports is what it may do. */
export const IMPORTS = {
  "sluice:core/1": {
    attribute: i(3, "(id, out, cap) -> length | absent"),
    attribute_set: i(3, "(id, ptr, len) -> ok | notHere | invalid | tooLarge | denied"),
    header_get: i(6, "(part, name, nameLen, nth, out, cap) -> length of the nth value | absent"),
    header_at: i(5, "(part, index, what: 0 name 1 value, out, cap) -> length | absent; index over present fields"),
    header_count: i(1, "(part) -> fields | notHere"),
    header_set: i(5, "(part, name, nameLen, value, valueLen) -> ok | …: replaces all values of that name"),
    header_add: i(5, "(part, name, nameLen, value, valueLen) -> ok | …: adds one value after the others"),
    header_remove: i(3, "(part, name, nameLen) -> how many were removed | …"),
    header_own: i(
      2,
      "(name, nameLen) -> how many were removed | …: takes every spelling of that name off the request, its trailers included, and keeps the client from sending one",
    ),
    head_read: i(
      3,
      "(part, out, cap) -> length: u32 count, then count × (nameOff,nameLen,valueOff,valueLen), then bytes; offsets from out",
    ),
    respond: i(
      3,
      "(status, body, bodyLen) -> ok | notHere | invalid | tooLarge: the answer to send; its head is part `response`",
    ),
    body_size: i(0, "() -> bytes of the piece at hand | notHere; body hooks"),
    body_last: i(0, "() -> 1 when it is the body's last piece, else 0 | notHere"),
    body_read: i(3, "(offset, out, cap) -> bytes copied: those of the piece from `offset` on, at most `cap`"),
    body_replace: i(2, "(ptr, len) -> ok | notHere | tooLarge: what passes on in place of the piece; 0 bytes drop it"),
    body_append: i(2, "(ptr, len) -> ok | notHere | tooLarge: passes on after the piece, or what took its place"),
    exchange_get: i(4, "(key, keyLen, out, cap) -> length | absent; a value of this exchange, private to the plugin"),
    exchange_set: i(4, "(key, keyLen, value, valueLen) -> ok | tooLarge; kept until `log` has run"),
    shared_get: i(4, "(name, nameLen, out, cap) -> length | absent; a value of this exchange that a plugin has shared"),
    shared_set: i(4, "(name, nameLen, value, valueLen) -> ok | tooLarge | denied; for every plugin of the exchange"),
    config_get: i(4, "(path, pathLen, out, cap) -> length | absent; a scalar as text, by path: rules.0.name"),
    config_kind: i(2, "(path, pathLen) -> 0 absent 1 null 2 boolean 3 number 4 string 5 list 6 map"),
    config_count: i(2, "(path, pathLen) -> entries of a list or map | absent"),
    config_key: i(5, "(path, pathLen, index, out, cap) -> length of the index-th key of a map | absent"),
    cluster_find: i(2, "(name, nameLen) -> id | absent (unknown) | denied"),
    cluster_choose: i(1, "(id) -> ok | notHere | invalid | denied; request_head, route, connection"),
    strategy_find: i(2, "(name, nameLen) -> id | absent"),
    strategy_choose: i(1, "(id) -> ok | notHere | invalid; request_head and route: for the cluster taken"),
    tick_every: i(
      1,
      "(milliseconds) -> ok | notHere | invalid: how often `tick` is called; start, configure, tick, restore",
    ),
    state_put: i(2, "(ptr, len) -> ok | notHere | tooLarge: adds bytes to what `save` hands to the next version"),
    state_get: i(3, "(offset, out, cap) -> bytes from offset on; writes as many of them as fit; restore"),
    now: { params: [], result: "f64", doc: "milliseconds since 1970, moved every 50 ms" },
    random: { params: [], result: "i32", doc: "32 random bits, not for secrets" },
    abort: {
      params: ["i32", "i32", "i32", "i32", "i32", "i32"],
      result: null,
      doc: "(message, len, file, len, line, column): says why the guest is about to trap; line 0: `file` is the whole place",
    },
  },
  "sluice:log/1": {
    write: i(3, "(level, text, len) -> ok | tooLarge; at most logLinesPerCall a hook call"),
    field: i(
      4,
      "(name, nameLen, value, valueLen) -> ok | notHere | invalid | tooLarge: a field of the request's line in the access log",
    ),
  },
  "sluice:clock/1": {
    now_precise: {
      params: [],
      result: "f64",
      doc: "milliseconds since 1970 with fractions; never goes back on one thread",
    },
  },
  "sluice:metrics/1": {
    metric_define: i(
      9,
      "(kind, name, nameLen, help, helpLen, labels, labelsLen, buckets, bucketsLen) -> number | notHere | invalid | tooLarge | absent",
    ),
    metric_define_by: i(
      12,
      "(kind, name, nameLen, help, helpLen, labels, labelsLen, buckets, bucketsLen, by, byLen, values) -> number of a family | notHere | invalid | tooLarge | absent: one more label, `by`, with at most `values` values",
    ),
    metric_of: i(
      3,
      "(family, value, valueLen) -> the metric of that value (UTF-8) | invalid; that of `other` where there are too many, or it is too long",
    ),
    metric_add: i32(["i32", "f64"], "(metric, by) -> ok | invalid; a counter or a gauge"),
    metric_set: i32(["i32", "f64"], "(metric, number) -> ok | invalid; a gauge, or `latest`"),
    metric_observe: i32(["i32", "f64"], "(metric, number) -> ok | invalid; a histogram"),
  },
  "sluice:kv/1": {
    kv_find: i(2, "(name, nameLen) -> number of a namespace | denied; it stays the same while the process lives"),
    kv_get: i(
      6,
      "(space, key, keyLen, out, cap, versionOut) -> length | absent; an f64 at `versionOut` unless that is 0",
    ),
    kv_set: i32(
      ["i32", "i32", "i32", "i32", "i32", "f64"],
      "(space, key, keyLen, value, valueLen, ttl) -> ok | tooLarge; ttl in ms, 0: no end",
    ),
    kv_compare_and_set: i32(
      ["i32", "i32", "i32", "i32", "i32", "f64", "f64"],
      "(space, key, keyLen, value, valueLen, ttl, version) -> 1 set, 0 not; version 0: when there is none",
    ),
    kv_increment: i32(
      ["i32", "i32", "i32", "f64", "f64", "i32"],
      "(space, key, keyLen, by, ttl, sumOut) -> ok | invalid; an f64 at `sumOut`; ttl counts when it makes the entry",
    ),
    kv_delete: i(3, "(space, key, keyLen) -> ok | absent"),
    kv_list: i32(
      ["i32", "i32", "i32", "f64", "i32", "i32", "i32"],
      "(space, prefix, prefixLen, cursor, out, cap, cursorOut) -> bytes: u32 length and key, …; an f64 at `cursorOut`, 0: the end",
    ),
  },
  "sluice:wait/1": {
    sleep: i(1, "(milliseconds) -> ok | notHere | invalid; waits"),
  },
  "sluice:fetch/1": {
    fetch: i(
      10,
      "(method, methodLen, url, urlLen, head, headLen, body, bodyLen, timeout, most) -> status code | notHere | …; waits",
    ),
    fetch_header: i(5, "(name, nameLen, nth, out, cap) -> length | absent; of the last answer in this hook call"),
    fetch_header_at: i(4, "(index, what: 0 name 1 value, out, cap) -> length | absent"),
    fetch_body_size: i(0, "() -> bytes of the last answer's body | absent"),
    fetch_body: i(3, "(offset, out, cap) -> bytes copied: those from `offset` on, at most `cap` | absent"),
  },
  "sluice:probe/1": {
    probe: i(
      6,
      "(send, sendLen, until, untilLen, most, timeout) -> bytes that came | notHere | unreachable | timedOut | tooLarge | …; waits; health_check",
    ),
    probe_read: i(3, "(offset, out, cap) -> bytes copied: those that came from `offset` on, at most `cap` | absent"),
  },
  "sluice:balance/1": {
    endpoint_count: i(0, "() -> endpoints to choose from; update and pick"),
    endpoint: i(2, "(index, column) -> value; an index outside is `absent`, an unknown column `invalid`"),
    column_read: i(3, "(column, out, cap) -> bytes: one i32 for each endpoint"),
    endpoint_text: i(4, "(index, what, out, cap) -> length | absent"),
    attempt: i(1, "(id) -> value | notHere; outcome"),
  },
  "sluice:crypto/1": {
    digest: i(5, "(algorithm, data, len, out, cap) -> length | invalid; one of DIGEST"),
    hmac: i(7, "(algorithm, key, keyLen, data, len, out, cap) -> length | invalid; RFC 2104"),
    equal: i(4, "(a, aLen, b, bLen) -> 1 | 0; the time does not depend on where they differ"),
    verify: i(
      7,
      "(algorithm, key, keyLen, data, len, signature, signatureLen) -> 1 | 0 | invalid (a key not for it) | tooLarge",
    ),
    random_bytes: i(2, "(out, len) -> ok | tooLarge; fit for secrets"),
  },
} as const satisfies Record<string, Record<string, Import>>;

/** Why a guest failed; the `reason` label of `sluice_plugin_failures_total`. */
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
