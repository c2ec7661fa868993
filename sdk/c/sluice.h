/*
 * The native plugin ABI of Sluice, version 1, in C. Reference: docs/abi.md.
 * Generated from src/abi/abi.ts by scripts/build-c-header.ts.
 *
 *   clang --target=wasm32 -O2 -mbulk-memory -nostdlib -I sdk/c \
 *     -Wl,--no-entry -Wl,--stack-first -o plugin.wasm plugin.c
 *
 * One source file of the module contains SLUICE_MODULE; hooks are defined by their macros:
 *
 *   SLUICE_MODULE
 *   SLUICE_ON_REQUEST_HEAD(instance, exchange) {
 *     sluice_header_set(SLUICE_HEADERS_REQUEST, SLUICE_TEXT("x-greeting"), SLUICE_TEXT("hello"));
 *     return SLUICE_RESULT_CONTINUE;
 *   }
 *
 * A call with (out, cap) returns the full length of the value, and writes it only if the length is at most cap.
 * A negative result is a SLUICE_STATUS. Only functions that are called become imports, and an import is a permission
 * request: modules other than sluice:core/1 may have to be allowed in the configuration.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define SLUICE_EXPORT(name) __attribute__((export_name(name), used))
#define SLUICE_UNUSED __attribute__((unused))

/* A string literal as two arguments: pointer and length. */
#define SLUICE_TEXT(literal) (literal), (int32_t)(sizeof(literal) - 1)

#define SLUICE_ABI_VERSION 1

/* Declares the version of the ABI that the module was built for. Required once. */
#define SLUICE_MODULE \
  SLUICE_EXPORT("sluice_abi") int32_t sluice_abi(void); \
  int32_t sluice_abi(void) { return SLUICE_ABI_VERSION; }

/* Optional, once: one guest serves several configurations, distinguished by `instance` of each hook call. */
#define SLUICE_SERVES_MANY \
  SLUICE_EXPORT("sluice_serves_many") int32_t sluice_serves_many(void); \
  int32_t sluice_serves_many(void) { return 1; }

#define SLUICE_HOOK(name, function, instance, exchange) \
  SLUICE_EXPORT(name) int32_t function(int32_t instance, int32_t exchange); \
  int32_t function(SLUICE_UNUSED int32_t instance, SLUICE_UNUSED int32_t exchange)

/* Returns continue, reject. */
#define SLUICE_ON_CONFIGURE(instance, exchange) SLUICE_HOOK("configure", sluice_on_configure, instance, exchange)
/* Returns continue, respond, reject, buffer. */
#define SLUICE_ON_REQUEST_HEAD(instance, exchange) SLUICE_HOOK("request_head", sluice_on_request_head, instance, exchange)
/* Returns continue, respond, reject. */
#define SLUICE_ON_ROUTE(instance, exchange) SLUICE_HOOK("route", sluice_on_route, instance, exchange)
/* Returns continue, respond, buffer. */
#define SLUICE_ON_RESPONSE_HEAD(instance, exchange) SLUICE_HOOK("response_head", sluice_on_response_head, instance, exchange)
/* Returns continue. */
#define SLUICE_ON_UPDATE(instance, exchange) SLUICE_HOOK("update", sluice_on_update, instance, exchange)
/* Returns a number. */
#define SLUICE_ON_PICK(instance, exchange) SLUICE_HOOK("pick", sluice_on_pick, instance, exchange)
/* Returns continue. */
#define SLUICE_ON_OUTCOME(instance, exchange) SLUICE_HOOK("outcome", sluice_on_outcome, instance, exchange)
/* Returns continue. */
#define SLUICE_ON_LOG(instance, exchange) SLUICE_HOOK("log", sluice_on_log, instance, exchange)
/* Returns continue, respond, reject. */
#define SLUICE_ON_REQUEST_BODY(instance, exchange) SLUICE_HOOK("request_body", sluice_on_request_body, instance, exchange)
/* Returns continue. */
#define SLUICE_ON_REQUEST_TRAILERS(instance, exchange) SLUICE_HOOK("request_trailers", sluice_on_request_trailers, instance, exchange)
/* Returns continue, respond. */
#define SLUICE_ON_RESPONSE_BODY(instance, exchange) SLUICE_HOOK("response_body", sluice_on_response_body, instance, exchange)
/* Returns continue. */
#define SLUICE_ON_RESPONSE_TRAILERS(instance, exchange) SLUICE_HOOK("response_trailers", sluice_on_response_trailers, instance, exchange)
/* Returns continue. */
#define SLUICE_ON_TICK(instance, exchange) SLUICE_HOOK("tick", sluice_on_tick, instance, exchange)
/* Returns continue. */
#define SLUICE_ON_SAVE(instance, exchange) SLUICE_HOOK("save", sluice_on_save, instance, exchange)
/* Returns continue. */
#define SLUICE_ON_RESTORE(instance, exchange) SLUICE_HOOK("restore", sluice_on_restore, instance, exchange)
/* Returns continue, reject. */
#define SLUICE_ON_CONNECTION(instance, exchange) SLUICE_HOOK("connection", sluice_on_connection, instance, exchange)
/* Returns continue, reject. */
#define SLUICE_ON_HEALTH_CHECK(instance, exchange) SLUICE_HOOK("health_check", sluice_on_health_check, instance, exchange)

