// Every host call, as defined and documented in src/abi/abi.ts; a test compares them.
// A plugin imports only what it calls, so that its imports are the permissions that it needs.

@external("sluice:core/1", "attribute")
export declare function attribute(id: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "attribute_set")
export declare function attribute_set(id: i32, ptr: usize, len: i32): i32;
@external("sluice:core/1", "header_get")
export declare function header_get(part: i32, name: usize, nameLen: i32, nth: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "header_at")
export declare function header_at(part: i32, index: i32, what: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "header_count")
export declare function header_count(part: i32): i32;
@external("sluice:core/1", "header_set")
export declare function header_set(part: i32, name: usize, nameLen: i32, value: usize, valueLen: i32): i32;
@external("sluice:core/1", "header_add")
export declare function header_add(part: i32, name: usize, nameLen: i32, value: usize, valueLen: i32): i32;
@external("sluice:core/1", "header_remove")
export declare function header_remove(part: i32, name: usize, nameLen: i32): i32;
@external("sluice:core/1", "header_own")
export declare function header_own(name: usize, nameLen: i32): i32;
@external("sluice:core/1", "head_read")
export declare function head_read(part: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "respond")
export declare function respond(status: i32, body: usize, bodyLen: i32): i32;
@external("sluice:core/1", "body_size")
export declare function body_size(): i32;
@external("sluice:core/1", "body_last")
export declare function body_last(): i32;
@external("sluice:core/1", "body_read")
export declare function body_read(offset: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "body_replace")
export declare function body_replace(ptr: usize, len: i32): i32;
@external("sluice:core/1", "body_append")
export declare function body_append(ptr: usize, len: i32): i32;
@external("sluice:core/1", "exchange_get")
export declare function exchange_get(key: usize, keyLen: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "exchange_set")
export declare function exchange_set(key: usize, keyLen: i32, value: usize, valueLen: i32): i32;
@external("sluice:core/1", "shared_get")
export declare function shared_get(name: usize, nameLen: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "shared_set")
export declare function shared_set(name: usize, nameLen: i32, value: usize, valueLen: i32): i32;
@external("sluice:core/1", "config_get")
export declare function config_get(path: usize, pathLen: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "config_kind")
export declare function config_kind(path: usize, pathLen: i32): i32;
@external("sluice:core/1", "config_count")
export declare function config_count(path: usize, pathLen: i32): i32;
@external("sluice:core/1", "config_key")
export declare function config_key(path: usize, pathLen: i32, index: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "cluster_find")
export declare function cluster_find(name: usize, nameLen: i32): i32;
@external("sluice:core/1", "cluster_choose")
export declare function cluster_choose(id: i32): i32;
@external("sluice:core/1", "strategy_find")
export declare function strategy_find(name: usize, nameLen: i32): i32;
@external("sluice:core/1", "strategy_choose")
export declare function strategy_choose(id: i32): i32;
@external("sluice:core/1", "tick_every")
export declare function tick_every(milliseconds: i32): i32;
@external("sluice:core/1", "state_put")
export declare function state_put(ptr: usize, len: i32): i32;
@external("sluice:core/1", "state_get")
export declare function state_get(offset: i32, out: usize, cap: i32): i32;
@external("sluice:core/1", "now")
export declare function now(): f64;
@external("sluice:core/1", "random")
export declare function random(): i32;
@external("sluice:core/1", "abort")
export declare function abort(message: usize, len: i32, file: usize, fileLen: i32, line: i32, column: i32): void;

@external("sluice:log/1", "write")
export declare function log_write(level: i32, text: usize, len: i32): i32;
@external("sluice:log/1", "field")
export declare function log_field(name: usize, nameLen: i32, value: usize, valueLen: i32): i32;

@external("sluice:clock/1", "now_precise")
export declare function now_precise(): f64;

@external("sluice:crypto/1", "digest")
export declare function digest(algorithm: i32, data: usize, len: i32, out: usize, cap: i32): i32;
@external("sluice:crypto/1", "hmac")
export declare function hmac(algorithm: i32, key: usize, keyLen: i32, data: usize, len: i32, out: usize, cap: i32): i32;
@external("sluice:crypto/1", "equal")
export declare function equal(a: usize, aLen: i32, b: usize, bLen: i32): i32;
@external("sluice:crypto/1", "verify")
export declare function verify(algorithm: i32, key: usize, keyLen: i32, data: usize, len: i32, signature: usize, signatureLen: i32): i32;
@external("sluice:crypto/1", "random_bytes")
export declare function random_bytes(out: usize, len: i32): i32;