/* Ids for `attempt` in `outcome`; values are i32. */
enum {
  /* The endpoint's id (COLUMN.id). */
  SLUICE_ATTEMPT_ENDPOINT = 0,
  /* Microseconds from pick to response head or failure. */
  SLUICE_ATTEMPT_LATENCY = 1,
  /* Status code of the response; 0 without one. */
  SLUICE_ATTEMPT_STATUS = 2,
  /* 1 if the attempt failed before a response head, else 0. */
  SLUICE_ATTEMPT_FAILED = 3,
};

/* Ids for `attribute`, which returns text, and `attribute_set`. `w`: writable in the hooks in parentheses, and in
 * `request_body` or `response_body` of a buffered head; elsewhere `attribute_set` returns `notHere`. */
enum {
  /* w (request_head, route): an HTTP token of at most 32 bytes, not CONNECT or TRACE. */
  SLUICE_ATTRIBUTE_METHOD = 0,
  /* `http` or `https`: of the connection, or as reported by a trusted proxy. */
  SLUICE_ATTRIBUTE_SCHEME = 1,
  /* Host and port, `example.com:8080`: as sent by the client or reported by a trusted proxy, until a plugin sets Host. */
  SLUICE_ATTRIBUTE_AUTHORITY = 2,
  /* The normalised path without query, starting with `/`. w (request_head, route). */
  SLUICE_ATTRIBUTE_PATH = 3,
  /* The query without `?`; absent if there is none. w (request_head, route). */
  SLUICE_ATTRIBUTE_QUERY = 4,
  /* The response's status code in decimal. w (response_head): 200 to 599. */
  SLUICE_ATTRIBUTE_STATUS = 5,
  /* The client's IP address: of the peer, or as reported by a trusted proxy. */
  SLUICE_ATTRIBUTE_CLIENT_ADDRESS = 6,
  /* `1.0`, `1.1`, `2`: information only. */
  SLUICE_ATTRIBUTE_PROTOCOL = 7,
  /* Name of the matched route; absent before that. */
  SLUICE_ATTRIBUTE_ROUTE = 8,
  /* Name of the selected cluster; absent before that. */
  SLUICE_ATTRIBUTE_CLUSTER = 9,
  /* Address of the endpoint of the last attempt; absent before a pick. */
  SLUICE_ATTRIBUTE_ENDPOINT = 10,
  /* Number of the current attempt, from 1; `0` before the first. */
  SLUICE_ATTRIBUTE_ATTEMPT = 11,
  /* The listener's name. */
  SLUICE_ATTRIBUTE_LISTENER = 12,
  /* Path and query, `/a?b=1`. w (request_head, route): sets both. */
  SLUICE_ATTRIBUTE_TARGET = 13,
  /* A number that is unique among the exchanges of this process, for logs. */
  SLUICE_ATTRIBUTE_EXCHANGE_ID = 14,
  /* In `log` and `outcome`: microseconds since the first byte of the request. */
  SLUICE_ATTRIBUTE_DURATION = 15,
  /* In `log`: body bytes sent to the client. */
  SLUICE_ATTRIBUTE_BYTES_SENT = 16,
  /* In `log`: body bytes received from the client. */
  SLUICE_ATTRIBUTE_BYTES_RECEIVED = 17,
  /* The error, by its name in the access log (`connect_refused`, `plugin_failed`, `client_gone` …); absent without one.
   * In response hooks and `log`. */
  SLUICE_ATTRIBUTE_ERROR = 18,
  /* Microseconds from the last pick to the response head or the failure; absent without an attempt. In the same hooks. */
  SLUICE_ATTRIBUTE_UPSTREAM_DURATION = 19,
  /* The method as received from the client, unaffected by plugins. */
  SLUICE_ATTRIBUTE_ORIGINAL_METHOD = 20,
  /* Host and port as sent by the client or reported by a trusted proxy, unaffected by plugins. */
  SLUICE_ATTRIBUTE_ORIGINAL_AUTHORITY = 21,
  /* The target as received from the client: the normalised path, and the query. */
  SLUICE_ATTRIBUTE_ORIGINAL_TARGET = 22,
  /* The protocols in `Upgrade`, in lower case, `websocket`; absent without `Connection: upgrade`. */
  SLUICE_ATTRIBUTE_UPGRADE = 23,
  /* The TLS version of the client's connection, `TLSv1.3`; absent for a plain one, as are the attributes below. */
  SLUICE_ATTRIBUTE_TLS_VERSION = 24,
  /* The server name in the handshake (SNI), in lower case. */
  SLUICE_ATTRIBUTE_TLS_SERVER_NAME = 25,
  /* Subject of the client's verified certificate (RFC 4514), `CN=app,O=Example`. */
  SLUICE_ATTRIBUTE_TLS_CLIENT_SUBJECT = 26,
  /* Its subject alternative names: `DNS:app.example, URI:spiffe://example/app`. */
  SLUICE_ATTRIBUTE_TLS_CLIENT_NAMES = 27,
  /* Its SHA-256 fingerprint, 64 hexadecimal digits in lower case. */
  SLUICE_ATTRIBUTE_TLS_CLIENT_FINGERPRINT = 28,
  /* The load balancer that sent a PROXY protocol header, by its address (`unix` on a Unix socket). Absent without a
   * header, as are the attributes below. `client_address` is the address in the header. */
  SLUICE_ATTRIBUTE_PROXY_PEER = 29,
  /* The address and port to which the client connected, `192.0.2.1:443`. */
  SLUICE_ATTRIBUTE_PROXY_DESTINATION = 30,
  /* `proxy_tlv + n`, n from 0 to 255: the value of the first TLV of type n, as sent: 1 ALPN, 2 authority, 5 unique id. */
  SLUICE_ATTRIBUTE_PROXY_TLV = 4096,
  /* `proxy_ssl_tlv + n`: likewise of the TLV of TLS (32): 33 version, 34 common name of the client's certificate, 35
   * cipher. What describes a certificate is absent unless the load balancer reports that it has verified it. */
  SLUICE_ATTRIBUTE_PROXY_SSL_TLV = 4352,
};

/* Columns of the endpoint table, each an i32; read by `endpoint` and `column_read` in `update` and `pick`. */
enum {
  /* Identifies the endpoint within the process, across reordering and reloads. */
  SLUICE_COLUMN_ID = 0,
  /* The configured weight, 1 to 1000. */
  SLUICE_COLUMN_WEIGHT = 1,
  /* Requests in flight, of all workers. */
  SLUICE_COLUMN_IN_FLIGHT = 2,
  /* Exponentially weighted average of the time from pick to response head, in microseconds; 0 without a sample. From ten
   * seconds after the last response on it halves every ten seconds. */
  SLUICE_COLUMN_LATENCY = 3,
  /* Exponentially weighted share of failed attempts, in parts per million; decays likewise after the last attempt. */
  SLUICE_COLUMN_ERROR_RATE = 4,
  /* 32-bit FNV-1a hash of the address text: the same in every process. */
  SLUICE_COLUMN_HASH = 5,
  /* 32-bit FNV-1a hash of the zone's name; 0 without a zone. */
  SLUICE_COLUMN_ZONE = 6,
  /* Milliseconds since the last response that updated `latency`, in steps of about 50; 0 without a sample. */
  SLUICE_COLUMN_LATENCY_AGE = 7,
};

/* Additional fuel for calls of `sluice:crypto/1`: about one unit per 10 ns of measured time. The default budget of a
 * hook call allows about fifty signature checks. */
enum {
  SLUICE_CRYPTO_FUEL_DIGEST = 80,
  SLUICE_CRYPTO_FUEL_HMAC = 200,
  SLUICE_CRYPTO_FUEL_RANDOM = 150,
  SLUICE_CRYPTO_FUEL_VERIFY = 10000,
  /* Parsing a public key that is not cached. */
  SLUICE_CRYPTO_FUEL_KEY = 2000,
  /* Bytes hashed per unit. */
  SLUICE_CRYPTO_FUEL_BYTES_PER_UNIT = 16,
};

/* Ids for `digest` and `hmac` of `sluice:crypto/1` (FIPS 180-4). MD5 and SHA-1 are broken and not offered. */
enum {
  SLUICE_DIGEST_SHA256 = 0,
  SLUICE_DIGEST_SHA384 = 1,
  SLUICE_DIGEST_SHA512 = 2,
};

/* Ids for `endpoint_text`. `zone` is absent without one. */
enum {
  SLUICE_ENDPOINT_TEXT_ADDRESS = 0,
  SLUICE_ENDPOINT_TEXT_ZONE = 1,
};

/* Fuel, in units; the costs of instructions are in `prices.ts`. The budget of a hook call is `limits.fuel` (`default`
 * without it) plus `perByte` for each byte that it can read: the heads of request and response as received, the body
 * chunk, trailers, and the first MiB of each response fetched in the call. Start-up code and `configure` have `start`
 * plus `perConfigByte` for each byte of the configuration as JSON. A host call costs `hostCall` plus one unit per
 * `bytesPerUnit` copied. A guest that exceeds its budget is ended (`fuel`). */
enum {
  SLUICE_FUEL_DEFAULT = 500000,
  SLUICE_FUEL_PER_BYTE = 40,
  SLUICE_FUEL_START = 4000000,
  SLUICE_FUEL_PER_CONFIG_BYTE = 200,
  SLUICE_FUEL_HOST_CALL = 10,
  SLUICE_FUEL_BYTES_PER_UNIT = 64,
};

/* Header sections of an exchange: `part` of the header calls. Trailers exist only in hooks after the body. */
enum {
  SLUICE_HEADERS_REQUEST = 0,
  SLUICE_HEADERS_RESPONSE = 1,
  SLUICE_HEADERS_REQUEST_TRAILERS = 2,
  SLUICE_HEADERS_RESPONSE_TRAILERS = 3,
};

/* Levels for `write` of `sluice:log/1`. Lines below the configured `log.level` are dropped. */
enum {
  SLUICE_LEVEL_DEBUG = 0,
  SLUICE_LEVEL_INFO = 1,
  SLUICE_LEVEL_WARN = 2,
  SLUICE_LEVEL_ERROR = 3,
};