@external("sluice:metrics/1", "metric_define")
export declare function metric_define(kind: i32, name: usize, nameLen: i32, help: usize, helpLen: i32, labels: usize, labelsLen: i32, buckets: usize, bucketsLen: i32): i32;
@external("sluice:metrics/1", "metric_define_by")
export declare function metric_define_by(kind: i32, name: usize, nameLen: i32, help: usize, helpLen: i32, labels: usize, labelsLen: i32, buckets: usize, bucketsLen: i32, by: usize, byLen: i32, values: i32): i32;
@external("sluice:metrics/1", "metric_of")
export declare function metric_of(family: i32, value: usize, valueLen: i32): i32;
@external("sluice:metrics/1", "metric_add")
export declare function metric_add(metric: i32, by: f64): i32;
@external("sluice:metrics/1", "metric_set")
export declare function metric_set(metric: i32, value: f64): i32;
@external("sluice:metrics/1", "metric_observe")
export declare function metric_observe(metric: i32, value: f64): i32;

@external("sluice:kv/1", "kv_find")
export declare function kv_find(name: usize, nameLen: i32): i32;
@external("sluice:kv/1", "kv_get")
export declare function kv_get(namespace: i32, key: usize, keyLen: i32, out: usize, cap: i32, versionOut: usize): i32;
@external("sluice:kv/1", "kv_set")
export declare function kv_set(namespace: i32, key: usize, keyLen: i32, value: usize, valueLen: i32, ttl: f64): i32;
@external("sluice:kv/1", "kv_compare_and_set")
export declare function kv_compare_and_set(namespace: i32, key: usize, keyLen: i32, value: usize, valueLen: i32, ttl: f64, version: f64): i32;
@external("sluice:kv/1", "kv_increment")
export declare function kv_increment(namespace: i32, key: usize, keyLen: i32, by: f64, ttl: f64, sumOut: usize): i32;
@external("sluice:kv/1", "kv_delete")
export declare function kv_delete(namespace: i32, key: usize, keyLen: i32): i32;
@external("sluice:kv/1", "kv_list")
export declare function kv_list(namespace: i32, prefix: usize, prefixLen: i32, cursor: f64, out: usize, cap: i32, cursorOut: usize): i32;
@external("sluice:sleep/1", "sleep")
export declare function sleep(milliseconds: i32): i32;

@external("sluice:fetch/1", "fetch")
export declare function fetch(method: usize, methodLen: i32, url: usize, urlLen: i32, head: usize, headLen: i32, body: usize, bodyLen: i32, timeout: i32, most: i32): i32;
@external("sluice:fetch/1", "fetch_header")
export declare function fetch_header(name: usize, nameLen: i32, nth: i32, out: usize, cap: i32): i32;
@external("sluice:fetch/1", "fetch_header_at")
export declare function fetch_header_at(index: i32, what: i32, out: usize, cap: i32): i32;
@external("sluice:fetch/1", "fetch_body_size")
export declare function fetch_body_size(): i32;
@external("sluice:fetch/1", "fetch_body")
export declare function fetch_body(offset: i32, out: usize, cap: i32): i32;

@external("sluice:probe/1", "probe")
export declare function probe(send: usize, sendLen: i32, until: usize, untilLen: i32, most: i32, timeout: i32): i32;
@external("sluice:probe/1", "probe_read")
export declare function probe_read(offset: i32, out: usize, cap: i32): i32;

@external("sluice:balance/1", "endpoint_count")
export declare function endpoint_count(): i32;
@external("sluice:balance/1", "endpoint")
export declare function endpoint(index: i32, column: i32): i32;
@external("sluice:balance/1", "column_read")
export declare function column_read(column: i32, out: usize, cap: i32): i32;
@external("sluice:balance/1", "endpoint_text")
export declare function endpoint_text(index: i32, what: i32, out: usize, cap: i32): i32;
@external("sluice:balance/1", "attempt")
export declare function attempt(id: i32): i32;