/* Limits on modules and on arguments of host calls. Sizes are bytes. */
enum {
  /* Of a module, and of the code of one function. */
  SLUICE_LIMIT_MODULE_BYTES = 16777216,
  SLUICE_LIMIT_FUNCTION_BYTES = 1048576,
  /* Of a function: locals, nested blocks, and values merged at branches (`compile-cost.ts`). */
  SLUICE_LIMIT_LOCALS = 16384,
  SLUICE_LIMIT_NESTING = 16384,
  SLUICE_LIMIT_MERGED = 25165824,
  /* Of the custom section with the configuration's schema. */
  SLUICE_LIMIT_CONFIG_SCHEMA = 65536,
  /* Of a header that is set, and of a head after it. */
  SLUICE_LIMIT_HEADER_NAME = 256,
  SLUICE_LIMIT_HEADER_VALUE = 65536,
  SLUICE_LIMIT_HEAD_BYTES = 131072,
  SLUICE_LIMIT_HEADER_COUNT = 500,
  /* Header names owned by plugins (`header_own`), per request. */
  SLUICE_LIMIT_OWNED_NAMES = 500,
  /* The body of `respond`. */
  SLUICE_LIMIT_RESPONSE_BODY = 1048576,
  /* Size of one value of `exchange_set` or `shared_set`, and values of an exchange over all plugins. */
  SLUICE_LIMIT_EXCHANGE_VALUE = 65536,
  SLUICE_LIMIT_EXCHANGE_VALUES = 64,
  /* Size of a log line, and lines per hook call. */
  SLUICE_LIMIT_LOG_LINE = 4096,
  SLUICE_LIMIT_LOG_LINES_PER_CALL = 8,
  /* Per plugin and worker; further lines are dropped and counted. */
  SLUICE_LIMIT_LOG_LINES_PER_SECOND = 100,
  /* Access log fields added by plugins: fields per request over all plugins, bytes of a name, of a value. */
  SLUICE_LIMIT_LOG_FIELDS = 20,
  SLUICE_LIMIT_LOG_FIELD_NAME = 60,
  SLUICE_LIMIT_LOG_FIELD_VALUE = 1000,
  /* State that `save` migrates to the next version. */
  SLUICE_LIMIT_STATE = 1048576,
  /* Interval of `tick`, in milliseconds. */
  SLUICE_LIMIT_SHORTEST_TICK = 50,
  SLUICE_LIMIT_LONGEST_TICK = 86400000,
  /* Of a subrequest: URL, headers, body, and the response's body. */
  SLUICE_LIMIT_FETCH_URL = 8192,
  SLUICE_LIMIT_FETCH_HEAD = 32768,
  SLUICE_LIMIT_FETCH_BODY = 1048576,
  SLUICE_LIMIT_FETCH_RESPONSE = 16777216,
  /* Of `probe`: the text to send or to expect, and the bytes received. */
  SLUICE_LIMIT_PROBE_TEXT = 65536,
  SLUICE_LIMIT_PROBE_ANSWER = 1048576,
  /* Key of `exchange_set`. */
  SLUICE_LIMIT_EXCHANGE_KEY = 256,
  /* Series per plugin, characters of a name, bytes of help and of labels, number of labels, of buckets. */
  SLUICE_LIMIT_METRICS = 64,
  SLUICE_LIMIT_METRIC_NAME = 128,
  SLUICE_LIMIT_METRIC_TEXT = 1024,
  SLUICE_LIMIT_METRIC_LABELS = 8,
  SLUICE_LIMIT_METRIC_BUCKETS = 32,
  /* Label values known only at run time: per plugin over all metrics, and bytes of a value. */
  SLUICE_LIMIT_METRIC_VALUES = 1000,
  SLUICE_LIMIT_METRIC_VALUE = 100,
  /* Key (at least 1) and value of a key-value entry. */
  SLUICE_LIMIT_KV_KEY = 256,
  SLUICE_LIMIT_KV_VALUE = 65536,
  /* Text of a public key. The longest accepted key, RSA of 8192 bits, has 1.5 KiB. */
  SLUICE_LIMIT_PUBLIC_KEY = 8192,
  /* Per call of `random_bytes`. */
  SLUICE_LIMIT_RANDOM_BYTES = 4096,
  /* Path of a configuration value, name of a cluster or strategy. */
  SLUICE_LIMIT_CONFIG_PATH = 1024,
  /* Entries of a module's sections; above every real module of at most `moduleBytes` that was examined. */
  SLUICE_LIMIT_TYPES = 10000,
  SLUICE_LIMIT_IMPORTS = 1000,
  SLUICE_LIMIT_FUNCTIONS = 100000,
  SLUICE_LIMIT_TABLES = 8,
  SLUICE_LIMIT_TABLE_ENTRIES = 131072,
  SLUICE_LIMIT_GLOBALS = 20000,
  SLUICE_LIMIT_EXPORTS = 20000,
  SLUICE_LIMIT_TAGS = 1000,
  /* In all element segments together. */
  SLUICE_LIMIT_ELEMENTS = 200000,
  SLUICE_LIMIT_CUSTOM_SECTIONS = 1000,
};

/* Kinds of metrics, for `metric_define`. */
enum {
  /* Monotonically increasing. */
  SLUICE_METRIC_COUNTER = 0,
  /* The sum of the values of all workers. */
  SLUICE_METRIC_GAUGE = 1,
  /* Observations counted in buckets. */
  SLUICE_METRIC_HISTOGRAM = 2,
  /* A gauge with the value that any worker set last. */
  SLUICE_METRIC_LATEST = 3,
};

/* Results of hooks. A result that the hook does not define (`HOOK_RESULTS`) is a failure, `bad_result`. */
enum {
  /* Continue. In `route`: use the cluster chosen by `cluster_choose`; without one, pass to the next route. */
  SLUICE_RESULT_CONTINUE = 0,
  /* Send the response set by the call `respond`, which must have been called. In `response_head`: instead of the
   * upstream's. */
  SLUICE_RESULT_RESPOND = 1,
  /* Reject. A request gets 403 with `Proxy-Status: sluice; error=http_request_denied` (RFC 9209); in `connection` it is
   * closed; in `health_check` the endpoint is unhealthy; in `configure` the configuration is invalid. */
  SLUICE_RESULT_REJECT = 2,
  /* Continue, but buffer the head until the whole body is buffered too (at most `limits.body`). The body hook is then
   * called once with the whole body, even an empty one, and may still change the head. */
  SLUICE_RESULT_BUFFER = 3,
};

/* Ids for `verify`: the algorithms of RFC 7518 section 3.1 and RFC 8037 by their JOSE names. */
enum {
  /* RSASSA-PKCS1-v1_5 with SHA-256; keys of 2048 to 8192 bits. */
  SLUICE_SIGNATURE_RS256 = 0,
  /* RSASSA-PSS with SHA-256, MGF1 with SHA-256, a salt of 32 bytes; keys as for rs256. */
  SLUICE_SIGNATURE_PS256 = 1,
  /* ECDSA on P-256 with SHA-256; the signature is r and s of 32 bytes each (IEEE P1363), not DER. */
  SLUICE_SIGNATURE_ES256 = 2,
  /* Ed25519. */
  SLUICE_SIGNATURE_EDDSA = 3,
};

/* Status of a host call. Errors are negative; lengths and counts never are. */
enum {
  /* Success. */
  SLUICE_STATUS_OK = 0,
  /* There is no such value, or the plugin may not read it (`allow.headers.hide`). */
  SLUICE_STATUS_ABSENT = -1,
  /* The call is not available in this hook. */
  SLUICE_STATUS_NOT_HERE = -2,
  /* An argument is invalid: CR, LF or NUL, not a token, a framing or hop-by-hop header, an unknown id. */
  SLUICE_STATUS_INVALID = -3,
  /* The value, or the head with it, exceeds a limit (`LIMIT`). */
  SLUICE_STATUS_TOO_LARGE = -4,
  /* Not permitted by `allow` in the plugin's configuration. */
  SLUICE_STATUS_DENIED = -5,
  /* Another worker held the lock for several milliseconds. Nothing was changed; the call can be repeated. */
  SLUICE_STATUS_BUSY = -6,
  /* The peer could not be reached, or closed the connection early. */
  SLUICE_STATUS_UNREACHABLE = -7,
  /* The timeout of the call expired. */
  SLUICE_STATUS_TIMED_OUT = -8,
};

/* ── sluice:core/1 ── */

/* (id, out, cap) -> length | absent */
SLUICE_IMPORT("sluice:core/1", "attribute")
int32_t sluice_attribute(int32_t id, void *out, int32_t cap);

/* (id, ptr, len) -> ok | notHere | invalid | tooLarge | denied */
SLUICE_IMPORT("sluice:core/1", "attribute_set")
int32_t sluice_attribute_set(int32_t id, const void *ptr, int32_t ptr_len);

/* (part, name, nameLen, nth, out, cap) -> length of the nth value | absent */
SLUICE_IMPORT("sluice:core/1", "header_get")
int32_t sluice_header_get(int32_t part, const void *name, int32_t name_len, int32_t nth, void *out, int32_t cap);

/* (part, index, what: 0 name 1 value, out, cap) -> length | absent; index over present fields */
SLUICE_IMPORT("sluice:core/1", "header_at")
int32_t sluice_header_at(int32_t part, int32_t index, int32_t what, void *out, int32_t cap);

/* (part) -> fields | notHere */
SLUICE_IMPORT("sluice:core/1", "header_count")
int32_t sluice_header_count(int32_t part);

/* (part, name, nameLen, value, valueLen) -> ok | …: replaces all values of that name */
SLUICE_IMPORT("sluice:core/1", "header_set")
int32_t sluice_header_set(int32_t part, const void *name, int32_t name_len, const void *value, int32_t value_len);

/* (part, name, nameLen, value, valueLen) -> ok | …: appends one value */
SLUICE_IMPORT("sluice:core/1", "header_add")
int32_t sluice_header_add(int32_t part, const void *name, int32_t name_len, const void *value, int32_t value_len);

/* (part, name, nameLen) -> how many were removed | … */
SLUICE_IMPORT("sluice:core/1", "header_remove")
int32_t sluice_header_remove(int32_t part, const void *name, int32_t name_len);

/* (name, nameLen) -> how many were removed | …: removes every spelling of the name from the request and its trailers,
 * including later trailers */
SLUICE_IMPORT("sluice:core/1", "header_own")
int32_t sluice_header_own(const void *name, int32_t name_len);

/* (part, out, cap) -> length: u32 count, then count × (nameOff,nameLen,valueOff,valueLen), then bytes; offsets from
 * out */
SLUICE_IMPORT("sluice:core/1", "head_read")
int32_t sluice_head_read(int32_t part, void *out, int32_t cap);

/* (status, body, bodyLen) -> ok | notHere | invalid | tooLarge: sets the local response; its headers are part
 * `response` */
SLUICE_IMPORT("sluice:core/1", "respond")
int32_t sluice_respond(int32_t status, const void *body, int32_t body_len);

/* () -> bytes of the body chunk | notHere; body hooks */
SLUICE_IMPORT("sluice:core/1", "body_size")
int32_t sluice_body_size(void);

/* () -> 1 if the chunk ends the body, else 0 | notHere; body hooks */
SLUICE_IMPORT("sluice:core/1", "body_last")
int32_t sluice_body_last(void);

/* (offset, out, cap) -> bytes copied from the chunk, from `offset` on, at most `cap`; body hooks */
SLUICE_IMPORT("sluice:core/1", "body_read")
int32_t sluice_body_read(int32_t offset, void *out, int32_t cap);

/* (ptr, len) -> ok | notHere | tooLarge: replaces the chunk; 0 bytes drop it; body hooks */
SLUICE_IMPORT("sluice:core/1", "body_replace")
int32_t sluice_body_replace(const void *ptr, int32_t ptr_len);

/* (ptr, len) -> ok | notHere | tooLarge: appends to the chunk or its replacement; body hooks */
SLUICE_IMPORT("sluice:core/1", "body_append")
int32_t sluice_body_append(const void *ptr, int32_t ptr_len);

/* (key, keyLen, out, cap) -> length | absent; a value of this exchange, private to the plugin */
SLUICE_IMPORT("sluice:core/1", "exchange_get")
int32_t sluice_exchange_get(const void *key, int32_t key_len, void *out, int32_t cap);

/* (key, keyLen, value, valueLen) -> ok | tooLarge: stored until `log` has run */
SLUICE_IMPORT("sluice:core/1", "exchange_set")
int32_t sluice_exchange_set(const void *key, int32_t key_len, const void *value, int32_t value_len);

/* (name, nameLen, out, cap) -> length | absent; a value that a plugin shared in this exchange */
SLUICE_IMPORT("sluice:core/1", "shared_get")
int32_t sluice_shared_get(const void *name, int32_t name_len, void *out, int32_t cap);

/* (name, nameLen, value, valueLen) -> ok | tooLarge | denied: shared with all plugins of the exchange */
SLUICE_IMPORT("sluice:core/1", "shared_set")
int32_t sluice_shared_set(const void *name, int32_t name_len, const void *value, int32_t value_len);

/* (path, pathLen, out, cap) -> length | absent; a scalar as text, by path: rules.0.name */
SLUICE_IMPORT("sluice:core/1", "config_get")
int32_t sluice_config_get(const void *path, int32_t path_len, void *out, int32_t cap);

/* (path, pathLen) -> 0 absent 1 null 2 boolean 3 number 4 string 5 list 6 map */
SLUICE_IMPORT("sluice:core/1", "config_kind")
int32_t sluice_config_kind(const void *path, int32_t path_len);

/* (path, pathLen) -> entries of a list or map | absent */
SLUICE_IMPORT("sluice:core/1", "config_count")
int32_t sluice_config_count(const void *path, int32_t path_len);

/* (path, pathLen, index, out, cap) -> length of the index-th key of a map | absent */
SLUICE_IMPORT("sluice:core/1", "config_key")
int32_t sluice_config_key(const void *path, int32_t path_len, int32_t index, void *out, int32_t cap);

/* (name, nameLen) -> id | absent (unknown) | denied */
SLUICE_IMPORT("sluice:core/1", "cluster_find")
int32_t sluice_cluster_find(const void *name, int32_t name_len);

/* (id) -> ok | notHere | invalid | denied; request_head, route, connection */
SLUICE_IMPORT("sluice:core/1", "cluster_choose")
int32_t sluice_cluster_choose(int32_t id);

/* (name, nameLen) -> id | absent */
SLUICE_IMPORT("sluice:core/1", "strategy_find")
int32_t sluice_strategy_find(const void *name, int32_t name_len);

/* (id) -> ok | notHere | invalid; request_head and route: for the selected cluster */
SLUICE_IMPORT("sluice:core/1", "strategy_choose")
int32_t sluice_strategy_choose(int32_t id);

/* (milliseconds) -> ok | notHere | invalid: sets the interval of `tick`; start, configure, tick, restore */
SLUICE_IMPORT("sluice:core/1", "tick_every")
int32_t sluice_tick_every(int32_t milliseconds);

/* (ptr, len) -> ok | notHere | tooLarge: appends to the state for the next version; save */
SLUICE_IMPORT("sluice:core/1", "state_put")
int32_t sluice_state_put(const void *ptr, int32_t ptr_len);

/* (offset, out, cap) -> bytes from `offset` on, of which as many as fit are written; restore */
SLUICE_IMPORT("sluice:core/1", "state_get")
int32_t sluice_state_get(int32_t offset, void *out, int32_t cap);

/* milliseconds since 1970, updated every 50 ms */
SLUICE_IMPORT("sluice:core/1", "now")
double sluice_now(void);

/* 32 random bits, not cryptographically secure */
SLUICE_IMPORT("sluice:core/1", "random")
int32_t sluice_random(void);

/* (message, len, file, len, line, column): reports the reason before a trap; line 0: `file` contains the whole
 * position */
SLUICE_IMPORT("sluice:core/1", "abort")
void sluice_abort(const void *message, int32_t message_len, const void *file, int32_t file_len, int32_t line, int32_t column);

/* ── sluice:log/1 ── */

/* (level, text, len) -> ok | tooLarge; at most logLinesPerCall a hook call */
SLUICE_IMPORT("sluice:log/1", "write")
int32_t sluice_log_write(int32_t level, const void *text, int32_t text_len);

/* (name, nameLen, value, valueLen) -> ok | notHere | invalid | tooLarge: sets a field of the request's access log
 * entry */
SLUICE_IMPORT("sluice:log/1", "field")
int32_t sluice_log_field(const void *name, int32_t name_len, const void *value, int32_t value_len);

/* ── sluice:clock/1 ── */

/* milliseconds since 1970 with fractions; monotonic within a worker */
SLUICE_IMPORT("sluice:clock/1", "now_precise")
double sluice_clock_now_precise(void);

/* ── sluice:metrics/1 ── */

/* (kind, name, nameLen, help, helpLen, labels, labelsLen, buckets, bucketsLen) -> number | notHere | invalid |
 * tooLarge | absent */
SLUICE_IMPORT("sluice:metrics/1", "metric_define")
int32_t sluice_metric_define(int32_t kind, const void *name, int32_t name_len, const void *help, int32_t help_len, const void *labels, int32_t labels_len, const void *buckets, int32_t buckets_len);

/* (kind, name, nameLen, help, helpLen, labels, labelsLen, buckets, bucketsLen, by, byLen, values) -> number of a
 * family | notHere | invalid | tooLarge | absent: with one more label, `by`, of at most `values` values */
SLUICE_IMPORT("sluice:metrics/1", "metric_define_by")
int32_t sluice_metric_define_by(int32_t kind, const void *name, int32_t name_len, const void *help, int32_t help_len, const void *labels, int32_t labels_len, const void *buckets, int32_t buckets_len, const void *by, int32_t by_len, int32_t values);

/* (family, value, valueLen) -> the metric of that value (UTF-8) | invalid; that of `other` if there are too many
 * values or it is too long */
SLUICE_IMPORT("sluice:metrics/1", "metric_of")
int32_t sluice_metric_of(int32_t family, const void *value, int32_t value_len);

/* (metric, by) -> ok | invalid; a counter or a gauge */
SLUICE_IMPORT("sluice:metrics/1", "metric_add")
int32_t sluice_metric_add(int32_t metric, double by);

/* (metric, number) -> ok | invalid; a gauge, or `latest` */
SLUICE_IMPORT("sluice:metrics/1", "metric_set")
int32_t sluice_metric_set(int32_t metric, double number);

/* (metric, number) -> ok | invalid; a histogram */
SLUICE_IMPORT("sluice:metrics/1", "metric_observe")
int32_t sluice_metric_observe(int32_t metric, double number);

/* ── sluice:kv/1 ── */

/* (name, nameLen) -> number of a namespace | denied; constant within the process */
SLUICE_IMPORT("sluice:kv/1", "kv_find")
int32_t sluice_kv_find(const void *name, int32_t name_len);

/* (space, key, keyLen, out, cap, versionOut) -> length | absent; an f64 at `versionOut` unless that is 0 */
SLUICE_IMPORT("sluice:kv/1", "kv_get")
int32_t sluice_kv_get(int32_t space, const void *key, int32_t key_len, void *out, int32_t cap, void *version_out);

/* (space, key, keyLen, value, valueLen, ttl) -> ok | tooLarge; ttl in ms, 0: no expiry */
SLUICE_IMPORT("sluice:kv/1", "kv_set")
int32_t sluice_kv_set(int32_t space, const void *key, int32_t key_len, const void *value, int32_t value_len, double ttl);

/* (space, key, keyLen, value, valueLen, ttl, version) -> 1 set, 0 not; version 0: only if there is no entry */
SLUICE_IMPORT("sluice:kv/1", "kv_compare_and_set")
int32_t sluice_kv_compare_and_set(int32_t space, const void *key, int32_t key_len, const void *value, int32_t value_len, double ttl, double version);

/* (space, key, keyLen, by, ttl, sumOut) -> ok | invalid; the sum as an f64 at `sumOut`; ttl applies if the entry is
 * created */
SLUICE_IMPORT("sluice:kv/1", "kv_increment")
int32_t sluice_kv_increment(int32_t space, const void *key, int32_t key_len, double by, double ttl, void *sum_out);

/* (space, key, keyLen) -> ok | absent */
SLUICE_IMPORT("sluice:kv/1", "kv_delete")
int32_t sluice_kv_delete(int32_t space, const void *key, int32_t key_len);

/* (space, prefix, prefixLen, cursor, out, cap, cursorOut) -> bytes: u32 length and key, …; the next cursor as an f64
 * at `cursorOut`, 0: the end */
SLUICE_IMPORT("sluice:kv/1", "kv_list")
int32_t sluice_kv_list(int32_t space, const void *prefix, int32_t prefix_len, double cursor, void *out, int32_t cap, void *cursor_out);

/* ── sluice:sleep/1 ── */

/* (milliseconds) -> ok | notHere | invalid; asynchronous */
SLUICE_IMPORT("sluice:sleep/1", "sleep")
int32_t sluice_sleep_sleep(int32_t milliseconds);

/* ── sluice:fetch/1 ── */

/* (method, methodLen, url, urlLen, head, headLen, body, bodyLen, timeout, most) -> status code | unreachable |
 * timedOut | …; asynchronous */
SLUICE_IMPORT("sluice:fetch/1", "fetch")
int32_t sluice_fetch_fetch(const void *method, int32_t method_len, const void *url, int32_t url_len, const void *head, int32_t head_len, const void *body, int32_t body_len, int32_t timeout, int32_t most);

/* (name, nameLen, nth, out, cap) -> length | absent; of the last response in this hook call */
SLUICE_IMPORT("sluice:fetch/1", "fetch_header")
int32_t sluice_fetch_header(const void *name, int32_t name_len, int32_t nth, void *out, int32_t cap);

/* (index, what: 0 name 1 value, out, cap) -> length | absent */
SLUICE_IMPORT("sluice:fetch/1", "fetch_header_at")
int32_t sluice_fetch_header_at(int32_t index, int32_t what, void *out, int32_t cap);

/* () -> bytes of the last response's body | absent */
SLUICE_IMPORT("sluice:fetch/1", "fetch_body_size")
int32_t sluice_fetch_body_size(void);

/* (offset, out, cap) -> bytes copied from `offset` on, at most `cap` | absent */
SLUICE_IMPORT("sluice:fetch/1", "fetch_body")
int32_t sluice_fetch_body(int32_t offset, void *out, int32_t cap);

/* ── sluice:probe/1 ── */

/* (send, sendLen, until, untilLen, most, timeout) -> bytes received | notHere | unreachable | timedOut | tooLarge | …;
 * asynchronous; health_check */
SLUICE_IMPORT("sluice:probe/1", "probe")
int32_t sluice_probe_probe(const void *send, int32_t send_len, const void *until, int32_t until_len, int32_t most, int32_t timeout);

/* (offset, out, cap) -> bytes copied of those received, from `offset` on, at most `cap` | absent */
SLUICE_IMPORT("sluice:probe/1", "probe_read")
int32_t sluice_probe_read(int32_t offset, void *out, int32_t cap);

/* ── sluice:balance/1 ── */

/* () -> endpoints to choose from; update and pick */
SLUICE_IMPORT("sluice:balance/1", "endpoint_count")
int32_t sluice_balance_endpoint_count(void);

/* (index, column) -> value; `absent` for an index out of range, `invalid` for an unknown column */
SLUICE_IMPORT("sluice:balance/1", "endpoint")
int32_t sluice_balance_endpoint(int32_t index, int32_t column);

/* (column, out, cap) -> bytes: one i32 for each endpoint */
SLUICE_IMPORT("sluice:balance/1", "column_read")
int32_t sluice_balance_column_read(int32_t column, void *out, int32_t cap);

/* (index, what, out, cap) -> length | absent */
SLUICE_IMPORT("sluice:balance/1", "endpoint_text")
int32_t sluice_balance_endpoint_text(int32_t index, int32_t what, void *out, int32_t cap);

/* (id) -> value | notHere; outcome */
SLUICE_IMPORT("sluice:balance/1", "attempt")
int32_t sluice_balance_attempt(int32_t id);

/* ── sluice:crypto/1 ── */

/* (algorithm, data, len, out, cap) -> length | invalid; one of DIGEST */
SLUICE_IMPORT("sluice:crypto/1", "digest")
int32_t sluice_crypto_digest(int32_t algorithm, const void *data, int32_t data_len, void *out, int32_t cap);

/* (algorithm, key, keyLen, data, len, out, cap) -> length | invalid; RFC 2104 */
SLUICE_IMPORT("sluice:crypto/1", "hmac")
int32_t sluice_crypto_hmac(int32_t algorithm, const void *key, int32_t key_len, const void *data, int32_t data_len, void *out, int32_t cap);

/* (a, aLen, b, bLen) -> 1 | 0; in constant time for equal lengths */
SLUICE_IMPORT("sluice:crypto/1", "equal")
int32_t sluice_crypto_equal(const void *a, int32_t a_len, const void *b, int32_t b_len);

/* (algorithm, key, keyLen, data, len, signature, signatureLen) -> 1 | 0 | invalid (not a key for the algorithm) |
 * tooLarge */
SLUICE_IMPORT("sluice:crypto/1", "verify")
int32_t sluice_crypto_verify(int32_t algorithm, const void *key, int32_t key_len, const void *data, int32_t data_len, const void *signature, int32_t signature_len);

/* (out, len) -> ok | tooLarge; cryptographically secure */
SLUICE_IMPORT("sluice:crypto/1", "random_bytes")
int32_t sluice_crypto_random_bytes(void *out, int32_t out_len);

#ifdef __cplusplus
}
#endif

#endif
